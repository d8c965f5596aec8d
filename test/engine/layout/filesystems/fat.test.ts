/** The FAT reader against dosfstools and mtools: what it calls used is what they call used, and a copy of that is whole. */
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { identifyFileSystem } from '../../../../src/engine/layout/filesystems.ts';
import { copyOnly, digests, fill, inTempDir, MiB, makeImage, mustUse, usedOf } from './fixtures.ts';
import { openFile } from './open.ts';

const shapes: readonly (readonly [name: string, size: number, mkfs: string])[] = [
  ['FAT12', 4 * MiB, '-F 12 -s 4'],
  ['FAT12 of odd length', 2 * MiB + 7 * 512, '-F 12 -s 1'],
  ['FAT16', 40 * MiB, '-F 16 -s 4'],
  ['FAT16 with one FAT', 40 * MiB, '-F 16 -s 4 -f 1'],
  ['FAT32', 64 * MiB, '-F 32 -s 1'],
  ['FAT32 with 4 KiB sectors', 400 * MiB, '-F 32 -S 4096'],
];

const env = { MTOOLS_SKIP_CHECK: '1' };

async function filled(directory: string, size: number, options: string): Promise<{ image: string; content: string }> {
  const image = join(directory, 'image');
  const content = join(directory, 'content');
  await makeImage(image, size, ['mkfs.vfat', '-n', 'NAME', '-i', 'CAFE0123', ...options.split(' ')]);
  await execa('mkdir', [content]);
  await fill(content, { files: 30, largest: Math.min(size / 40, MiB) });
  await execa('rm', [join(content, 'link')]);
  await execa('mcopy', ['-s', '-i', image, ...(await top(content)), '::'], { env });
  await execa('mdeltree', ['-i', image, '::/dir3'], { env });
  await execa('rm', ['-r', join(content, 'dir3')]);
  return { image, content };
}

async function top(content: string): Promise<string[]> {
  return (await execa('ls', [content])).stdout.split('\n').map((name) => join(content, name));
}

for (const [name, size, options] of shapes) {
  test(`${name}: used is what fsck.fat counts and mtools shows, and a copy of it is whole`, () =>
    inTempDir(async (directory) => {
      const { image, content } = await filled(directory, size, options);
      const used = await mustUse(image);

      const { stdout } = await execa('fsck.fat', ['-n', '-v', image]);
      const number = (pattern: RegExp): number => Number(pattern.exec(stdout)?.[1]);
      const dataStart = number(/Data area starts at byte (\d+)/);
      const cluster = number(/(\d+) bytes per cluster/);
      const [clusters, all] = (/ (\d+)\/(\d+) clusters/.exec(stdout) ?? []).slice(1).map(Number) as [number, number];
      assert.is(used.bytes, dataStart + clusters * cluster + (size - dataStart - all * cluster));
      assert.ok(used.covers({ offset: 0, length: dataStart }));

      const shown = (await execa('mshowfat', ['-i', image, ...(await listed(image, '-/'))], { env })).stdout;
      const chains = [...shown.matchAll(/[<,](\d+)(?:-(\d+))?/g)];
      assert.ok(chains.length >= 17, shown);
      for (const [, first, last = first] of chains) {
        const offset = dataStart + (Number(first) - 2) * cluster;
        assert.ok(used.covers({ offset, length: (Number(last) - Number(first) + 1) * cluster }), `clusters ${first}-${last}`);
      }

      const copy = join(directory, 'copy');
      const back = join(directory, 'back');
      await copyOnly(image, copy, size, used);
      await execa('fsck.fat', ['-n', copy]);
      await execa('mkdir', [back]);
      await execa('mcopy', ['-s', '-i', copy, ...(await listed(copy)), back], { env });
      assert.equal(await digests(back), await digests(content));
    }));
}

/** Names in the root directory, or with `-/` in all of them. */
async function listed(image: string, ...options: string[]): Promise<string[]> {
  const { stdout } = await execa('mdir', [...options, '-b', '-i', image, '::'], { env });
  return stdout.split('\n').map((line) => line.replace(/\/$/, ''));
}

test('names, serial and state are told', () =>
  inTempDir(async (directory) => {
    const { image } = await filled(directory, 64 * MiB, '-F 32 -s 1');
    const source = await openFile(image);
    const info = await identifyFileSystem(source);
    await source.close();
    assert.equal(info, { type: 'vfat', uuid: 'CAFE-0123', label: 'NAME', size: 64 * MiB, state: 'clean' });
  }));

/** Bytes that change a clean FAT into one that must not be trusted. `at` counts from the start of the first FAT where `inFat`. */
const changes: readonly {
  readonly name: string;
  readonly bits: 16 | 32;
  readonly at: number;
  readonly bytes: readonly number[];
  readonly inFat?: 'first' | 'both';
  readonly reason: RegExp;
}[] = [
  { name: 'the dirty bit of FAT16', bits: 16, at: 0x25, bytes: [1], reason: /dirty bit/ },
  { name: 'the dirty bit of FAT32', bits: 32, at: 0x41, bytes: [1], reason: /dirty bit/ },
  { name: 'no clean shutdown (FAT16)', bits: 16, at: 2, bytes: [0xff, 0x7f], inFat: 'both', reason: /not shut down/ },
  { name: 'no clean shutdown (FAT32)', bits: 32, at: 7, bytes: [0x07], inFat: 'both', reason: /not shut down/ },
  { name: 'I/O errors (FAT32)', bits: 32, at: 7, bytes: [0x0b], inFat: 'both', reason: /I\/O errors/ },
  { name: 'FATs that differ', bits: 32, at: 4000, bytes: [9], inFat: 'first', reason: /copies of its FAT differ/ },
  { name: 'mirroring switched off', bits: 32, at: 40, bytes: [0x81], reason: /mirroring/ },
  { name: 'a chain into nowhere', bits: 32, at: 400, bytes: [0, 0, 0xff, 0], inFat: 'both', reason: /does not exist/ },
  { name: 'a chain into a free cluster', bits: 32, at: 400, bytes: [0, 0x70, 0, 0], inFat: 'both', reason: /free cluster/ },
  { name: 'a root directory that is free', bits: 32, at: 8, bytes: [0, 0, 0, 0], inFat: 'both', reason: /root directory/ },
  { name: 'more sectors than the part has', bits: 32, at: 32, bytes: [2, 0, 2, 0], reason: /more than the part/ },
];
for (const { name, bits, at, bytes, inFat, reason } of changes) {
  test(`${name}: not known`, () =>
    inTempDir(async (directory) => {
      const { image } = await filled(directory, bits === 16 ? 40 * MiB : 64 * MiB, bits === 16 ? '-F 16' : '-F 32 -s 1');
      const file = await open(image, 'r+');
      const boot = Buffer.alloc(512);
      await file.read(boot, 0, 512, 0);
      const fat = boot.readUInt16LE(14) * 512;
      const copy = (boot.readUInt16LE(22) || boot.readUInt32LE(36)) * 512;
      const places = inFat === undefined ? [at] : inFat === 'first' ? [fat + at] : [fat + at, fat + copy + at];
      for (const place of places) await file.write(Buffer.from(bytes), 0, bytes.length, place);
      await file.close();
      const result = await usedOf(image);
      assert.match(result.known ? 'known' : result.reason, reason);
    }));
}

test.run();
