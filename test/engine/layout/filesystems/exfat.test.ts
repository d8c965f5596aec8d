/** The exFAT reader against partclone and exfatprogs: what it calls used is what they call used, and a copy of that is whole. */
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { identifyFileSystem } from '../../../../src/engine/layout/filesystems.ts';
import { copyOnly, digests, fill, inTempDir, MiB, makeImage, mustUse, ranges, usedOf } from './fixtures.ts';
import { exfatFuse, fuseMounted, onLoop } from './fuse.ts';
import { openFile } from './open.ts';
import { usedByPartclone } from './partclone.ts';

const mounted = <T>(image: string, body: (root: string) => Promise<T>): Promise<T> =>
  onLoop(image, (device) => fuseMounted(exfatFuse, device, '', body));

async function make(directory: string, size: number, options = ''): Promise<string> {
  const image = join(directory, 'image');
  await makeImage(image, size, ['mkfs.exfat', '-L', 'name', ...options.split(' ').filter((word) => word !== '')]);
  return image;
}

const shapes: readonly (readonly [name: string, size: number, options: string])[] = [
  ['clusters of 4 KiB', 64 * MiB, ''],
  ['clusters of 512 bytes', 24 * MiB, '-c 512'],
  ['clusters of 128 KiB and an odd length', 96 * MiB + 7 * 512, '-c 128K'],
  ['a heap that is packed', 64 * MiB, '--pack-bitmap -c 32K'],
];
for (const [name, size, options] of shapes) {
  test(`exFAT with ${name}: used is what partclone finds, and a copy of it is whole`, () =>
    inTempDir(async (directory) => {
      const image = await make(directory, size, options);
      // There are no symbolic links; everything else is written before it comes to that.
      await mounted(image, (root) => fill(root, { files: 90, largest: MiB }).catch(onlyNoLinks));
      const used = await mustUse(image);
      const theirs = await usedByPartclone('exfat', image);
      assert.equal(ranges(theirs.subtract(used)), [], 'used, but not for us');
      // What does not fill a cluster at the end of the part.
      const end = Math.floor(size / 4096) * 4096;
      assert.equal(ranges(used.subtract(theirs)), end === size ? [] : [`${end}+${size - end}`], 'copied too much');

      const copy = join(directory, 'copy');
      await copyOnly(image, copy, size, used);
      await execa('fsck.exfat', ['-n', copy]);
      const [before, after] = [await mounted(image, digests), await mounted(copy, digests)];
      assert.equal(after, before);
      assert.is(before.length, 60);
    }));
}

function onlyNoLinks(error: NodeJS.ErrnoException): void {
  if (error.syscall !== 'symlink') throw error;
}

test('names, serial and state are told', () =>
  inTempDir(async (directory) => {
    const image = await make(directory, 16 * MiB);
    const { stdout: uuid } = await execa('blkid', ['-p', '-o', 'value', '-s', 'UUID', image]);
    const source = await openFile(image);
    const info = await identifyFileSystem(source);
    await source.close();
    assert.equal(info, { type: 'exfat', uuid, label: 'name', size: 16 * MiB, state: 'clean' });
  }));

interface Exfat {
  readonly file: FileHandle;
  readonly fatAt: number;
  readonly heapAt: number;
  readonly clusterBytes: number;
  readonly rootCluster: number;
  /** Where the entries of the allocation bitmap and of the up-case table stand, in this order. */
  readonly entries: readonly number[];
}

async function withExfat(image: string, body: (exfat: Exfat) => Promise<unknown>): Promise<void> {
  const file = await open(image, 'r+');
  try {
    const boot = Buffer.alloc(512);
    await file.read(boot, 0, 512, 0);
    const clusterBytes = 512 << (boot[109] as number);
    const heapAt = boot.readUInt32LE(88) * 512;
    const rootCluster = boot.readUInt32LE(96);
    const rootAt = heapAt + (rootCluster - 2) * clusterBytes;
    const root = Buffer.alloc(512);
    await file.read(root, 0, 512, rootAt);
    const entries = [0x81, 0x82].map((type) => {
      for (let at = 0; at < 512; at += 32) if (root[at] === type) return rootAt + at;
      throw new Error(`there is no entry of type ${type}`);
    });
    await body({ file, fatAt: boot.readUInt32LE(80) * 512, heapAt, clusterBytes, rootCluster, entries });
  } finally {
    await file.close();
  }
}

