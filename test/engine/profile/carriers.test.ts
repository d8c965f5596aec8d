import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { PartitionTable, TableEntry } from '../../../src/engine/layout/contract.ts';
import { profilePartitionType } from '../../../src/engine/layout/types.ts';
import {
  describeRegion,
  findRegions,
  gapOffset,
  rawRegionOffsets,
  regionBytes,
} from '../../../src/engine/profile/carriers/find.ts';
import { readContainer } from '../../../src/engine/profile/container.ts';
import { writeContainer } from '../../../src/engine/profile/container-write.ts';
import type { Region } from '../../../src/engine/protect/region.ts';
import { gap, MemoryDisk, targetId } from './memory-disk.ts';

const size = 8 * 1_048_576;
const mebibyte = 1_048_576;

function entry(number: number, offset: number, length: number, type = '0FC63DAF-8483-4772-8E79-3D69D8477DE4'): TableEntry {
  const firstSector = offset / 512;
  return { number, firstSector, lastSector: firstSector + length / 512 - 1, type, guid: '', name: '', attributes: 0n };
}

function gpt(...entries: TableEntry[]): PartitionTable {
  const table = { kind: 'gpt', sectorSize: 512, diskId: '', firstUsable: 34, lastUsable: size / 512 - 34 } as const;
  return { ...table, entries, repairs: [], ownRanges: [], mbr: new Uint8Array(512) };
}

const raw = (range: { offset: number; length: number }): Region => ({
  ...range,
  carrier: 'raw',
  name: `raw range at ${range.offset}`,
});

async function written(region: Region): Promise<MemoryDisk> {
  const disk = new MemoryDisk(size);
  await writeContainer(disk, region, new Uint8Array([1]), { targetId });
  return disk;
}

test('the raw ranges: page-aligned, inside of the disk, disjoint, clear of both tables', () => {
  assert.equal(rawRegionOffsets(size), [
    { offset: 524_288, length: 524_288 },
    { offset: mebibyte, length: 1_015_808 },
    { offset: 7 * mebibyte, length: 1_015_808 },
  ]);
  for (const odd of [0, 512, mebibyte, mebibyte + 512, 2 * mebibyte, 3 * mebibyte - 512, 8_000_000_512]) {
    const ranges = rawRegionOffsets(odd);
    for (const [index, range] of ranges.entries()) {
      assert.ok(range.offset % 4096 === 0 && range.offset >= 524_288 && range.offset + range.length <= odd);
      for (const other of ranges.slice(0, index)) assert.ok(other.offset + other.length <= range.offset);
    }
  }
  assert.equal(
    rawRegionOffsets(size)
      .map((range) => size - range.offset - range.length)
      .at(-1),
    32_768,
    'a backup GPT fits behind',
  );
  assert.equal([gapOffset, regionBytes], [gap.offset, gap.length]);
});

test('a profile partition is protected whatever it holds', async () => {
  const table = gpt(entry(128, gap.offset, gap.length, profilePartitionType), entry(1, mebibyte, mebibyte));
  const expected = [{ offset: gap.offset, length: gap.length, carrier: 'partition', name: 'profile partition 128' }];
  assert.equal(await findRegions(new MemoryDisk(size), table), expected);
  const noise = new MemoryDisk(size);
  noise.bytes.fill(0xa5);
  assert.equal(await findRegions(noise, table), expected);
  assert.equal(await findRegions(await written(gap), table), expected);
  const lower = gpt(entry(128, gap.offset, gap.length, profilePartitionType.toLowerCase()));
  assert.is((await findRegions(noise, lower)).length, 1);
});

test('several profile partitions are all protected, in the order of their offsets', async () => {
  const table = gpt(
    entry(2, 4 * mebibyte, mebibyte, profilePartitionType),
    entry(9, 2 * mebibyte, mebibyte, profilePartitionType),
  );
  assert.equal(
    (await findRegions(new MemoryDisk(size), table)).map((region) => region.name),
    ['profile partition 9', 'profile partition 2'],
  );
});

test('raw ranges are found again, with a table and without', async () => {
  for (const range of rawRegionOffsets(size)) {
    const disk = await written(raw(range));
    assert.equal(await findRegions(disk, undefined), [raw(range)]);
    assert.equal(await findRegions(disk, gpt(entry(1, 3 * mebibyte, mebibyte))), [raw(range)]);
    assert.equal((await readContainer(disk, raw(range))).targetId, targetId);
  }
  assert.equal(await findRegions(new MemoryDisk(size), undefined), []);
  assert.equal(await findRegions(new MemoryDisk(512), undefined), []);
});

test('a raw range is found by its second slot alone, and when its header is damaged', async () => {
  const [range] = rawRegionOffsets(size);
  assert.ok(range);
  const disk = await written(raw(range));
  await writeContainer(disk, raw(range), new Uint8Array([2]), { targetId });
  disk.bytes.fill(0, range.offset, range.offset + 512);
  assert.is((await findRegions(disk, undefined)).length, 1);
  disk.bytes[range.offset + range.length / 2 + 30] ^= 1;
  assert.is((await findRegions(disk, undefined)).length, 1, 'damaged, still protected');
});

test("inside of an ordinary partition the magic alone may be the partition's data; a valid header is protected", async () => {
  const [, range] = rawRegionOffsets(size);
  assert.ok(range);
  const table = gpt(entry(1, mebibyte, 4 * mebibyte));
  const disk = await written(raw(range));
  assert.equal(await findRegions(disk, table), [raw(range)]);
  disk.bytes[range.offset + 30] ^= 1;
  assert.equal(await findRegions(disk, table), []);
  assert.equal(await findRegions(disk, undefined), [raw(range)]);
});

test('what lies in a profile partition is not reported a second time as raw', async () => {
  const [range] = rawRegionOffsets(size);
  assert.ok(range);
  const disk = await written(raw(range));
  const regions = await findRegions(disk, gpt(entry(128, gap.offset, gap.length, profilePartitionType)));
  assert.equal(
    regions.map((region) => region.carrier),
    ['partition'],
  );
});

test('a partition that runs over the end of the image is protected up to the end', async () => {
  const table = gpt(entry(1, size - 4096, 8192, profilePartitionType), entry(2, 2 * size, 4096, profilePartitionType));
  assert.equal(
    (await findRegions(new MemoryDisk(size), table)).map(({ offset, length }) => [offset, length]),
    [[size - 4096, 4096]],
  );
});

test('a region is described with exact sizes', () => {
  assert.is(describeRegion(gap), 'profile partition 128 (992 KiB at 32 KiB)');
  assert.is(describeRegion(raw({ offset: 4097, length: 2 * mebibyte })), 'raw range at 4097 (2 MiB at 4097 bytes)');
});

test.run();
