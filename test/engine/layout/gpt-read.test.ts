import { execa } from 'execa';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { PartitionTable } from '../../../src/engine/layout/contract.ts';
import { readTable } from '../../../src/engine/layout/table.ts';
import {
  AmbiguousTableError,
  SectorSizeConflictError,
  TableCorruptError,
  TableTruncatedError,
} from '../../../src/engine/layout/table-errors.ts';
import {
  diskSize,
  entryOffset,
  failure,
  fixCrcs,
  lastSector,
  MemoryDisk,
  MiB,
  sfdiskDisk,
  sfdiskReads,
  sgdiskDisk,
  withTools,
} from './table-disk.ts';

const script = `label: gpt
label-id: 5EED0000-0001-4000-8000-000000000001
size=8MiB, type=uefi, uuid=5EED0000-0002-4000-8000-000000000001, name="EFI"
size=8MiB, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, name="root \u00e9\u20ac", attrs="LegacyBIOSBootable,GUID:59,60"
size=8MiB, type=swap
`;
const disk512 = await sfdiskDisk(script);
const disk4096 = await sfdiskDisk(script, diskSize, 4096);

async function read(disk: MemoryDisk): Promise<PartitionTable> {
  const table = await readTable(disk);
  if (!table) throw new Error('no table was found');
  return table;
}

async function sameAsSfdisk(disk: MemoryDisk): Promise<void> {
  const table = await read(disk);
  const { table: expected } = await sfdiskReads(disk);
  assert.is(table.kind, 'gpt');
  assert.equal(table.repairs, []);
  assert.is(table.sectorSize, expected.sectorsize);
  assert.is(table.diskId, expected.id);
  assert.is(table.firstUsable, expected.firstlba);
  assert.is(table.lastUsable, expected.lastlba);
  assert.equal(
    table.entries.map((entry) => ({
      number: entry.number,
      start: entry.firstSector,
      size: entry.lastSector - entry.firstSector + 1,
      type: entry.type,
      uuid: entry.guid,
      name: entry.name,
    })),
    (expected.partitions ?? []).map((part) => ({
      number: Number(/\d+$/.exec(part.node.replace(/.*\.img|.*p(?=\d+$)/, ''))?.[0]),
      start: part.start,
      size: part.size,
      type: part.type,
      uuid: part.uuid,
      name: part.name ?? '',
    })),
  );
}

test('a table made by sfdisk is read field by field, with sectors of 512 and of 4096 bytes', async () => {
  await sameAsSfdisk(disk512);
  await sameAsSfdisk(disk4096);
  const root = (await read(disk512)).entries[1];
  assert.is(root?.name, 'root é€');
  assert.is(root?.attributes, (1n << 2n) | (1n << 59n) | (1n << 60n));
});

test('a table made by sgdisk is read, with holes in the numbers, a small and a large array', async () => {
  const sparse = await sgdiskDisk(['-n', '3:0:+8M', '-c', '3:three', '-n', '128:0:+8M', '-A', '128:set:0']);
  await sameAsSfdisk(sparse);
  assert.equal(
    (await read(sparse)).entries.map((entry) => entry.number),
    [3, 128],
  );
  assert.is((await read(sparse)).entries[1]?.attributes, 1n);
  const long = await sgdiskDisk(['-S', '256', '-n', '200:0:+8M']);
  await sameAsSfdisk(long);
  assert.equal((await read(long)).array, { count: 256, size: 128 });
  const short = await sfdiskDisk('label: gpt\ntable-length: 8\nsize=8MiB\n');
  await sameAsSfdisk(short);
  assert.equal((await read(short)).array, { count: 8, size: 128 });
});

test('a table without entries is a table', async () => {
  assert.equal((await read(await sfdiskDisk('label: gpt\n'))).entries, []);
});

test('the own ranges are sector 0, both headers and both arrays', async () => {
  assert.equal((await read(disk512)).ownRanges, [
    { offset: 0, length: 512 },
    { offset: 512, length: 512 },
    { offset: 1024, length: 16384 },
    { offset: diskSize - 16896, length: 16384 },
    { offset: diskSize - 512, length: 512 },
  ]);
  const moved = await read(await sgdiskDisk(['-j', '1024', '-n', '1:4096:+8M']));
  assert.equal(moved.ownRanges[2], { offset: 1024 * 512, length: 16384 });
});

