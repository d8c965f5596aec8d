import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { PartitionTable, TableEntry } from '../../../src/engine/layout/contract.ts';
import { type MergeOptions, mergeTables } from '../../../src/engine/layout/merge.ts';
import { encodeTable } from '../../../src/engine/layout/table-encode.ts';
import {
  DuplicateGuidError,
  PartsCollideError,
  SectorSizeMismatchError,
  TableDoesNotFitError,
  TableFullError,
  TableKindMismatchError,
  TargetTooSmallError,
} from '../../../src/engine/layout/table-errors.ts';
import { incompletePartitionType } from '../../../src/engine/layout/types.ts';
import { diskSize, MemoryDisk, MiB, sfdiskDisk, toolsAccept } from './table-disk.ts';
import { gpt, linux, mbr, part, read, withProfile, written } from './table-parts.ts';

const other = (number: number): Partial<TableEntry> => ({
  guid: `0A0A0000-0000-4000-8000-${String(number).padStart(12, '0')}`,
  name: `old ${number}`,
});
const sourceParts = [part(1, 1, 4), part(2, 5, 8, { attributes: 5n, name: 'root' }), part(4, 13, 8, { name: 'data' })];
const source = gpt(sourceParts);
const raw = { carrier: 'raw', name: 'raw range at 524288', offset: 512 * 1024, length: 64 * 1024 } as const;

function numbered(table: PartitionTable): Record<number, string> {
  return Object.fromEntries(table.entries.map((entry) => [entry.number, entry.name]));
}

function refused(options: Partial<MergeOptions>, type: new (...args: never[]) => Error, message: RegExp): void {
  try {
    mergeTables({ source, target: undefined, diskSize, ...options });
  } catch (error) {
    assert.instance(error, type, (error as Error).message);
    assert.match((error as Error).message, message);
    return;
  }
  assert.unreachable(`was not refused: ${message}`);
}

test('a blank target gets the entries of the source as they are', () => {
  const merged = mergeTables({ source, target: undefined, diskSize: 2 * diskSize, targetSectorSize: 512 });
  assert.equal(merged.table.entries, source.entries);
  assert.is(merged.table.diskId, source.diskId);
  assert.is(merged.table.lastUsable, (2 * diskSize) / 512 - 34);
  assert.equal(merged.leftOut, []);
  assert.equal(merged.notes, []);
});

test('the profile of the target stays with its place and GUID, at the highest number; nothing else of the target stays', async () => {
  const target = withProfile(gpt([part(1, 1, 20, other(1)), part(2, 21, 8, other(2))]), diskSize, 5);
  const merged = mergeTables({ source, target, diskSize });
  const profile = target.entries.find((entry) => entry.number === 5);
  assert.equal(merged.table.entries, [...sourceParts, { ...profile, number: 128 }]);
  assert.equal(
    merged.parts.map((p) => p.origin),
    ['source', 'source', 'source', 'protected'],
  );
  assert.equal(merged.notes, ['partition 5 ("doppel-profile") of the target becomes partition 128']);
  const disk = written(merged.table);
  await toolsAccept(disk);
  const back = await read(disk);
  assert.equal(back.entries, merged.table.entries);
  assert.equal([back.firstUsable, back.lastUsable], [merged.table.firstUsable, merged.table.lastUsable]);
});

test('FirstUsable of a source by sfdisk is lowered for the profile, and left alone without one', async () => {
  const bySfdisk = await read(await sfdiskDisk('label: gpt\nsize=8MiB\n'));
  assert.is(mergeTables({ source: bySfdisk, target: undefined, diskSize }).table.firstUsable, 2048);
  assert.is(mergeTables({ source: bySfdisk, target: withProfile(gpt([])), diskSize }).table.firstUsable, 34);
});

test('with sectors of 4096 bytes the same', async () => {
  const source4096 = gpt([part(1, 1, 4, {}, 4096), part(2, 5, 8, {}, 4096)], diskSize, 4096);
  const merged = mergeTables({ source: source4096, target: withProfile(gpt([], diskSize, 4096)), diskSize });
  assert.equal(numbered(merged.table), { 1: 'part 1', 2: 'part 2', 128: 'doppel-profile' });
  await toolsAccept(written(merged.table));
});

test("the source's own profile and markers of unfinished runs never come in", () => {
  const marked = gpt([...sourceParts, part(9, 22, 1, { type: incompletePartitionType })]);
  const merged = mergeTables({ source: withProfile(marked, diskSize, 3), target: undefined, diskSize });
  assert.equal(merged.table.entries, sourceParts);
  assert.equal(
    merged.leftOut.map(({ entry, reason }) => `${entry.number}: ${reason}`),
    ["3: it is the source's own profile", '9: it marks an unfinished duplication'],
  );
});

