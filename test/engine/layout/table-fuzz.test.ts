import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { DoppelError } from '../../../src/engine/errors.ts';
import { end } from '../../../src/engine/image/contract.ts';
import type { PartitionTable } from '../../../src/engine/layout/contract.ts';
import { fenceTable } from '../../../src/engine/layout/fence-table.ts';
import { parseFstab } from '../../../src/engine/layout/fstab.ts';
import { describeType } from '../../../src/engine/layout/kinds.ts';
import { mergeTables } from '../../../src/engine/layout/merge.ts';
import { readTable } from '../../../src/engine/layout/table.ts';
import { encodeTable } from '../../../src/engine/layout/table-encode.ts';
import { entryRange, placeInGap, unpartitionedRanges } from '../../../src/engine/layout/table-space.ts';
import { fixCrcs, lastSector, MemoryDisk, MiB, sfdiskDisk } from './table-disk.ts';
import { gpt, part, withProfile } from './table-parts.ts';

const size = 4 * MiB;
const runs = 2500;
const target = withProfile(gpt([part(1, 1, 1)], size), size);

/** Counts reads, so that work for hostile input is seen to be bounded. */
class CountingDisk extends MemoryDisk {
  reads = 0;
  bytesRead = 0;

  override async read(into: Uint8Array, offset: number): Promise<void> {
    this.reads++;
    this.bytesRead += into.length;
    await super.read(into, offset);
  }
}

/** mulberry32: the same damage in every run. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

const interesting = [0n, 1n, 2n, 33n, 34n, 63n, 91n, 92n, 127n, 128n, 512n, 8191n, 8192n, 0xffffn, 0x7fff_ffffn, 0xffff_ffffn];
const interesting64 = [...interesting, 1n << 32n, 1n << 53n, (1n << 63n) - 1n, (1n << 64n) - 1n];

function damage(disk: MemoryDisk, pick: (below: number) => number): void {
  const s = disk.sectorSize;
  const last = lastSector(disk);
  const backupArray = last * s - 16384;
  const places = [
    [446, 66],
    [s, 92],
    [last * s, 92],
    [2 * s, 512],
    [backupArray, 512],
  ] as const;
  const both = pick(2) === 0;
  for (let count = 1 + pick(4); count > 0; count--) {
    const which = pick(places.length);
    const [start, length] = places[which] as readonly [number, number];
    const at = pick(length);
    const value = interesting64[pick(interesting64.length)] as bigint;
    const wide = pick(3);
    const twin = both && which > 0 ? (places[which % 2 === 1 ? which + 1 : which - 1] as readonly [number, number])[0] : start;
    for (const base of new Set([start, twin])) {
      if (wide === 0) disk.bytes[base + at] = pick(256);
      else if (wide === 1) disk.view(base + (at & ~3)).setUint32(0, Number(value & 0xffff_ffffn), true);
      else if (base + (at & ~7) + 8 <= disk.size) disk.view(base + (at & ~7)).setBigUint64(0, value, true);
    }
  }
  if (pick(4) > 0) for (const lba of [1, last]) fixCrcs(disk, lba);
}

/** A table that came through must be one that can be relied on. */
function sound(table: PartitionTable, disk: MemoryDisk): void {
  const sorted = [...table.entries].sort((a, b) => a.firstSector - b.firstSector);
  let reached = 0;
  for (const entry of sorted) {
    const range = entryRange(entry, table.sectorSize);
    assert.ok(range.offset >= reached && range.length > 0 && end(range) <= disk.size, 'entries in order, on the disk');
    reached = end(range);
    describeType(table.kind, entry.type);
  }
  for (const range of table.ownRanges) assert.ok(range.offset >= 0 && range.length > 0 && end(range) <= disk.size, 'own ranges');
  for (const range of unpartitionedRanges(table, disk.size)) assert.ok(end(range) <= disk.size);
  assert.ok(JSON.stringify(table.repairs).length < 10_000, 'what is told is bounded');
}