test('a destroyed primary is replaced by the backup, and that is told', async () => {
  for (const disk of [disk512, disk4096]) {
    const whole = await read(disk);
    for (const [what, from, to] of [
      ['header', 1, 2],
      ['array', 2, 3],
      ['both', 1, 6],
    ] as const) {
      const damaged = disk.copy();
      damaged.bytes.fill(0xa5, from * disk.sectorSize, to * disk.sectorSize);
      const table = await read(damaged);
      assert.equal(table.entries, whole.entries, what);
      assert.is(table.repairs.length, 1, what);
      assert.match(table.repairs[0] as string, /^primary GPT: .*; the backup at sector \d+ was used$/);
      assert.equal(table.ownRanges, whole.ownRanges, what);
    }
  }
});

test('a destroyed backup is told', async () => {
  for (const disk of [disk512, disk4096]) {
    const whole = await read(disk);
    const damaged = disk.copy();
    damaged.bytes.fill(0, damaged.size - disk.sectorSize);
    const table = await read(damaged);
    assert.equal(table.entries, whole.entries);
    assert.equal(table.repairs, [`backup GPT at sector ${lastSector(disk)}: no GPT signature; the primary was used`]);
    assert.equal(table.ownRanges, whole.ownRanges);
  }
});

test('each flipped CRC of each copy is noticed', async () => {
  const last = lastSector(disk512);
  for (const [lba, side] of [
    [1, 'primary'],
    [last, 'backup'],
  ] as const) {
    for (const [at, what] of [
      [16, 'bad header CRC'],
      [88, 'bad header CRC'],
    ] as const) {
      const damaged = disk512.copy();
      damaged.view(lba * 512).setUint8(at, damaged.view(lba * 512).getUint8(at) ^ 1);
      const { repairs } = await read(damaged);
      assert.match(repairs[0] as string, new RegExp(`^${side} GPT.*${what}`));
    }
    const damaged = disk512.copy();
    damaged.view(lba * 512).setUint8(88, damaged.view(lba * 512).getUint8(88) ^ 1);
    fixCrcs(damaged, lba, { array: false });
    assert.match((await read(damaged)).repairs[0] as string, new RegExp(`^${side} GPT.*bad CRC of the entry array`));
    const flipped = disk512.copy();
    const at = entryOffset(flipped, lba, 2) + 40;
    flipped.bytes[at] = (flipped.bytes[at] as number) ^ 1;
    assert.match((await read(flipped)).repairs[0] as string, new RegExp(`^${side} GPT.*bad CRC of the entry array`));
  }
});

test('both copies destroyed is an error that says what is wrong with each', async () => {
  const damaged = disk512.copy();
  damaged.bytes.fill(0, 1024, 2048);
  damaged.bytes.fill(0, damaged.size - 512);
  const error = await failure(readTable(damaged));
  assert.instance(error, TableCorruptError);
  assert.match(error.message, /primary at sector 1: bad CRC of the entry array; backup at sector 65535: no GPT signature/);
});

test('a protective MBR without any GPT is an error, not a disk without table', async () => {
  const damaged = disk512.copy();
  damaged.bytes.fill(0, 512, 64 * 512);
  damaged.bytes.fill(0, damaged.size - 64 * 512);
  const error = await failure(readTable(damaged));
  assert.instance(error, TableCorruptError);
  assert.match(error.message, /neither end of the disk has a GPT header/);
});

/** Changes both copies alike, CRCs right again, so that only sense can tell. */
async function nonsense(change: (disk: MemoryDisk, lba: number) => void, disk = disk512): Promise<Error> {
  const damaged = disk.copy();
  for (const lba of [1, lastSector(disk)]) {
    change(damaged, lba);
    fixCrcs(damaged, lba);
  }
  return failure(readTable(damaged));
}