test('numbers of parts that stay: their own, else the highest free one; a second merge changes nothing', () => {
  const cases: readonly { kept: number; profile: number; count?: number; expected: Record<number, string> }[] = [
    { kept: 3, profile: 128, expected: { 1: 'part 1', 2: 'root', 3: 'old', 4: 'data', 128: 'doppel-profile' } },
    { kept: 4, profile: 128, expected: { 1: 'part 1', 2: 'root', 4: 'data', 127: 'old', 128: 'doppel-profile' } },
    { kept: 128, profile: 127, expected: { 1: 'part 1', 2: 'root', 4: 'data', 127: 'old', 128: 'doppel-profile' } },
    { kept: 200, profile: 1, count: 256, expected: { 1: 'part 1', 2: 'root', 4: 'data', 127: 'old', 128: 'doppel-profile' } },
  ];
  for (const { kept, profile, count, expected } of cases) {
    const old = part(kept, 22, 4, { ...other(kept), name: 'old' });
    const bare = gpt([], diskSize, 512, 128);
    const target = { ...withProfile(bare, diskSize, profile), array: { count: count ?? 128, size: 128 } };
    const full = { ...target, entries: [...target.entries, old] };
    const keep = (entry: TableEntry): boolean => entry.name === 'old';
    const merged = mergeTables({ source, target: full, diskSize, keep });
    assert.equal(numbered(merged.table), expected);
    const again = mergeTables({ source, target: merged.table, diskSize, keep });
    assert.equal(again.table.entries, merged.table.entries);
    assert.equal(again.notes, []);
  }
});

test('a skipped part of the source does not come in, the part of the target stays in its stead', () => {
  const target = gpt([part(4, 14, 8, { ...other(4), name: 'precious' })]);
  const merged = mergeTables({
    source,
    target,
    diskSize,
    keep: (entry) => entry.name === 'precious',
    skip: (entry) => entry.name === 'data',
  });
  assert.equal(numbered(merged.table), { 1: 'part 1', 2: 'root', 4: 'precious' });
  assert.equal(merged.table.entries[2], target.entries[0]);
  assert.equal(merged.leftOut, [{ entry: sourceParts[2], reason: 'its kind is skipped' }]);
});

test('a source that uses number 128 keeps it', () => {
  const merged = mergeTables({ source: gpt([part(128, 1, 4)]), target: withProfile(gpt([])), diskSize });
  assert.equal(numbered(merged.table), { 127: 'doppel-profile', 128: 'part 128' });
});

test('a large entry array is kept where it fits, and shortened where the profile stands', () => {
  const large = gpt([part(1, 1, 4)], diskSize, 512, 256);
  assert.equal(mergeTables({ source: large, target: undefined, diskSize }).table.array, { count: 256, size: 128 });
  const merged = mergeTables({ source: large, target: withProfile(gpt([])), diskSize });
  assert.equal(merged.table.array, { count: 128, size: 128 });
  assert.equal(numbered(merged.table), { 1: 'part 1', 128: 'doppel-profile' });
  refused(
    { source: gpt([part(256, 1, 4)], diskSize, 512, 256), target: withProfile(gpt([])) },
    TableDoesNotFitError,
    /the protected partition 128 \("doppel-profile"\) of the target, sectors 64 to 2047, leaves the sectors 66 to/,
  );
});

test('collisions are refused with both names and ranges', () => {
  refused(
    { target: gpt([part(9, 12, 2, other(9))]), keep: () => true },
    PartsCollideError,
    /partition 2 \("root"\) of the source, sectors 10240 to 26623, collides with the kept partition 9 \("old 9"\) of the target, sectors 24576 to 28671/,
  );
  const inTheGap = gpt([part(1, 0.5, 4), part(2, 5, 1)]);
  refused(
    { source: inTheGap, target: withProfile(gpt([])) },
    PartsCollideError,
    /partition 1 .* of the source, sectors 1024 to \d+, collides with the protected partition 128 \("doppel-profile"\)/,
  );
  refused(
    { source: inTheGap, regions: [raw] },
    PartsCollideError,
    /collides with the protected raw range at 524288, sectors 1024 to 1151/,
  );
  refused(
    { regions: [{ ...raw, offset: 10_000 }] },
    PartsCollideError,
    /the partition table, sectors 0 to 33, collides with the protected raw range/,
  );
});

test('a raw region beside every part collides with nothing', () => {
  assert.equal(mergeTables({ source, target: undefined, diskSize, regions: [raw] }).table.entries, source.entries);
});

test('a target that is too small is refused with the part and the bytes that it needs', () => {
  refused(
    { diskSize: 20 * MiB },
    TargetTooSmallError,
    new RegExp(
      `has 20971520 bytes and is 1065472 bytes too small: partition 4 \\("data"\\) of the source .* needs a disk of at least ${21 * MiB + 33 * 512} bytes`,
    ),
  );
  const exact = 21 * MiB + 33 * 512;
  assert.is(mergeTables({ source, target: undefined, diskSize: exact }).table.lastUsable, (21 * MiB) / 512 - 1);
  refused({ diskSize: exact - 1 }, TargetTooSmallError, /partition 4/);
  refused({ diskSize: 10_000 }, TableDoesNotFitError, /too small/);
});

