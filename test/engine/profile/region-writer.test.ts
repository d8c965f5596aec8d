import { truncateSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openTarget } from '../../../src/engine/image/open.ts';
import { readContainer } from '../../../src/engine/profile/container.ts';
import { regionWriter, writeContainer } from '../../../src/engine/profile/container-write.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { gap, targetId } from './memory-disk.ts';
import { failure } from './support.ts';

test('a profile on a real image, read back from the medium; nothing else of the image changes', async () => {
  const file = join(tempDir('region'), 'disk.img');
  writeFileSync(file, Buffer.alloc(1_048_576, 0x77));
  truncateSync(file, 4_194_304);
  const before = await readFile(file);
  const image = await openTarget(file);
  try {
    const writer = regionWriter(image, gap);
    for (const generation of [1, 2, 3]) {
      const payload = new Uint8Array(5000).fill(generation);
      await writeContainer(writer, gap, payload, { targetId, expectGeneration: generation - 1 });
      const read = await readContainer(image, gap, { targetId });
      assert.is(read.generation, generation);
      assert.is(Buffer.compare(read.payload, payload), 0);
    }
    await failure(RangeError, () => writer.write(new Uint8Array(512), gap.offset - 512));
    await failure(RangeError, () => writer.write(new Uint8Array(1024), gap.offset + gap.length - 512));
  } finally {
    await image.close();
  }
  const after = await readFile(file);
  const end = gap.offset + gap.length;
  assert.is(Buffer.compare(after.subarray(0, gap.offset), before.subarray(0, gap.offset)), 0);
  assert.is(Buffer.compare(after.subarray(end), before.subarray(end)), 0);
});

test.run();