test('entries that overlap are refused by name and range, although every CRC is right', async () => {
  for (const disk of [disk512, disk4096]) {
    const second = (await read(disk)).entries[1];
    const error = await nonsense((d, lba) => {
      d.view(entryOffset(d, lba, 3)).setBigUint64(32, BigInt(second?.lastSector ?? 0), true);
    }, disk);
    assert.instance(error, TableCorruptError);
    assert.match(error.message, /partition 2 \("root é€"\), sectors \d+ to \d+, overlaps partition 3, sectors \d+ to \d+/);
  }
});

test('entries and headers that make no sense are refused, although every CRC is right', async () => {
  const entry = (at: number, value: bigint) => (d: MemoryDisk, lba: number) =>
    d.view(entryOffset(d, lba, 2)).setBigUint64(at, value, true);
  const header32 = (at: number, value: number) => (d: MemoryDisk, lba: number) => d.view(lba * 512).setUint32(at, value, true);
  const header64 = (at: number, value: bigint) => (d: MemoryDisk, lba: number) => d.view(lba * 512).setBigUint64(at, value, true);
  const cases: readonly [string, (d: MemoryDisk, lba: number) => void, RegExp][] = [
    ['backwards', entry(40, 100n), /partition 2 .* ends before it begins/],
    ['behind the disk', entry(40, 1n << 40n), /partition 2 .* leaves the usable sectors/],
    ['absurdly far', entry(40, 0xffff_ffff_ffff_ffffn), /partition 2 .* leaves the usable sectors/],
    ['before the first usable', entry(32, 3n), /partition 2 .* leaves the usable sectors/],
    ['revision', header32(8, 0x00020000), /unknown revision 0x00020000/],
    ['short header', header32(12, 91), /absurd header size 91/],
    ['long header', header32(12, 513), /absurd header size 513/],
    ['entry size', header32(84, 129), /absurd entry size 129/],
    ['huge entries', header32(84, 0x8000_0000), /absurd entry size 2147483648/],
    ['no entries', header32(80, 0), /absurd number of entries 0/],
    ['too many entries', header32(80, 0xffff_ffff), /absurd number of entries 4294967295/],
    ['own place', header64(24, 7n), /says that it stands at sector 7/],
    ['array in the header', header64(72, 1n), /absurd place of the entry array/],
    ['array in a partition', header64(72, 4096n), /absurd place of the entry array/],
    ['array far away', header64(72, 1n << 60n), /absurd place of the entry array/],
    ['usable range backwards', header64(40, 100_000_000n), /absurd usable range/],
    [
      'other header at itself',
      (d, lba) => d.view(lba * 512).setBigUint64(32, BigInt(lba), true),
      /absurd place of the other header/,
    ],
  ];
  for (const [name, change, message] of cases) {
    const error = await nonsense(change);
    assert.instance(error, TableCorruptError, `${name}: ${error.message}`);
    assert.match(error.message, message, name);
  }
});

test('a truncated image is called truncated, with the size that it should have', async () => {
  const error = await failure(readTable(new MemoryDisk(disk512.bytes.subarray(0, 20 * MiB))));
  assert.instance(error, TableTruncatedError);
  assert.ok(((error as TableTruncatedError).data.neededBytes as number) > 20 * MiB);
  const error4096 = await failure(readTable(new MemoryDisk(disk4096.bytes.subarray(0, 20 * MiB), 512, true)));
  assert.instance(error4096, TableTruncatedError);
});

test('an image that lost its last sectors only is read, and that is told', async () => {
  const table = await read(new MemoryDisk(disk512.bytes.subarray(0, diskSize - 33 * 512)));
  assert.match(table.repairs.join(), /names a backup at sector 65535, but the disk ends at sector 65502/);
});

test('a backup that is not at the end of an enlarged image is found and told', async () => {
  const bytes = new Uint8Array(40 * MiB);
  bytes.set(disk512.bytes);
  const enlarged = new MemoryDisk(bytes);
  const whole = await read(disk512);
  const table = await read(enlarged);
  assert.equal(table.entries, whole.entries);
  assert.equal(table.repairs, ['the backup GPT stands at sector 65535, but the disk ends at sector 81919']);
  assert.equal(table.ownRanges, whole.ownRanges);
  enlarged.bytes.fill(0, 1024, 2048);
  assert.equal((await read(enlarged)).entries, whole.entries, 'and used when the array of the primary is bad');
});

