import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { BlockImage } from '../../../src/engine/image/block.ts';
import { mount } from '../../fixtures/loop.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { tool } from '../duplicate/small-disk.ts';
import { assertBytes } from './conformance.ts';
import { partitionedDisk } from './partitions.ts';
import { sparseFile } from './places.ts';
import { random } from './random.ts';

const SIZE = 80 << 20;

test('a disk is read as its partitions are, though somebody holds it and an older state is cached', async () => {
  const path = sparseFile(tempDir(), SIZE);
  const { disk, first } = partitionedDisk(path);
  tool('mkfs.ext4', ['-q', first]);
  const holder = openSync(disk.device, 'r');
  try {
    for (const mode of ['read', 'write'] as const) {
      readFileSync(disk.device);
      const mounted = mount(first, 'ext4');
      writeFileSync(join(mounted.path, `file for ${mode}`), random(1).bytes(8 << 20));
      mounted.unmount();
      const now = readFileSync(path);
      assert.not.ok(readFileSync(disk.device).equals(now), 'nothing is stale: this tests nothing');
      const image = await BlockImage.open(disk.device, mode);
      const found = new Uint8Array(SIZE);
      await image.read(found, 0);
      await image.close();
      assertBytes(found, now, `opened to ${mode}`);
    }
  } finally {
    closeSync(holder);
    disk.detach();
  }
});

test.run();
