import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { PartitionTable, TableEntry } from '../../../src/engine/layout/contract.ts';
import { readTable } from '../../../src/engine/layout/table.ts';
import { addEntry } from '../../../src/engine/layout/table-check.ts';
import { encodeTable } from '../../../src/engine/layout/table-encode.ts';
import {
  DuplicateGuidError,
  InvalidEntryError,
  PartsCollideError,
  TableDoesNotFitError,
} from '../../../src/engine/layout/table-errors.ts';
import { blankTable, placeInGap, unpartitionedRanges } from '../../../src/engine/layout/table-space.ts';
import { profilePartitionName, profilePartitionType } from '../../../src/engine/layout/types.ts';
import { diskSize, MemoryDisk, MiB, sfdiskDisk, sfdiskReads, toolsAccept } from './table-disk.ts';

const linux = '0FC63DAF-8483-4772-8E79-3D69D8477DE4';

function part(number: number, firstMiB: number, sizeMiB: number, sectorSize = 512, more: Partial<TableEntry> = {}): TableEntry {
  return {
    number,
    firstSector: (firstMiB * MiB) / sectorSize,
    lastSector: ((firstMiB + sizeMiB) * MiB) / sectorSize - 1,
    type: linux,
    guid: `5EED0000-0000-4000-8000-${String(number).padStart(12, '0')}`,
    name: `part ${number}`,
    attributes: 0n,
    ...more,
  };
}

function write(table: PartitionTable, size = diskSize, bootCode?: Uint8Array): MemoryDisk {
  const disk = new MemoryDisk(new Uint8Array(size), table.sectorSize);
  return disk.apply(encodeTable(table, size, bootCode ? { bootCode } : {}));
}

async function read(disk: MemoryDisk): Promise<PartitionTable> {
  const table = await readTable(disk);
  if (!table) throw new Error('no table was found');
  return table;
}

function profileIn(table: PartitionTable, size: number, number = 128): PartitionTable {
  const place = placeInGap(table, size);
  if (!place) throw new Error('no place for the profile');
  return addEntry(table, part(number, 0, 0, 512, { ...place, type: profilePartitionType, name: profilePartitionName }), size);
}

test('a table of ours is accepted by sgdisk and sfdisk, and they read what was written', async () => {
  for (const sectorSize of [512, 4096]) {
    let table = profileIn(blankTable(diskSize, sectorSize), diskSize);
    table = addEntry(table, part(1, 1, 8, sectorSize, { name: 'näme €', attributes: (1n << 60n) | 4n }), diskSize);
    table = addEntry(table, part(7, 12, 8, sectorSize), diskSize);
    const disk = write(table);
    await toolsAccept(disk);
    const { table: seen, complaints } = await sfdiskReads(disk);
    assert.is(complaints, '');
    assert.is(seen.id, table.diskId);
    assert.is(seen.firstlba, sectorSize === 512 ? 34 : 6);
    assert.is(seen.lastlba, table.lastUsable);
    assert.equal(
      seen.partitions?.map(({ start, size, uuid, name, attrs }) => ({ start, size, uuid, name, attrs })),
      table.entries.map((entry) => ({
        start: entry.firstSector,
        size: entry.lastSector - entry.firstSector + 1,
        uuid: entry.guid,
        name: entry.name,
        attrs: entry.attributes === 0n ? undefined : 'LegacyBIOSBootable GUID:60',
      })),
    );
    const back = await read(disk);
    assert.equal(back.repairs, []);
    assert.equal(back.entries, table.entries);
    assert.equal(back.diskId, table.diskId);
  }
});

test('a table with an array of 256 entries is accepted by the tools', async () => {
  const table = addEntry({ ...blankTable(diskSize, 512), array: { count: 256, size: 128 } }, part(200, 1, 8), diskSize);
  const disk = write(table);
  await toolsAccept(disk);
  assert.equal((await read(disk)).array, { count: 256, size: 128 });
  assert.equal((await read(disk)).entries, table.entries);
});

test('every write is whole sectors; the backup stands at the end of a disk whose size is no multiple', async () => {
  const size = diskSize + 700;
  const writes = encodeTable(addEntry(blankTable(size, 512), part(1, 1, 8), size), size);
  for (const { offset, bytes } of [...writes.backup, ...writes.primary, ...writes.mbr]) {
    assert.is(offset % 512, 0);
    assert.is(bytes.length % 512, 0);
  }
  assert.is(writes.backup.at(-1)?.offset, diskSize);
  assert.equal((await read(new MemoryDisk(new Uint8Array(size)).apply(writes))).repairs, []);
});

test('a table read from a smaller disk moves its backup to the end of a larger one', async () => {
  const source = await sfdiskDisk('label: gpt\nsize=8MiB, name="a"\nsize=8MiB, name="b"\n');
  const table = await read(source);
  const disk = write(table, 2 * diskSize);
  await toolsAccept(disk);
  const back = await read(disk);
  assert.equal(back.repairs, []);
  assert.equal(back.entries, table.entries);
  assert.is(back.lastUsable, (2 * diskSize) / 512 - 34);
});

