/** Real file systems for the tests: made by mkfs, filled through the kernel, and asked what they use by their own tools. */
import { createHash } from 'node:crypto';
import { type FileHandle, mkdir, mkdtemp, open, readdir, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { execa } from 'execa';
import { usedBlocks } from '../../../../src/engine/layout/filesystems.ts';
import { IntervalSet } from '../../../../src/engine/protect/intervals.ts';
import { openFile } from './open.ts';

export const MiB = 1 << 20;

/** Runs `body` with a new directory that is gone afterwards. */
export async function inTempDir<T>(body: (directory: string) => Promise<T>): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), 'doppel-fs-'));
  try {
    return await body(directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** A sparse file with a file system in it. */
export async function makeImage(path: string, size: number, mkfs: readonly string[]): Promise<void> {
  await writeFile(path, '');
  await truncate(path, size);
  const [tool, ...args] = mkfs;
  await execa(tool as string, [...args, path]);
}

/** Runs `body` while the image is mounted on a loop device. */
export async function mounted<T>(image: string, options: string, body: (root: string) => Promise<T>): Promise<T> {
  const root = await mkdtemp(join(tmpdir(), 'doppel-mnt-'));
  try {
    await execa('mount', ['-o', options === '' ? 'loop' : `loop,${options}`, image, root]);
    try {
      return await body(root);
    } finally {
      await execa('umount', [root]);
      await released(image);
    }
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}

/** A mount namespace that another process made meanwhile holds a copy of the mount: only when that is gone is it unmounted. */
async function released(image: string): Promise<void> {
  for (let tries = 0; tries < 100; tries++) {
    if ((await execa('losetup', ['-j', image])).stdout === '') return;
    await setTimeout(50);
  }
  throw new Error(`${image} is still mounted somewhere`);
}

/** Numbers from 0 to 2^32, the same for the same seed (mulberry32). */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
}

/** Writes files of many sizes in several directories and deletes every third, so that free space is in pieces. */
export async function fill(root: string, options: { readonly files: number; readonly largest: number }): Promise<void> {
  const next = random(options.files);
  const written: string[] = [];
  for (let i = 0; i < options.files; i++) {
    const directory = join(root, `dir${i % 7}`);
    await mkdir(directory, { recursive: true });
    const bytes = Buffer.alloc(next() % (i % 10 === 0 ? options.largest : 20_000), `file ${i} `);
    written.push(join(directory, `file-${i}`));
    await writeFile(written[i] as string, bytes);
  }
  for (let i = 0; i < written.length; i += 3) await rm(written[i] as string);
  await symlink('dir1/file-1', join(root, 'link'));
}

/** Path and digest of every regular file, sorted. */
export async function digests(root: string): Promise<string[]> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const lines = files.map(async (file) => {
    return `${file.slice(root.length)} ${createHash('sha256')
      .update(await readFile(file))
      .digest('hex')}`;
  });
  return (await Promise.all(lines)).sort();
}

/** What the readers say of an image file. */
export async function usedOf(path: string): ReturnType<typeof usedBlocks> {
  const image = await openFile(path);
  try {
    return await usedBlocks(image);
  } finally {
    await image.close();
  }
}

/** The used set, or an error with the reason why there is none. */
export async function mustUse(path: string): Promise<IntervalSet> {
  const result = await usedOf(path);
  if (!result.known) throw new Error(`${path}: ${result.reason}`);
  return result.used;
}

/** Copies the ranges of `used` and nothing else; everything else of the copy is garbage. */
export async function copyOnly(from: string, to: string, size: number, used: IntervalSet): Promise<void> {
  const source = await open(from, 'r');
  const target = await open(to, 'w');
  try {
    const garbage = Buffer.alloc(MiB, 0xaa);
    const whole = IntervalSet.of({ offset: 0, length: size });
    for (const range of whole.subtract(used))
      await eachChunk(range, (at, length) => writeAll(target, garbage.subarray(0, length), at));
    const buffer = Buffer.alloc(MiB);
    for (const range of used) {
      await eachChunk(range, async (at, length) => {
        await source.read(buffer, 0, length, at);
        await writeAll(target, buffer.subarray(0, length), at);
      });
    }
  } finally {
    await source.close();
    await target.close();
  }
}

async function eachChunk(
  range: { offset: number; length: number },
  body: (at: number, length: number) => Promise<void>,
): Promise<void> {
  for (let done = 0; done < range.length; done += MiB) await body(range.offset + done, Math.min(MiB, range.length - done));
}

async function writeAll(file: FileHandle, bytes: Buffer, at: number): Promise<void> {
  let done = 0;
  while (done < bytes.length) done += (await file.write(bytes, done, bytes.length - done, at + done)).bytesWritten;
}

/** Everything but what dumpe2fs lists as free. */
export async function usedByDumpe2fs(image: string, size: number): Promise<IntervalSet> {
  const { stdout } = await execa('dumpe2fs', [image]);
  const number = (name: string): number => Number(new RegExp(`^${name}: +(\\d+)`, 'm').exec(stdout)?.[1]);
  const blockSize = number('Block size');
  const cluster = number('Cluster size') || blockSize;
  const free = [...stdout.matchAll(/^ {2}Free blocks: (.*)$/gm)].flatMap((line) =>
    [...(line[1] as string).matchAll(/(\d+)(?:-(\d+))?/g)].map(([, first, last = first]) => {
      // With bigalloc the last number is the first block of the last free cluster.
      const end = Number(last) * blockSize + cluster;
      return { offset: Number(first) * blockSize, length: end - Number(first) * blockSize };
    }),
  );
  return IntervalSet.of({ offset: 0, length: size }).subtract(IntervalSet.of(...free));
}

/** Everything but what xfs_db finds free in B+trees and free lists. */
export async function usedByXfsDb(image: string, size: number): Promise<IntervalSet> {
  const superblock = (await execa('xfs_db', ['-r', '-c', 'sb 0', '-c', 'p blocksize agblocks', image])).stdout;
  const [blockSize, agBlocks] = [...superblock.matchAll(/= (\d+)/g)].map((match) => Number(match[1])) as [number, number];
  const { stdout } = await execa('xfs_db', ['-r', '-c', 'freesp -d', image]);
  const rows = [...stdout.matchAll(/^ +(\d+) +(\d+) +(\d+)$/gm)].map(
    (row) => row.slice(1).map(Number) as [number, number, number],
  );
  const free = rows.map(([group, block, count]) => ({
    offset: (group * agBlocks + block) * blockSize,
    length: count * blockSize,
  }));
  return IntervalSet.of({ offset: 0, length: size }).subtract(IntervalSet.of(...free));
}

/** Plain data for comparing sets. */
export function ranges(set: IntervalSet): string[] {
  return [...set].map((range) => `${range.offset}+${range.length}`);
}
