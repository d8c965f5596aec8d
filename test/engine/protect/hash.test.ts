import { createHash } from 'node:crypto';
import { closeSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { RegionChangedError } from '../../../src/engine/errors.ts';
import { BlockImage } from '../../../src/engine/image/block.ts';
import type { ImageTarget } from '../../../src/engine/image/contract.ts';
import { ImageIoError } from '../../../src/engine/image/errors.ts';
import { FileImage } from '../../../src/engine/image/file.ts';
import { checkRegions, hashRegions } from '../../../src/engine/protect/hash.ts';
import type { Region } from '../../../src/engine/protect/region.ts';
import { attachLoop } from '../../fixtures/loop.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { changeBelow, fileSystem, sparseFile } from '../image/places.ts';
import { random } from '../image/random.ts';

const SIZE = 4 << 20;
const content = random(3).bytes(SIZE);
const regions: Region[] = [
  { offset: 32_768, length: 1_015_808, carrier: 'partition', name: 'profile partition 128' },
  { offset: SIZE - 512, length: 512, carrier: 'raw', name: 'raw range at the end' },
  { offset: 2_000_001, length: 1_500_000, carrier: 'raw', name: 'an odd range' },
];

const sha256 = ({ offset, length }: Region): string =>
  createHash('sha256')
    .update(content.subarray(offset, offset + length))
    .digest('hex');

function patch(path: string, offset: number, byte: number): void {
  const fd = openSync(path, 'r+');
  writeSync(fd, Uint8Array.of(byte), 0, 1, offset);
  closeSync(fd);
}

/** Every edge of every region, and its neighbours, which do not count. */
async function checkAll(target: ImageTarget, change: (offset: number, byte: number) => void): Promise<void> {
  await target.flush();
  const before = await hashRegions(target, regions);
  assert.equal(before, regions.map(sha256));
  await target.read(new Uint8Array(SIZE), 0);
  await checkRegions(target, regions, before);

  for (const region of regions) {
    for (const offset of [region.offset, region.offset + region.length - 1]) {
      change(offset, 0);
      try {
        await checkRegions(target, regions, before);
        assert.unreachable(`byte ${offset} changed and nobody noticed`);
      } catch (error) {
        assert.instance(error, RegionChangedError);
        assert.is((error as RegionChangedError).exitCode, 10);
        assert.equal((error as RegionChangedError).data.regions, [region]);
        assert.match((error as RegionChangedError).message, region.name);
      }
      change(offset, content[offset] as number);
      await checkRegions(target, regions, before);
    }
    change(region.offset - 1, 0);
    await checkRegions(target, regions, before);
    change(region.offset - 1, content[region.offset - 1] as number);
  }
}

test('a byte that changed behind the cache of a block device is noticed', async () => {
  const file = sparseFile(tempDir(), SIZE);
  writeFileSync(file, content);
  const loop = attachLoop(file);
  const target = await BlockImage.open(loop.device, 'write');
  try {
    await checkAll(target, (offset, byte) => patch(file, offset, byte));
  } finally {
    await target.close();
    loop.detach();
  }
});

test('a byte that changed below the file system of a file is noticed', async () => {
  const place = fileSystem('ext4');
  const file = sparseFile(place.folder, SIZE);
  writeFileSync(file, content);
  const target = await FileImage.open(file, 'write');
  try {
    await checkAll(target, (offset, byte) => changeBelow(file, place, offset, Uint8Array.of(byte)));
  } finally {
    await target.close();
  }
});

test('several regions that changed are all named; one that does not lie inside is an error', async () => {
  const file = sparseFile(tempDir(), SIZE);
  writeFileSync(file, content);
  const target = await FileImage.open(file, 'write');
  try {
    const before = await hashRegions(target, regions);
    patch(file, 40_000, 0);
    patch(file, SIZE - 1, 0);
    try {
      await checkRegions(target, regions, before);
      assert.unreachable();
    } catch (error) {
      assert.match((error as Error).message, 'profile partition 128, raw range at the end of');
    }
    try {
      await hashRegions(target, [{ offset: SIZE - 512, length: 1024, carrier: 'raw', name: 'outside' }]);
      assert.unreachable();
    } catch (error) {
      assert.instance(error, ImageIoError);
    }
    assert.equal(await hashRegions(target, []), []);
  } finally {
    await target.close();
  }
});

test.run();
