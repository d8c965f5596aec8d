import { execa } from 'execa';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { PartitionTable } from '../../../src/engine/layout/contract.ts';
import { readTable } from '../../../src/engine/layout/table.ts';
import { addEntry } from '../../../src/engine/layout/table-check.ts';
import { encodeTable } from '../../../src/engine/layout/table-encode.ts';
import { AmbiguousTableError, TableCorruptError } from '../../../src/engine/layout/table-errors.ts';
import { blankTable, placeInGap } from '../../../src/engine/layout/table-space.ts';
import { profilePartitionType } from '../../../src/engine/layout/types.ts';
import { diskSize, failure, MemoryDisk, MiB, sfdiskDisk, sfdiskReads, withTools } from './table-disk.ts';

const script = 'label: dos\nlabel-id: 0x5eed0001\nsize=8MiB, type=83, bootable\nsize=4MiB, type=82\nsize=8MiB, type=c\n';
const disk = await sfdiskDisk(script);

async function read(image: MemoryDisk): Promise<PartitionTable> {
  const table = await readTable(image);
  if (!table) throw new Error('no table was found');
  return table;
}

test('a table made by sfdisk is read field by field, with sectors of 512 and of 4096 bytes', async () => {
  for (const image of [disk, await sfdiskDisk(script, diskSize, 4096)]) {
    const table = await read(image);
    const { table: expected } = await sfdiskReads(image);
    assert.is(table.kind, 'mbr');
    assert.is(`0x${table.diskId}`, expected.id);
    assert.equal(
      table.entries.map((entry) => [
        entry.firstSector,
        entry.lastSector - entry.firstSector + 1,
        entry.type,
        entry.attributes === 0x80n,
      ]),
      expected.partitions?.map((part) => [
        part.start,
        part.size,
        part.type.toUpperCase().padStart(2, '0'),
        part.bootable === true,
      ]),
    );
    assert.equal(
      table.entries.map((entry) => entry.guid),
      ['5eed0001-01', '5eed0001-02', '5eed0001-03'],
    );
    assert.equal(table.ownRanges, [{ offset: 0, length: image.sectorSize }]);
    assert.is(placeInGap(table, diskSize), undefined, 'the gap belongs to the loader');
  }
});

test('a table written by us is byte for byte what sfdisk wrote', async () => {
  const table = await read(disk);
  const [write] = encodeTable(table, diskSize, { bootCode: table.mbr.subarray(0, 440) }).mbr;
  assert.is(write?.offset, 0);
  assert.is(Buffer.from(write?.bytes ?? []).toString('hex'), Buffer.from(disk.bytes.subarray(0, 512)).toString('hex'));
});

test('entries that overlap or leave the disk are refused by name', async () => {
  const overlapping = disk.copy();
  overlapping.view(446 + 16 + 8).setUint32(0, 4096, true);
  const error = await failure(readTable(overlapping));
  assert.instance(error, TableCorruptError);
  assert.match(error.message, /partition 1, sectors 2048 to 18431, overlaps partition 2, sectors 4096 to/);
  const truncated = await failure(readTable(new MemoryDisk(disk.bytes.subarray(0, 10 * MiB))));
  assert.instance(truncated, TableCorruptError);
  assert.match(truncated.message, /partition 2, sectors \d+ to \d+, leaves the disk of 20480 sectors/);
  const empty = disk.copy();
  empty.view(446 + 12).setUint32(0, 0, true);
  assert.match((await failure(readTable(empty))).message, /partition 1 is empty/);
  const zero = disk.copy();
  zero.view(446 + 8).setUint32(0, 0, true);
  assert.match((await failure(readTable(zero))).message, /partition 1 covers the partition table/);
});

test('a table without entries is a table, a sector of zeros with a signature is none', async () => {
  assert.equal((await read(await sfdiskDisk('label: dos\n'))).entries, []);
  const bare = new MemoryDisk(new Uint8Array(diskSize));
  bare.bytes.set([0x55, 0xaa], 510);
  assert.is(await readTable(bare), undefined);
});

test('file systems that take the whole disk are no table, although some carry the signature', async () => {
  const made: readonly (readonly [string, string[]])[] = [
    ['mkfs.ext4', ['-q', '-F']],
    ['mkfs.fat', ['-F', '16']],
    ['mkfs.fat', ['-F', '32', '-s', '1']],
    ['mkfs.ntfs', ['-q', '-F', '-f']],
    ['mkswap', ['-q']],
  ];
  for (const [tool, args] of made) {
    const whole = await withTools(new MemoryDisk(new Uint8Array(40 * MiB)), async (path) => {
      await execa(tool, [...args, path]);
    });
    assert.is(await readTable(whole), undefined, tool);
  }
});

test('a status byte other than 00 and 80 is no table', async () => {
  const strange = disk.copy();
  strange.bytes[446] = 0x12;
  assert.is(await readTable(strange), undefined);
});

test('two active entries are told', async () => {
  const two = disk.copy();
  two.bytes[446 + 16] = 0x80;
  assert.equal((await read(two)).repairs, ['partition 1 and partition 2 are all marked active']);
});

test('a GPT that an MBR table replaced is ignored and told, unless it holds a profile', async () => {
  const old = new MemoryDisk(new Uint8Array(diskSize));
  const blank = blankTable(diskSize, 512);
  old.apply(encodeTable(blank, diskSize));
  old.bytes.set(disk.bytes.subarray(0, 512));
  const table = await read(old);
  assert.is(table.kind, 'mbr');
  assert.equal(table.repairs, ['a GPT without protective MBR was ignored: sector 0 holds an MBR partition table']);

  const place = placeInGap(blank, diskSize) ?? { firstSector: 0, lastSector: 0 };
  const guid = '5EED0000-0000-4000-8000-000000000080';
  const entry = { ...place, number: 128, type: profilePartitionType, guid, name: '', attributes: 0n };
  old.apply(encodeTable(addEntry(blank, entry, diskSize), diskSize));
  old.bytes.set(disk.bytes.subarray(0, 512));
  assert.instance(await failure(readTable(old)), AmbiguousTableError);
});

test('where an MBR table takes the place of a GPT, nothing of the GPT is left', async () => {
  const target = await sfdiskDisk('label: gpt\nsize=8MiB\n');
  const previous = await read(target);
  target.apply(encodeTable(await read(disk), diskSize, { previous }));
  const table = await read(target);
  assert.is(table.kind, 'mbr');
  assert.equal(table.repairs, []);
  const { complaints, table: seen } = await sfdiskReads(target);
  assert.is(complaints, '');
  assert.is(seen.label, 'dos');
});

test.run();
