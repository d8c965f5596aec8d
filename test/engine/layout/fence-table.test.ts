import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { end, overlaps } from '../../../src/engine/image/contract.ts';
import type { PartitionTable } from '../../../src/engine/layout/contract.ts';
import { type FenceOptions, fenceTable, findIncomplete } from '../../../src/engine/layout/fence-table.ts';
import { mergeTables } from '../../../src/engine/layout/merge.ts';
import { readTable } from '../../../src/engine/layout/table.ts';
import { encodeTable, type Write } from '../../../src/engine/layout/table-encode.ts';
import { InvalidEntryError, TableDoesNotFitError } from '../../../src/engine/layout/table-errors.ts';
import { entryRange } from '../../../src/engine/layout/table-space.ts';
import { incompletePartitionName, incompletePartitionType, profilePartitionType } from '../../../src/engine/layout/types.ts';
import { diskSize, failure, MemoryDisk, MiB, sfdiskDisk, sfdiskReads, toolsAccept } from './table-disk.ts';
import { gpt, mbr, part, read, withProfile, written } from './table-parts.ts';

const runId = '0DD0B1E5-1234-4ABC-8DEF-0123456789AB';
const source = gpt([part(1, 1, 4), part(2, 5, 8, { name: 'root' })]);
const keep = (entry: { readonly name: string }): boolean => entry.name === 'keep me';
const guid = '0A0A0000-0000-4000-8000-000000000006';
const target = withProfile(gpt([part(1, 1, 12, { guid: guid.replace('6', '7') }), part(2, 16, 8, { guid, name: 'keep me' })]));

function fence(of: PartitionTable | undefined, more: Partial<FenceOptions> = {}): PartitionTable {
  const merged = mergeTables({ source, target: of, diskSize, keep });
  const stay = merged.parts.filter((p) => p.origin !== 'source').map((p) => p.entry);
  const overwritten = { offset: MiB, length: 12 * MiB };
  return fenceTable({ target: of, kind: 'gpt', sectorSize: 512, diskSize, stay, runId, overwritten, ...more });
}

test('a fence holds protected and kept parts where they were and the marker, and sgdisk and sfdisk accept it', async () => {
  const table = fence(target);
  assert.equal(
    table.entries.map((entry) => [entry.number, entry.name, entry.firstSector, entry.lastSector]),
    [
      [1, incompletePartitionName, 2049, (13 * MiB) / 512 - 1],
      [127, 'keep me', (16 * MiB) / 512, (24 * MiB) / 512 - 1],
      [128, 'doppel-profile', 64, 2047],
    ],
  );
  assert.is(table.entries[0]?.type, incompletePartitionType);
  assert.is(table.entries[0]?.guid, runId);
  const disk = written(target).apply(encodeTable(table, diskSize));
  await toolsAccept(disk);
  const back = await read(disk);
  assert.equal(back.entries, table.entries);
  assert.equal(back.repairs, []);
  assert.equal(findIncomplete(back), { runId });
  assert.is(findIncomplete(target), undefined);
});

test('a fence has no boot code that loads anything, also when some is offered', () => {
  const [sector] = encodeTable(fence(target), diskSize, { bootCode: new Uint8Array(440).fill(0x90) }).mbr;
  assert.is(Buffer.from(sector?.bytes.subarray(0, 5) ?? []).toString('hex'), 'cd18f4ebfd');
  assert.ok(!sector?.bytes.includes(0x90));
});

test('a fence for a blank disk, with sectors of 512 and 4096 bytes', async () => {
  for (const sectorSize of [512, 4096]) {
    const table = fence(undefined, { sectorSize, stay: [] });
    const disk = new MemoryDisk(new Uint8Array(diskSize), sectorSize).apply(encodeTable(table, diskSize));
    await toolsAccept(disk);
    assert.equal(findIncomplete(await read(disk)), { runId });
  }
});

test('the marker never touches what stays or is protected', () => {
  const regions = [{ carrier: 'raw', name: 'raw', offset: 6 * MiB, length: MiB }] as const;
  for (const overwritten of [
    { offset: 0, length: diskSize },
    { offset: 16 * MiB, length: 8 * MiB },
    { offset: 23 * MiB, length: 2 * MiB },
    { offset: 6 * MiB, length: MiB + 512 },
  ]) {
    const table = fence(target, { overwritten, regions });
    const marker = table.entries.find((entry) => entry.type === incompletePartitionType);
    assert.ok(marker);
    const range = entryRange(marker, 512);
    assert.not.ok(overlaps(range, regions[0]));
    for (const entry of table.entries) if (entry !== marker) assert.not.ok(overlaps(range, entryRange(entry, 512)));
    assert.ok(range.offset >= 34 * 512 && end(range) <= diskSize - 33 * 512);
  }
});

test('the marker does not begin where a part does or did: firmware would boot a copied EFI system partition from it', () => {
  for (const of of [target, undefined]) {
    const marker = fence(of, of ? {} : { stay: [] }).entries.find((entry) => entry.type === incompletePartitionType);
    assert.ok(marker);
    for (const { firstSector } of [...source.entries, ...target.entries]) assert.is.not(marker.firstSector, firstSector);
  }
});

