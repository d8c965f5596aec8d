/** ext file systems whose bitmaps must not be trusted, and structures that contradict each other: copied whole, with the reason. */
import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { identifyFileSystem } from '../../../../src/engine/layout/filesystems.ts';
import { fill, inTempDir, MiB, makeImage, mounted, usedOf } from './fixtures.ts';
import { openFile } from './open.ts';
import { sealExt, sealExtDescriptor } from './seal.ts';

const size = 64 * MiB;

async function reasonOf(image: string): Promise<string> {
  const result = await usedOf(image);
  return result.known ? 'known' : result.reason;
}

async function stateOf(image: string): Promise<string | undefined> {
  const source = await openFile(image);
  try {
    return (await identifyFileSystem(source))?.state;
  } finally {
    await source.close();
  }
}

for (const type of ['ext2', 'ext3', 'ext4']) {
  test(`${type}: a copy taken while mounted, with files synced, is not known until the file system is clean again`, () =>
    inTempDir(async (directory) => {
      const image = join(directory, 'image');
      const copy = join(directory, 'copy');
      await makeImage(image, size, ['mke2fs', '-q', '-F', '-t', type]);
      await mounted(image, '', async (root) => {
        await fill(root, { files: 30, largest: MiB });
        const file = await open(join(root, 'synced'), 'w');
        await file.writeFile('kept');
        await file.sync();
        await file.close();
        await execa('cp', ['--sparse=always', image, copy]);
      });
      assert.match(await reasonOf(copy), type === 'ext2' ? /not cleanly unmounted/ : /needs_recovery/);
      assert.is(await stateOf(copy), 'unclean');
      assert.is(await stateOf(image), 'clean');

      if (type === 'ext2') await execa('e2fsck', ['-fy', copy], { reject: false });
      await mounted(copy, '', async (root) => assert.is(await readFile(join(root, 'synced'), 'utf8'), 'kept'));
      assert.is(await reasonOf(copy), 'known');
    }));
}

test('a journal that holds something is noticed even where the superblock says that it is replayed', () =>
  inTempDir(async (directory) => {
    const image = join(directory, 'image');
    const copy = join(directory, 'copy');
    await makeImage(image, size, ['mke2fs', '-q', '-F', '-t', 'ext4']);
    await mounted(image, '', async (root) => {
      await fill(root, { files: 30, largest: MiB });
      await execa('sync', ['-f', root]);
      await execa('cp', ['--sparse=always', image, copy]);
    });
    await execa('debugfs', ['-w', '-R', 'feature -needs_recovery', copy]);
    assert.match(await reasonOf(copy), /journal was not replayed|free blocks/);
    await execa('debugfs', ['-w', '-R', 'ssv state 1', copy]);
    assert.is.not(await reasonOf(copy), 'known');
  }));

/** Commands of debugfs after which the bitmaps must not be trusted; debugfs keeps the checksums right. */
const made: readonly (readonly [name: string, command: string, reason: RegExp])[] = [
  ['noted errors', 'ssv state 3', /noted errors/],
  ['no clean unmount', 'ssv state 0', /not cleanly unmounted/],
  ['an orphan list', 'ssv last_orphan 12', /orphaned/],
  ['needs_recovery', 'feature needs_recovery', /needs_recovery/],
  ['a journal on another device', 'ssv journal_dev 2049', /journal is on another device/],
  ['compression, which no reader knows', 'feature FEATURE_I0', /not known: incompat 0x1/],
  ['an unknown incompat flag', 'feature FEATURE_I30', /not known: incompat 0x40000000/],
  ['an unknown compat flag', 'feature FEATURE_C30', /not known: compat 0x40000000/],
  ['an unknown ro_compat flag', 'feature FEATURE_R30', /not known: ro_compat 0x40000000/],
  ['a wrong count of free blocks', 'ssv free_blocks_count 5', /says 5 free blocks/],
  ['a wrong count of free blocks in a group', 'set_bg 1 free_blocks_count 5', /group 1 says 5 free blocks|checksum/],
  ['an inode table outside', 'set_bg 1 inode_table 99999999', /outside the file system|checksum/],
  ['more blocks than the part has', 'ssv blocks_count 99999999', /more than the part/],
];
for (const [name, command, reason] of made) {
  test(`${name}: not known`, () =>
    inTempDir(async (directory) => {
      const image = join(directory, 'image');
      await makeImage(image, size, ['mke2fs', '-q', '-F', '-t', 'ext4', '-b', '1024']);
      const number = / FEATURE_([IR])(\d+)$/.exec(command);
      if (number === null) await execa('debugfs', ['-w', '-R', command, image]);
      else await setBit(image, number[1] === 'I' ? 0x60 : 0x64, Number(number[2]));
      assert.match(await reasonOf(image), reason);
    }));
}