test('different sector sizes, kinds of table and equal GUIDs are refused', () => {
  refused({ targetSectorSize: 4096 }, SectorSizeMismatchError, /512 bytes, the target has sectors of 4096/);
  refused({ target: gpt([], diskSize, 4096) }, SectorSizeMismatchError, /512 bytes, the target has sectors of 4096/);
  refused(
    { source: mbr([part(1, 1, 4)]), target: withProfile(gpt([])) },
    TableKindMismatchError,
    /the source has an MBR table, but partition 128 \("doppel-profile"\) must stay in a GPT of the target/,
  );
  refused(
    { target: mbr([part(1, 22, 4)]), keep: () => true },
    TableKindMismatchError,
    /the source has a GPT, but partition 1 must stay/,
  );
  refused(
    { target: gpt([part(2, 22, 4)]), keep: () => true },
    DuplicateGuidError,
    /partition 2 \("root"\) of the source and partition 2/,
  );
});

test('where nothing stays, one kind of table replaces the other', () => {
  const toMbr = mergeTables({ source: mbr([part(1, 1, 4)]), target: gpt([part(1, 1, 30)]), diskSize });
  assert.is(toMbr.table.kind, 'mbr');
  assert.equal(toMbr.notes, ["the target's GPT gives way to MBR"]);
  assert.is(mergeTables({ source, target: mbr([part(1, 1, 30)]), diskSize }).table.kind, 'gpt');
});

test('MBR tables merge likewise: four places, one disk signature, one active entry', async () => {
  const from = mbr([part(1, 1, 4, { attributes: 0x80n }), part(2, 5, 8)]);
  const target = mbr([part(1, 1, 2), part(2, 22, 4, { attributes: 0x80n })], 'aaaa0001');
  const keep = (entry: TableEntry): boolean => entry.number === 2;
  const { table, notes, parts } = mergeTables({ source: from, target, diskSize, keep });
  assert.equal(
    table.entries.map(({ number, guid, attributes, firstSector }) => [number, guid, attributes, firstSector]),
    [
      [1, '5eed0001-01', 0x80n, 2048],
      [2, '5eed0001-02', 0n, 10240],
      [4, '5eed0001-04', 0n, 45056],
    ],
  );
  assert.equal(notes.slice(0, 2), [
    'partition 2 of the target becomes partition 4',
    'partition 2 of the target is no longer active',
  ]);
  assert.match(notes[2] ?? '', 'has the PARTUUID 5eed0001-04 from then on, not aaaa0001-02');
  assert.is(parts[2]?.origin, 'kept');
  const back = await read(written(table));
  assert.equal(back.entries, table.entries);
  assert.is(back.diskId, '5eed0001');
  const four = mbr([1, 2, 3, 4].map((number) => part(number, number, 1)));
  refused({ source: four, target, keep }, TableFullError, /partition 2 must stay on the target, but all 4 places/);
  refused({ source: from, diskSize: 12 * MiB }, TargetTooSmallError, new RegExp(`partition 2 .* at least ${13 * MiB} bytes`));
  refused({ source: from, target: mbr([part(3, 12, 4)]), keep: () => true }, PartsCollideError, /partition 2 of the source/);
});

test('names and types of any source come through, whatever characters they hold', async () => {
  const odd = gpt([part(1, 1, 4, { name: '\u0007\ud800\u202e"', type: linux })]);
  const merged = mergeTables({ source: odd, target: undefined, diskSize });
  assert.is((await read(written(merged.table))).entries[0]?.name, '\u0007\ud800\u202e"');
  refused(
    { source: odd, regions: [{ ...raw, offset: 2 * MiB }] },
    PartsCollideError,
    /partition 1 \("\ufffd\ufffd\ufffd\\""\) of the source/,
  );
});

test('the table of a merge is written to a real image and read back without a remark', async () => {
  const target = withProfile(gpt([part(1, 1, 20, other(1)), part(6, 22, 8, { ...other(6), name: 'keep me' })]));
  const disk = written(target);
  const merged = mergeTables({ source, target: await read(disk), diskSize, keep: (entry) => entry.name === 'keep me' });
  const after = new MemoryDisk(disk.bytes.slice()).apply(encodeTable(merged.table, diskSize));
  await toolsAccept(after);
  assert.equal((await read(after)).repairs, []);
  assert.equal(numbered(await read(after)), { 1: 'part 1', 2: 'root', 4: 'data', 6: 'keep me', 128: 'doppel-profile' });
});

test.run();