test('copies that differ are told, and the primary decides', async () => {
  const differing = disk512.copy();
  const last = lastSector(differing);
  differing.bytes.fill(0, entryOffset(differing, last, 3), entryOffset(differing, last, 4));
  differing.bytes[entryOffset(differing, last, 1) + 56] = 0x58;
  fixCrcs(differing, last);
  const table = await read(differing);
  assert.is(table.entries.length, 3);
  assert.equal(table.repairs, [
    'primary and backup GPT differ (partition 1 ("EFI"), partition 3 only in the primary); the primary was used',
  ]);
});

test('equal unique GUIDs are told', async () => {
  const twins = disk512.copy();
  for (const lba of [1, lastSector(twins)]) {
    const from = entryOffset(twins, lba, 1) + 16;
    twins.bytes.copyWithin(entryOffset(twins, lba, 2) + 16, from, from + 16);
    fixCrcs(twins, lba);
  }
  assert.match(
    (await read(twins)).repairs.join(),
    /partition 1 \("EFI"\) and partition 2 .* have the same unique GUID 5EED0000-0002/,
  );
});

test('a hybrid MBR is told', async () => {
  const hybrid = await sgdiskDisk(['-n', '1:2048:+8M', '-n', '2:0:+8M', '-h', '1:EE']);
  assert.match((await read(hybrid)).repairs.join(), /hybrid MBR: .* lists \d \(type 83\)/);
});

test('without probing a GPT for another sector size is refused, naming both; a file is probed', async () => {
  const as512 = new MemoryDisk(disk4096.bytes, 512);
  const error = await failure(readTable(as512));
  assert.instance(error, SectorSizeConflictError);
  assert.match(error.message, /sectors of 512 bytes, .* sectors of 4096 bytes/);
  assert.instance(await failure(readTable(new MemoryDisk(disk512.bytes, 4096))), SectorSizeConflictError);
  assert.is((await readTable(as512, { probeSectorSizes: true }))?.sectorSize, 4096);
  assert.is((await read(new MemoryDisk(disk4096.bytes, 512, true))).mbr.length, 4096);
  assert.is((await read(new MemoryDisk(disk512.bytes, 512, true))).sectorSize, 512);
});

test('a GPT whose protective MBR was blanked is used, and that is told', async () => {
  const blanked = disk512.copy();
  blanked.bytes.fill(0, 0, 512);
  assert.equal((await read(blanked)).repairs, ['the protective MBR is missing']);
  blanked.bytes.fill(0, 0, MiB);
  const table = await read(blanked);
  assert.is(table.entries.length, 3);
  assert.match(table.repairs.join('; '), /protective MBR is missing; primary GPT: no GPT signature; the backup .* was used/);
});

test('a backup left behind by a file system that takes the whole disk is not used silently', async () => {
  const leftover = disk512.copy();
  leftover.bytes.fill(0, 0, MiB);
  const formatted = await withTools(leftover, async (path) => {
    await execa('mkfs.ext4', ['-q', '-F', '-b', '4096', path, '4096']);
  });
  assert.instance(await failure(readTable(formatted)), AmbiguousTableError);
});

test('remains of a GPT that nothing in sector 0 explains are not taken for a blank disk', async () => {
  const remains = disk512.copy();
  remains.bytes.fill(0x11, 0, 512);
  assert.instance(await failure(readTable(remains)), AmbiguousTableError);
  for (const lba of [1, lastSector(remains)]) remains.bytes.fill(0xff, lba * 512 + 20, lba * 512 + 512);
  assert.instance(await failure(readTable(remains)), TableCorruptError);
  remains.bytes.fill(0, 0, 512);
  assert.instance(await failure(readTable(remains)), TableCorruptError);
});

test('disks without a table have none', async () => {
  assert.is(await readTable(new MemoryDisk(new Uint8Array(8 * MiB))), undefined);
  assert.is(await readTable(new MemoryDisk(new Uint8Array(0))), undefined);
  assert.is(await readTable(new MemoryDisk(new Uint8Array(700))), undefined);
  assert.is(await readTable(new MemoryDisk(new Uint8Array(2048), 4096)), undefined);
});

test.run();
