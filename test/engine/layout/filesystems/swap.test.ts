/** Swap space: its header page is used, nothing else; a hibernated system is all used. */
import { open, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { identifyFileSystem } from '../../../../src/engine/layout/filesystems.ts';
import { inTempDir, MiB, makeImage, mustUse, ranges, usedOf } from './fixtures.ts';
import { openFile } from './open.ts';

const uuid = '5eed0000-0000-4000-8000-00000000aaaa';

for (const pageSize of [4096, 8192, 16384, 65536]) {
  test(`pages of ${pageSize} bytes: the first page and what lies behind the end are used`, () =>
    inTempDir(async (directory) => {
      const image = join(directory, 'image');
      await makeImage(image, 8 * MiB, ['mkswap', '-q', '-p', `${pageSize}`, '-L', 'name', '-U', uuid]);
      await truncate(image, 8 * MiB + 1000);
      assert.equal(ranges(await mustUse(image)), [`0+${pageSize}`, `${8 * MiB}+1000`]);
      const source = await openFile(image);
      assert.equal(await identifyFileSystem(source), { type: 'swap', uuid, label: 'name', size: 8 * MiB, state: 'clean' });
      await source.close();
    }));
}

for (const magic of ['S1SUSPEND', 'S2SUSPEND', 'ULSUSPEND', '\xed\xc3\x02\xe9\x98\x56\xe5\x0c', 'LINHIB0001']) {
  test(`a hibernated system is noticed (${JSON.stringify(magic)})`, () =>
    inTempDir(async (directory) => {
      const image = join(directory, 'image');
      await makeImage(image, 8 * MiB, ['mkswap', '-q', '-p', '4096']);
      const file = await open(image, 'r+');
      await file.write(Buffer.from(magic.padEnd(10, '\0'), 'latin1'), 0, 10, 4086);
      await file.close();
      const source = await openFile(image);
      const info = await identifyFileSystem(source);
      await source.close();
      assert.is(info?.type, 'swsuspend');
      assert.is(info?.state, 'hibernated');
      const result = await usedOf(image);
      assert.match(result.known ? 'known' : result.reason, /hibernated/);
    }));
}

test('more pages than the part has, or another byte order: not known', () =>
  inTempDir(async (directory) => {
    const image = join(directory, 'image');
    for (const [at, value] of [
      [1028, 99_999],
      [1024, 0x01000000],
      [1032, 5000],
    ] as const) {
      await makeImage(image, 8 * MiB, ['mkswap', '-q', '-p', '4096']);
      const file = await open(image, 'r+');
      const word = Buffer.alloc(4);
      word.writeUInt32LE(value);
      await file.write(word, 0, 4, at);
      await file.close();
      assert.not((await usedOf(image)).known);
    }
  }));

test.run();