test('metadata that a bitmap calls free is noticed, behind right counts', () =>
  inTempDir(async (directory) => {
    const image = join(directory, 'image');
    await makeImage(image, size, ['mke2fs', '-q', '-F', '-t', 'ext4', '-b', '1024', '-O', '^metadata_csum,^uninit_bg']);
    const { stdout } = await execa('dumpe2fs', [image]);
    const table = Number(/Inode table at (\d+)/.exec(stdout)?.[1]);
    const free = Number(/^ {2}Free blocks: (\d+)/m.exec(stdout)?.[1]);
    // One block less here, one more there: the counts go on to fit.
    await execa('debugfs', ['-w', '-f', '-', image], { input: `freeb ${table}\nsetb ${free}\n` });
    assert.match(await reasonOf(image), /calls metadata at byte \d+ free/);
  }));

test('a flipped bit in a block bitmap, a descriptor or the superblock is noticed', () =>
  inTempDir(async (directory) => {
    const image = join(directory, 'image');
    await makeImage(image, size, ['mke2fs', '-q', '-F', '-t', 'ext4', '-b', '1024']);
    const bitmap = Number(/Block bitmap at (\d+)/.exec((await execa('dumpe2fs', [image])).stdout)?.[1]);
    for (const [at, reason] of [
      [bitmap * 1024 + 700, /checksum of the block bitmap of group 0/],
      [2048 + 64 + 5, /checksum of group descriptor 1/],
      [1024 + 0x88, /checksum of the superblock/],
    ] as const) {
      await flip(image, at);
      assert.match(await reasonOf(image), reason);
      await flip(image, at);
    }
    assert.is(await reasonOf(image), 'known');
  }));

test('absurd numbers behind right checksums are noticed', () =>
  inTempDir(async (directory) => {
    const image = join(directory, 'image');
    await makeImage(image, size, ['mke2fs', '-q', '-F', '-t', 'ext4', '-b', '1024']);
    const original = await part(image, 1024, 1024);
    for (const [at, value] of [
      [0x14, 7],
      [0x20, 0],
      [0x20, 8192 * 8],
      [0x28, 0],
      [0x4c, 9],
      [0x104, 5],
    ] as const) {
      const changed = Buffer.from(original);
      changed.writeUInt32LE(value, at);
      // first_meta_bg is looked at only with meta_bg.
      if (at === 0x104) changed.writeUInt32LE(changed.readUInt32LE(0x60) | 0x10, 0x60);
      sealExt(changed);
      await write(image, changed, 1024);
      assert.is.not(await reasonOf(image), 'known', `superblock 0x${at.toString(16)} = ${value}`);
    }
    await write(image, original, 1024);
    const descriptor = await part(image, 2048, 64);
    descriptor.writeUInt32LE(0xfffffff0, 0);
    sealExtDescriptor(descriptor, 0, original.subarray(0x68, 0x78));
    await write(image, descriptor, 2048);
    assert.match(await reasonOf(image), /block bitmap of group 0 lies outside/);
  }));

async function part(image: string, at: number, length: number): Promise<Buffer> {
  const file = await open(image, 'r');
  const bytes = Buffer.alloc(length);
  await file.read(bytes, 0, length, at);
  await file.close();
  return bytes;
}

async function write(image: string, bytes: Buffer, at: number): Promise<void> {
  const file = await open(image, 'r+');
  await file.write(bytes, 0, bytes.length, at);
  await file.close();
}

async function flip(image: string, at: number): Promise<void> {
  const byte = await part(image, at, 1);
  byte[0] = (byte[0] as number) ^ 0x10;
  await write(image, byte, at);
}

async function setBit(image: string, at: number, bit: number): Promise<void> {
  const superblock = await part(image, 1024, 1024);
  superblock.writeUInt32LE((superblock.readUInt32LE(at) | (1 << bit)) >>> 0, at);
  sealExt(superblock);
  await write(image, superblock, 1024);
}

test.run();