function put(file: FileHandle, at: number, ...bytes: number[]): Promise<unknown> {
  return file.write(Buffer.from(bytes), 0, bytes.length, at);
}

/** Changes that turn a clean volume into one that must not be trusted; `sealed`: with the right checksum of the boot region. */
const changes: readonly {
  readonly name: string;
  readonly reason: RegExp;
  readonly sealed?: true;
  change(exfat: Exfat): Promise<unknown>;
}[] = [
  { name: 'the dirty flag', reason: /dirty flag/, change: ({ file }) => put(file, 106, 2) },
  { name: 'failures of the medium', reason: /failures of the medium/, change: ({ file }) => put(file, 106, 4) },
  { name: 'an unknown flag', reason: /flags that are not known \(0x40\)/, change: ({ file }) => put(file, 106, 0x40) },
  { name: 'a second FAT in use', reason: /two FATs/, change: ({ file }) => put(file, 106, 1) },
  { name: 'a wrong checksum', reason: /checksum of the boot region/, change: ({ file }) => put(file, 5000, 1) },
  { name: 'an unknown version', sealed: true, reason: /version 2.0/, change: ({ file }) => put(file, 104, 0, 2) },
  { name: 'two FATs', sealed: true, reason: /two FATs/, change: ({ file }) => put(file, 110, 2) },
  { name: 'more sectors than the part has', sealed: true, reason: /more than the part/, change: ({ file }) => put(file, 74, 2) },
  {
    name: 'more clusters than fit',
    sealed: true,
    reason: /clusters do not fit/,
    change: ({ file }) => put(file, 72, 0, 0x70),
  },
  {
    name: 'a FAT inside the boot region',
    sealed: true,
    reason: /FAT makes no sense/,
    change: ({ file }) => put(file, 80, 3, 0, 0, 0),
  },
  {
    name: 'a bitmap of another length',
    reason: /bitmap has 5 bytes for/,
    change: ({ file, entries }) => put(file, (entries[0] as number) + 24, 5, 0),
  },
  {
    name: 'a bitmap outside the volume',
    reason: /allocation bitmap goes on in cluster/,
    change: ({ file, entries }) => put(file, (entries[0] as number) + 22, 1),
  },
  { name: 'a missing up-case table', reason: /lacks/, change: ({ file, entries }) => put(file, entries[1] as number, 2) },
  { name: 'two bitmaps', reason: /names two/, change: ({ file, entries }) => put(file, entries[1] as number, 0x81) },
  {
    name: 'a root directory that goes round in circles',
    reason: /no end|names two/,
    change: ({ file, fatAt, rootCluster }) => put(file, fatAt + rootCluster * 4, rootCluster, 0, 0, 0),
  },
  {
    name: 'a bitmap that calls itself free',
    reason: /calls metadata .* free/,
    change: ({ file, heapAt }) => put(file, heapAt, 0xfc),
  },
];
for (const { name, reason, sealed, change } of changes) {
  test(`${name}: not known`, () =>
    inTempDir(async (directory) => {
      const image = await make(directory, 16 * MiB);
      await withExfat(image, async (exfat) => {
        await change(exfat);
        if (sealed) await seal(exfat.file);
      });
      const result = await usedOf(image);
      assert.match(result.known ? 'known' : result.reason, reason);
    }));
}

/** The twelfth sector repeats the checksum of the eleven before it. */
async function seal(file: FileHandle): Promise<void> {
  const region = Buffer.alloc(12 * 512);
  await file.read(region, 0, region.length, 0);
  let sum = 0n;
  for (let i = 0; i < 11 * 512; i++) {
    if (![106, 107, 112].includes(i)) sum = (((sum & 1n) << 31n) + (sum >> 1n) + BigInt(region[i] as number)) & 0xffffffffn;
  }
  for (let at = 11 * 512; at < region.length; at += 4) region.writeUInt32LE(Number(sum), at);
  await file.write(region, 0, region.length, 0);
}

test.run();