test('merging again over the fence gives the table that the merge over the target gave', () => {
  const first = mergeTables({ source, target, diskSize, keep });
  const second = mergeTables({ source, target: fence(target), diskSize, keep });
  assert.equal(second.table.entries, first.table.entries);
  assert.is(fence(fence(target)).entries.length, 3);
});

test('firmware does not look into what a fence holds, and after the run every entry is as it was', () => {
  const attributes = [0n, 2n, 1n, 3n];
  for (const attribute of attributes) {
    const entries = target.entries.map((entry) => (entry.name === 'keep me' ? { ...entry, attributes: attribute } : entry));
    const before = { ...target, entries };
    const fenced = fence(before);
    const shown = fenced.entries.filter(({ type, attributes }) => type !== profilePartitionType && (attributes & 2n) === 0n);
    assert.equal(shown, [], 'attribute bit 1 of the UEFI specification');
    const kept = mergeTables({ source, target: fence(fenced), diskSize, keep }).table.entries.find(
      ({ name }) => name === 'keep me',
    );
    assert.is(kept?.attributes, attribute);
  }
});

test('killed after any write, the table can be read: as it was, as the fence, or as the new table', async () => {
  for (const before of [written(target), new MemoryDisk(new Uint8Array(diskSize)), await sfdiskDisk('label: dos\nsize=8MiB\n')]) {
    const old = await readTable(before);
    const of = old?.kind === 'gpt' ? old : undefined;
    const fenced = fence(of);
    const merged = mergeTables({ source, target: of, diskSize, keep });
    const expected = [old, fenced, merged.table].map((table) => JSON.stringify(table?.entries.map((entry) => entry.guid)));
    const disk = before.copy();
    let furthest = 0;
    for (const table of [fenced, merged.table]) {
      const { backup, primary, mbr: sector0 } = encodeTable(table, diskSize);
      for (const write of [...backup, ...primary, ...sector0]) {
        for (const torn of tornParts(write)) {
          disk.bytes.set(torn.bytes, torn.offset);
          const seen = await readTable(disk);
          const index = expected.indexOf(JSON.stringify(seen?.entries.map((entry) => entry.guid)));
          assert.ok(index >= 0, `unexpected table after a write at ${torn.offset}`);
          assert.ok(index >= furthest || index === 2, `went back after a write at ${torn.offset}`);
          furthest = Math.max(furthest, index === 2 && table === fenced ? 1 : index);
        }
      }
      assert.is(furthest, table === fenced ? 1 : 2);
    }
  }
});

/** The first sector of the write alone, then the whole. */
function tornParts(write: Write): Write[] {
  return [{ offset: write.offset, bytes: write.bytes.subarray(0, 512) }, write];
}

test('an MBR fence has the kept entries, none active, an entry of type DA and the run id in sector 0', async () => {
  const old = mbr([part(1, 1, 4, { attributes: 0x80n }), part(3, 16, 4, { attributes: 0x80n })], 'aaaa0001');
  const stay = old.entries.slice(1);
  const table = fence(old, { kind: 'mbr', stay });
  const disk = written(old).apply(encodeTable(table, diskSize));
  const back = await read(disk);
  assert.equal(
    back.entries.map(({ number, type, attributes, firstSector }) => [number, type, attributes, firstSector]),
    [
      [1, 'DA', 0n, 2049],
      [3, '83', 0n, (16 * MiB) / 512],
    ],
  );
  assert.equal(findIncomplete(back), { runId });
  assert.is(findIncomplete(old), undefined);
  const { complaints, table: seen } = await sfdiskReads(disk);
  assert.is(complaints, '');
  assert.is(seen.id, '0x0dd0b1e5');
  const again = mergeTables({ source: mbr([part(1, 1, 4)]), target: back, diskSize, keep: () => true });
  assert.equal(
    again.table.entries.map((entry) => [entry.number, entry.type]),
    [
      [1, '83'],
      [3, '83'],
    ],
    'the marker is not kept',
  );
});

test('what is merged from an unfinished MBR source does not pass for a fence itself', async () => {
  const unfinished = await read(written(fence(undefined, { kind: 'mbr', stay: mbr([part(2, 16, 4)]).entries })));
  const merged = mergeTables({ source: unfinished, target: undefined, diskSize });
  assert.equal(
    merged.leftOut.map(({ entry }) => entry.type),
    ['DA'],
  );
  assert.is(findIncomplete(merged.table), undefined);
  const back = await read(written(merged.table));
  assert.equal(
    back.entries.map((entry) => [entry.number, entry.type]),
    [[2, '83']],
  );
});

test('an MBR fence of four kept entries is marked in sector 0 alone', async () => {
  const old = mbr([1, 2, 3, 4].map((number) => part(number, number * 4, 4)));
  const back = await read(written(fence(old, { kind: 'mbr', stay: old.entries })));
  assert.is(back.entries.length, 4);
  assert.equal(findIncomplete(back), { runId });
});

test('a fence that cannot be made is refused', async () => {
  const full = { ...part(5, 0, 0), firstSector: 34, lastSector: diskSize / 512 - 34 };
  const error = await failure(Promise.resolve().then(() => fence(undefined, { stay: [full] })));
  assert.instance(error, TableDoesNotFitError);
  assert.instance(await failure(Promise.resolve().then(() => fence(undefined, { runId: 'no' }))), InvalidEntryError);
});

test.run();
