import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { DoppelError } from '../../../src/engine/errors.ts';
import { fenceTable } from '../../../src/engine/layout/fence-table.ts';
import { mergeTables } from '../../../src/engine/layout/merge.ts';
import { readTable } from '../../../src/engine/layout/table.ts';
import { encodeTable } from '../../../src/engine/layout/table-encode.ts';
import { MemoryDisk, MiB, sfdiskDisk } from './table-disk.ts';

const size = 2 * MiB;
const script = `label: dos
label-id: 0x5eed0001
start=64, size=448, type=83
start=512, size=3000, type=5
start=576, size=400, type=83
start=1040, size=400, type=83
start=1600, size=400, type=83
`;

test('a damaged chain of logical partitions is read soundly or refused, and what was read is written and merged soundly', async () => {
  const original = await sfdiskDisk(script, size);
  const clean = await readTable(original);
  if (!clean) throw new Error('no table');
  const places = clean.ownRanges.map(({ offset }) => offset);
  assert.is(places.length, 4);
  let state = 12_345;
  const pick = (below: number) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return (state >>> 8) % below;
  };
  const counts = { read: 0, refused: 0, merged: 0 };
  for (let run = 0; run < 1500; run++) {
    const disk = original.copy();
    for (let count = 1 + pick(3); count > 0; count--) {
      const at = (places[pick(places.length)] ?? 0) + 446 + pick(66);
      if (pick(2) === 0) disk.bytes[at] = pick(256);
      else disk.view(at & ~3).setUint32(0, [0, 1, 63, 64, 512, 1040, 3000, 4095, 0xffff_ffff][pick(9)] ?? 0, true);
    }
    try {
      const table = await readTable(disk);
      if (!table) continue;
      counts.read++;
      const again = await readTable(new MemoryDisk(new Uint8Array(size)).apply(encodeTable(table, size)));
      // Records without a partition are left out; the partitions stay.
      const facts = (entries: typeof table.entries) =>
        entries.map(({ number, firstSector, lastSector, type }) => ({ number, firstSector, lastSector, type }));
      assert.equal(facts(again?.entries ?? []), facts(table.entries));
      const keep = ({ number }: { number: number }) => number >= 6;
      const bare = { ...clean, entries: clean.entries.filter(({ number }) => number < 6) };
      const merged = mergeTables({ source: bare, target: table, diskSize: size, keep });
      const stay = merged.parts.filter(({ origin }) => origin === 'kept').map(({ entry }) => entry);
      const runId = '5EED0000-0000-4000-8000-0000000000F0';
      const fence = fenceTable({
        target: table,
        kind: 'mbr',
        sectorSize: 512,
        diskSize: size,
        stay,
        runId,
        overwritten: { offset: 0, length: size },
      });
      for (const wanted of [fence, merged.table]) {
        const found = await readTable(new MemoryDisk(new Uint8Array(size)).apply(encodeTable(wanted, size)));
        for (const { firstSector } of stay) assert.ok(found?.entries.some((entry) => entry.firstSector === firstSector));
      }
      counts.merged++;
    } catch (error) {
      if (!(error instanceof DoppelError)) throw new Error(`run ${run}`, { cause: error });
      counts.refused++;
    }
  }
  assert.ok(counts.read > 100 && counts.refused > 100 && counts.merged > 100, JSON.stringify(counts));
});

test.run();