async function survives(disk: MemoryDisk): Promise<'merged' | 'read' | 'none' | 'refused'> {
  const counting = new CountingDisk(disk.bytes, disk.sectorSize, disk.sectorSizeAssumed);
  let outcome: 'read' | 'refused' = 'refused';
  try {
    const table = await readTable(counting);
    if (!table) return 'none';
    outcome = 'read';
    sound(table, disk);
    placeInGap(table, disk.size);
    encodeTable(table, disk.size);
    const merged = mergeTables({ source: table, target, diskSize: size, keep: () => false });
    const stay = merged.parts.filter((p) => p.origin !== 'source').map((p) => p.entry);
    const common = { sectorSize: table.sectorSize, diskSize: size, runId: '0DD0B1E5-1234-4ABC-8DEF-0123456789AB', regions: [] };
    fenceTable({ ...common, target, kind: table.kind, stay, overwritten: { offset: MiB, length: MiB } });
    encodeTable(merged.table, size);
    return 'merged';
  } catch (error) {
    if (!(error instanceof DoppelError)) throw error;
    assert.ok(error.message.length < 10_000, 'messages are bounded');
    return outcome;
  } finally {
    assert.ok(counting.reads <= 20 && counting.bytesRead <= 9 * MiB, `${counting.reads} reads of ${counting.bytesRead} bytes`);
  }
}

async function fuzz(original: MemoryDisk, seed: number): Promise<Record<string, number>> {
  const outcomes: Record<string, number> = { merged: 0, read: 0, none: 0, refused: 0 };
  for (let run = 0; run < runs; run++) {
    const disk = original.copy();
    damage(disk, random(seed + run));
    try {
      const outcome = await survives(disk);
      outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
    } catch (error) {
      throw new Error(`run ${run} of seed ${seed}`, { cause: error });
    }
  }
  return outcomes;
}

test('a damaged GPT with sectors of 512 bytes is read soundly or refused with a typed error', async () => {
  const outcomes = await fuzz(
    await sfdiskDisk('label: gpt\nfirst-lba: 34\nstart=1MiB, size=1MiB, name="a"\nsize=1MiB, name="b"\n', size),
    1,
  );
  assert.ok((outcomes.merged ?? 0) > 100 && (outcomes.refused ?? 0) > 100 && (outcomes.none ?? 0) < 20, JSON.stringify(outcomes));
});

test('a damaged GPT with sectors of 4096 bytes likewise, in a file that is probed', async () => {
  const disk = await sfdiskDisk('label: gpt\nstart=1MiB, size=1MiB, name="a"\nsize=1MiB, name="b"\n', size, 4096);
  const outcomes = await fuzz(new MemoryDisk(disk.bytes, 4096, true), 100_000);
  assert.ok((outcomes.read ?? 0) > 100 && (outcomes.refused ?? 0) > 100, JSON.stringify(outcomes));
});

test('a damaged MBR table likewise', async () => {
  const outcomes = await fuzz(await sfdiskDisk('label: dos\nstart=1MiB, size=1MiB\nsize=1MiB, type=82\n', size), 200_000);
  assert.ok((outcomes.refused ?? 0) > 100 && (outcomes.none ?? 0) > 0, JSON.stringify(outcomes));
});

test('sectors full of noise never end in anything but a typed error', async () => {
  const disk = new MemoryDisk(new Uint8Array(MiB));
  for (let run = 0; run < 300; run++) {
    const pick = random(300_000 + run);
    for (let at = 0; at < 4096; at++) disk.bytes[at] = pick(256);
    disk.bytes.set([0x55, 0xaa], 510);
    for (let slot = 0; slot < 4; slot++) disk.bytes[446 + slot * 16] = pick(2) * 0x80;
    disk.bytes.set(new TextEncoder().encode('EFI PART'), 512);
    fixCrcs(disk, 1);
    await survives(disk);
  }
});

test('noise in fstab is read in bounded time', () => {
  const pick = random(400_000);
  for (let run = 0; run < 200; run++) {
    parseFstab(
      String.fromCharCode(
        ...Array.from({ length: 500 }, () => [9, 10, 32, 34, 47, 48, 49, 61, 92, 120, 0xe9, 0xd800][pick(12)] ?? 0),
      ),
    );
  }
  assert.is(parseFstab(`UUID=a ${'\\040'.repeat(100_000)}`).length, 1);
  assert.is(parseFstab('a /b\n'.repeat(20_000)).length, 10_000);
});

test.run();