test('boot code is kept when asked, with the active flag of the protective entry, and left out otherwise', async () => {
  const source = await sfdiskDisk('label: gpt\nsize=8MiB\n');
  source.bytes.fill(0x90, 0, 440);
  source.bytes[446] = 0x80;
  const table = await read(source);
  const kept = write(table, diskSize, table.mbr.subarray(0, 440));
  assert.equal(kept.bytes.subarray(0, 512), source.bytes.subarray(0, 512));
  const bare = write(table);
  assert.ok(bare.bytes.subarray(0, 440).every((byte) => byte === 0));
  assert.is(bare.bytes[446], 0);
  await toolsAccept(bare);
});

test('the place for a profile is the gap, else the free tail, else none', () => {
  for (const sectorSize of [512, 4096]) {
    const blank = blankTable(diskSize, sectorSize);
    const sectors = (bytes: number): number => bytes / sectorSize;
    const gap = { firstSector: sectors(32 * 1024), lastSector: sectors(MiB) - 1 };
    assert.equal(placeInGap(blank, diskSize), gap);
    assert.equal(placeInGap(addEntry(blank, part(1, 1, 30, sectorSize), diskSize), diskSize), gap);
    const taken = addEntry(
      blank,
      part(1, 0, 0, sectorSize, { firstSector: sectors(512 * 1024), lastSector: sectors(MiB) - 1 }),
      diskSize,
    );
    const tail = placeInGap(taken, diskSize);
    assert.is(tail?.firstSector, sectors(31 * MiB));
    assert.is(tail?.lastSector, sectors(31 * MiB + 992 * 1024) - 1);
    assert.is(placeInGap(addEntry(taken, part(2, 1, 30.5, sectorSize), diskSize), diskSize), undefined);
  }
});

test('an array that reaches into the gap, or a tiny disk, leaves no place there', () => {
  const large = { ...blankTable(diskSize, 512), array: { count: 256, size: 128 } };
  assert.is(placeInGap(large, diskSize)?.firstSector, (30 * MiB) / 512);
  assert.is(placeInGap(blankTable(MiB, 512), MiB), undefined);
  assert.throws(
    () => blankTable(20 * 1024, 512),
    (error: unknown) => error instanceof TableDoesNotFitError,
  );
});

test('an entry that cannot stand in the table is refused', () => {
  const table = addEntry(blankTable(diskSize, 512), part(1, 4, 4), diskSize);
  const cases: readonly [TableEntry, new (...args: never[]) => Error, RegExp][] = [
    [part(1, 9, 1, 512, { guid: '5EED0000-0000-4000-8000-0000000000AA' }), InvalidEntryError, /number is taken/],
    [part(0, 9, 1), InvalidEntryError, /number is not one of 1 to 128/],
    [part(129, 9, 1), InvalidEntryError, /number is not one of 1 to 128/],
    [
      part(2, 7, 2),
      PartsCollideError,
      /partition 1 \("part 1"\), sectors 8192 to 16383, collides with partition 2 \("part 2"\), sectors 14336/,
    ],
    [part(2, 31, 1), InvalidEntryError, /leave the usable sectors/],
    [part(2, 9, 1, 512, { firstSector: 33 }), InvalidEntryError, /leave the usable sectors 34 to/],
    [part(2, 9, 0), InvalidEntryError, /are no range/],
    [part(2, 9, 1, 512, { firstSector: Number.NaN }), InvalidEntryError, /are no range/],
    [part(2, 9, 1, 512, { type: 'x' }), InvalidEntryError, /is no GUID/],
    [part(2, 9, 1, 512, { name: 'x'.repeat(37) }), InvalidEntryError, /more than 36/],
    [part(2, 9, 1, 512, { attributes: 1n << 64n }), InvalidEntryError, /more than 64 bits/],
    [part(2, 9, 1, 512, { guid: part(1, 4, 4).guid }), DuplicateGuidError, /same unique GUID/],
  ];
  for (const [entry, type, message] of cases) {
    try {
      addEntry(table, entry, diskSize);
    } catch (error) {
      assert.instance(error, type, (error as Error).message);
      assert.match((error as Error).message, message);
      continue;
    }
    assert.unreachable(`accepted: ${message}`);
  }
  assert.throws(
    () => encodeTable(table, 5 * MiB),
    (error: unknown) => error instanceof InvalidEntryError,
  );
});

test('what is unpartitioned is everything but entries and table', () => {
  const table = addEntry(addEntry(blankTable(diskSize, 512), part(1, 1, 8), diskSize), part(2, 12, 8), diskSize);
  assert.equal(
    [...unpartitionedRanges(table, diskSize)],
    [
      { offset: 34 * 512, length: MiB - 34 * 512 },
      { offset: 9 * MiB, length: 3 * MiB },
      { offset: 20 * MiB, length: 12 * MiB - 33 * 512 },
    ],
  );
});

test.run();
