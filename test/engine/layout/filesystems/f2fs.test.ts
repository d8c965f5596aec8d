/** The f2fs reader against partclone and f2fs-tools: what it calls used is what they call used, and a copy of that is whole. */
import { type FileHandle, mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { identifyFileSystem } from '../../../../src/engine/layout/filesystems.ts';
import { IntervalSet } from '../../../../src/engine/protect/intervals.ts';
import { copyOnly, digests, fill, inTempDir, MiB, makeImage, mustUse, ranges, usedOf } from './fixtures.ts';
import { openFile } from './open.ts';
import { usedByPartclone } from './partclone.ts';
import { sealF2fs } from './seal.ts';

const block = 4096;

/** A file system with files in it; sload.f2fs writes a checkpoint as unmounting does. */
async function make(directory: string, size: number, options = '', files = 36): Promise<{ image: string; content: string }> {
  const image = join(directory, 'image');
  const content = join(directory, 'content');
  await makeImage(image, size, ['mkfs.f2fs', '-q', '-f', '-l', 'name', ...options.split(' ').filter((word) => word !== '')]);
  await mkdir(content);
  if (files > 0) {
    await fill(content, { files, largest: MiB });
    await execa('sload.f2fs', ['-f', content, image]);
  }
  return { image, content };
}

/** Reads every file back: dump.f2fs writes what an inode holds below the working directory. */
async function extracted(directory: string, image: string): Promise<string[]> {
  const out = join(directory, 'out');
  await rm(out, { recursive: true, force: true });
  await mkdir(out);
  for (let inode = 4; inode < 110; inode++)
    await execa('dump.f2fs', ['-i', inode.toString(16), image], { cwd: out, input: 'Y\n' });
  return withoutFolders(await digests(out)).filter((line) => !line.startsWith('link '));
}

function withoutFolders(lines: readonly string[]): string[] {
  return lines.map((line) => line.replace(/^.*\//, '')).sort();
}

interface Superblock {
  readonly cpAt: number;
  readonly sitAt: number;
  readonly mainAt: number;
  readonly mainEnd: number;
}

async function superblock(file: FileHandle): Promise<Superblock> {
  const raw = Buffer.alloc(3072);
  await file.read(raw, 0, raw.length, 1024);
  const mainAt = raw.readUInt32LE(92);
  const mainEnd = (mainAt + raw.readUInt32LE(68) * 512) * block;
  return { cpAt: raw.readUInt32LE(76) * block, sitAt: raw.readUInt32LE(80) * block, mainAt: mainAt * block, mainEnd };
}

async function withFile<T>(image: string, body: (file: FileHandle, sb: Superblock) => Promise<T>): Promise<T> {
  const file = await open(image, 'r+');
  try {
    return await body(file, await superblock(file));
  } finally {
    await file.close();
  }
}

const shapes: readonly (readonly [name: string, size: number, options: string, partclone: boolean])[] = [
  ['default features', 128 * MiB, '', true],
  ['an odd length', 150 * MiB + 3 * block, '', true],
  [
    'checksums, compression and quotas',
    128 * MiB,
    '-O extra_attr,inode_checksum,sb_checksum,compression,quota,project_quota',
    true,
  ],
  ['sections of four segments', 280 * MiB, '-s 4', true],
  // partclone cannot read these.
  ['a large NAT bitmap', 128 * MiB, '-i', false],
];
for (const [name, size, options, partclone] of shapes) {
  test(`f2fs with ${name}: used is what partclone finds, and a copy of it is whole`, () =>
    inTempDir(async (directory) => {
      const { image, content } = await make(directory, size, options);
      const used = await mustUse(image);
      if (partclone) {
        const mainEnd = await withFile(image, async (_, sb) => sb.mainEnd);
        // Behind the main area partclone reports what its memory happens to hold.
        const theirs = (await usedByPartclone('f2fs', image)).intersect(IntervalSet.of({ offset: 0, length: mainEnd }));
        assert.equal(ranges(theirs.subtract(used)), [], 'used, but not for us');
        // The block where recovery looks for files that were written after the checkpoint.
        const more = used.subtract(theirs).intersect(IntervalSet.of({ offset: 0, length: Math.floor(size / block) * block }));
        assert.is(more.bytes, block);
      }
      const copy = join(directory, 'copy');
      await copyOnly(image, copy, size, used);
      const { stdout } = await execa('fsck.f2fs', ['--dry-run', copy]);
      assert.not.match(stdout, /\[Fail\]/);
      const [before, after, real] = [
        await extracted(directory, image),
        await extracted(directory, copy),
        withoutFolders(await digests(content)),
      ];
      assert.equal(after, before);
      assert.is(after.length, real.length);
      // Of inodes with extra attributes dump.f2fs takes inline data from the wrong place.
      if (!options.includes('extra_attr')) assert.equal(after, real);
    }));
}

test('the journals of the checkpoint are honoured, in whole summaries and in compact ones', () =>
  inTempDir(async (directory) => {
    // mkfs.f2fs leaves what it allocates in the journals; the tables are written by those who come later.
    const { image } = await make(directory, 128 * MiB, '', 0);
    const valid = await mustUse(image);
    const theirs = await usedByPartclone('f2fs', image);
    assert.equal(ranges(theirs.subtract(valid)), []);
    await withFile(image, async (file, sb) => {
      const found = await journalOf(file, sb);
      assert.ok(found.entries > 0, 'there is no journal to be honoured');
      // Without it the root directory's blocks would be free.
      await file.write(Buffer.alloc(2), 0, 2, found.at);
    });
    const result = await usedOf(image);
    assert.match(result.known ? 'known' : result.reason, /nodes, the SIT has/);
  }));

/** The journal of the SIT in the first checkpoint pack. */
async function journalOf(file: FileHandle, sb: Superblock): Promise<{ at: number; entries: number }> {
  const head = Buffer.alloc(block);
  await file.read(head, 0, block, sb.cpAt);
  const start = sb.cpAt + head.readUInt32LE(140) * block;
  const compact = (head.readUInt32LE(132) & 4) !== 0;
  const at = compact ? start + 507 : sb.cpAt + (head.readUInt32LE(136) - 7 + 2) * block + 3584;
  const count = Buffer.alloc(2);
  await file.read(count, 0, 2, at);
  return { at, entries: count.readUInt16LE(0) };
}

test('names and state are told', () =>
  inTempDir(async (directory) => {
    const { image } = await make(directory, 128 * MiB, '-U 12345678-1234-4321-abcd-1234567890ab', 0);
    const source = await openFile(image);
    const info = await identifyFileSystem(source);
    await source.close();
    const uuid = '12345678-1234-4321-abcd-1234567890ab';
    assert.equal(info, { type: 'f2fs', uuid, label: 'name', size: 128 * MiB, state: 'clean' });
  }));

/** Changes the newer checkpoint pack at both its ends and puts the right checksums in. */
async function changeCheckpoint(file: FileHandle, sb: Superblock, change: (head: Buffer) => void): Promise<void> {
  const packs = await Promise.all(
    [sb.cpAt, sb.cpAt + 512 * block].map(async (at) => {
      const head = Buffer.alloc(block);
      await file.read(head, 0, block, at);
      return { at, head };
    }),
  );
  const [first, second] = packs as [(typeof packs)[number], (typeof packs)[number]];
  const { at, head } = second.head.readBigUInt64LE(0) > first.head.readBigUInt64LE(0) ? second : first;
  const blocks = head.readUInt32LE(136);
  change(head);
  sealF2fs(head, 4092);
  await file.write(head, 0, block, at);
  await file.write(head, 0, block, at + (blocks - 1) * block);
}

const flags: readonly (readonly [name: string, clear: number, set: number, reason: RegExp])[] = [
  ['a checkpoint that no unmount wrote', 1, 0, /was not unmounted/],
  ['orphans', 0, 0x2, /deleted while open/],
  ['an error', 0, 0x8, /noted an error/],
  ['a check that is asked for', 0, 0x10, /fsck.f2fs/],
  ['checkpoints switched off', 0, 0x1000, /switched off/],
  ['an unknown flag', 0, 0x10000, /not known: 0x10000/],
];
for (const [name, clear, set, reason] of flags) {
  test(`${name}: not known`, () =>
    inTempDir(async (directory) => {
      const { image } = await make(directory, 128 * MiB, '', 0);
      await withFile(image, (file, sb) =>
        changeCheckpoint(file, sb, (head) => head.writeUInt32LE(((head.readUInt32LE(132) & ~clear) | set) >>> 0, 132)),
      );
      const result = await usedOf(image);
      assert.match(result.known ? 'known' : result.reason, reason);
    }));
}

test('a file that was fsynced after the last checkpoint: not clean', () =>
  inTempDir(async (directory) => {
    const { image } = await make(directory, 128 * MiB, '', 0);
    await withFile(image, async (file, sb) => {
      const head = Buffer.alloc(block);
      await file.read(head, 0, block, sb.cpAt);
      const node = Buffer.alloc(block);
      head.copy(node, 4084, 0, 8);
      const next = sb.mainAt + (head.readUInt32LE(40) * 512 + head.readUInt16LE(70)) * block;
      await file.write(node, 0, block, next);
    });
    const result = await usedOf(image);
    assert.match(result.known ? 'known' : result.reason, /written after its last checkpoint/);
  }));

/** Changes of bytes, in both superblocks where `at` lies in the first 4 KiB. */
const changes: readonly (readonly [
  name: string,
  options: string,
  at: number | ((sb: Superblock) => number),
  bytes: readonly number[],
  reason: RegExp,
])[] = [
  ['a second device', '', 1024 + 2201, [0x2f], /several devices/],
  ['an unknown feature', '', 1024 + 2180 + 2, [1], /not known: 0x10000/],
  ['a zoned device', '', 1024 + 2180, [2], /zoned/],
  ['a wrong checksum of the superblock', '-O extra_attr,sb_checksum', 1024 + 3068, [0, 0], /checksum of the superblock/],
  ['more blocks than the part has', '', 1024 + 38, [9], /more than the part/],
  ['areas that overlap', '', 1024 + 80, [1], /do not follow each other/],
  ['a torn checkpoint', '', (sb) => sb.cpAt + 500, [1, 2, 3], /torn/],
  ['a second checkpoint that is torn', '', (sb) => sb.cpAt + 512 * block + 500, [1, 2, 3], /torn/],
];
for (const [name, options, at, bytes, reason] of changes) {
  test(`${name}: not known`, () =>
    inTempDir(async (directory) => {
      const { image } = await make(directory, 128 * MiB, options, 0);
      await withFile(image, async (file, sb) => {
        const place = typeof at === 'number' ? at : at(sb);
        for (const copy of place < block ? [place, place + block] : [place]) {
          await file.write(Buffer.from(bytes), 0, bytes.length, copy);
        }
      });
      const result = await usedOf(image);
      assert.match(result.known ? 'known' : result.reason, reason);
    }));
}

test('superblocks that differ: not known', () =>
  inTempDir(async (directory) => {
    const { image } = await make(directory, 128 * MiB, '', 0);
    await withFile(image, (file) => file.write(Buffer.from('x'), 0, 1, block + 1024 + 130));
    const result = await usedOf(image);
    assert.match(result.known ? 'known' : result.reason, /superblocks differ/);
  }));

test('a segment table that forgets a block: not known', () =>
  inTempDir(async (directory) => {
    const { image } = await make(directory, 128 * MiB);
    await withFile(image, async (file, sb) => {
      // Both copies of the table, so that the right one is among them.
      for (const table of [sb.sitAt, sb.sitAt + 512 * block]) {
        const entry = Buffer.alloc(block);
        await file.read(entry, 0, block, table);
        entry[2] = (entry[2] as number) ^ 0xff;
        await file.write(entry, 0, block, table);
      }
    });
    const result = await usedOf(image);
    assert.match(result.known ? 'known' : result.reason, /valid blocks, its bitmap has|which is free|nodes, the SIT/);
  }));

test.run();
