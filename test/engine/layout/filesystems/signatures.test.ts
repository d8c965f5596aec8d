/** What has no reader is named as blkid names it, containers win over what lies in them, and two claims are nobody's. */
import { open, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { identifyFileSystem } from '../../../../src/engine/layout/filesystems.ts';
import { inTempDir, MiB, makeImage, random, usedOf } from './fixtures.ts';
import { openFile } from './open.ts';

const size = 128 * MiB;

async function identify(image: string) {
  const source = await openFile(image);
  try {
    return await identifyFileSystem(source);
  } finally {
    await source.close();
  }
}

/** What blkid finds: type, UUID and label. */
async function byBlkid(image: string): Promise<{ type?: string; uuid: string; label: string }> {
  const { stdout } = await execa('blkid', ['-p', '-o', 'export', image]);
  const value = (name: string): string | undefined =>
    new RegExp(`^${name}=(.*)$`, 'm').exec(stdout)?.[1]?.replace(/\\(.)/g, '$1');
  return { type: value('TYPE') as string, uuid: value('UUID') ?? '', label: value('LABEL') ?? '' };
}

async function agrees(image: string, type: string): Promise<void> {
  const info = await identify(image);
  assert.is(info?.type, type);
  assert.equal({ type: info?.type, uuid: info?.uuid, label: info?.label }, await byBlkid(image));
}

const made: readonly (readonly [type: string, mkfs: string, known?: true])[] = [
  ['ext2', 'mke2fs -q -F -t ext2 -L name', true],
  ['ext3', 'mke2fs -q -F -t ext3 -L name', true],
  ['ext4', 'mke2fs -q -F -t ext4 -L name', true],
  ['ext4', 'mke2fs -q -F -t ext2 -O extents', true],
  ['jbd', 'mke2fs -q -F -O journal_dev'],
  ['vfat', 'mkfs.vfat -F 16 -n NAME', true],
  ['swap', 'mkswap -q -L name', true],
  ['btrfs', 'mkfs.btrfs -q -L name', true],
  ['ntfs', 'mkntfs -Q -q -F -L name', true],
  ['exfat', 'mkfs.exfat -L name', true],
  ['f2fs', 'mkfs.f2fs -q -f -l name', true],
  ['crypto_LUKS', 'cryptsetup -q luksFormat --type luks1 --pbkdf-force-iterations 1000 --key-file KEY'],
  [
    'crypto_LUKS',
    'cryptsetup -q luksFormat --type luks2 --label name --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file KEY',
  ],
];
for (const [type, command, known = false] of made) {
  test(`${type} is named as blkid names it (${command})`, () =>
    inTempDir(async (directory) => {
      const image = join(directory, 'image');
      const key = join(directory, 'key');
      await writeFile(key, 'secret');
      await makeImage(
        image,
        size,
        command.split(' ').map((word) => (word === 'KEY' ? key : word)),
      );
      await agrees(image, type);
      const result = await usedOf(image);
      assert.is(result.known, known);
      if (type === 'crypto_LUKS') assert.match(result.known ? '' : result.reason, /crypto_LUKS: it is encrypted/);
    }));
}

test('XFS is named as blkid names it', () =>
  inTempDir(async (directory) => {
    const image = join(directory, 'image');
    await makeImage(image, 320 * MiB, ['mkfs.xfs', '-q', '-f', '-L', 'name']);
    await agrees(image, 'xfs');
  }));

test('squashfs and ISO 9660 are named as blkid names them', () =>
  inTempDir(async (directory) => {
    const content = join(directory, 'content');
    await execa('mkdir', [content]);
    await writeFile(join(content, 'file'), 'content');
    const squash = join(directory, 'squash');
    await execa('mksquashfs', [content, squash, '-quiet', '-no-progress']);
    await agrees(squash, 'squashfs');
    const iso = join(directory, 'iso');
    await execa('xorrisofs', ['-quiet', '-V', 'NAME', '-o', iso, content]);
    await agrees(iso, 'iso9660');
  }));

test('a physical volume of LVM is named as blkid names it', () =>
  inTempDir(async (directory) => {
    const image = join(directory, 'image');
    await writeFile(image, '');
    await truncate(image, size);
    const device = (await execa('losetup', ['-f', '--show', image])).stdout;
    try {
      const config = `devices { filter=["a|^${device}$|","r|.*|"] use_devicesfile=0 }`;
      await execa('pvcreate', ['-q', '-ff', '-y', '--config', config, device]);
    } finally {
      await execa('losetup', ['-d', device]);
    }
    await agrees(image, 'LVM2_member');
  }));

/** Writes `bytes` at `offset` (from the end where negative). */
async function put(image: string, offset: number, bytes: Buffer): Promise<void> {
  const file = await open(image, 'r+');
  const length = (await file.stat()).size;
  await file.write(bytes, 0, bytes.length, offset < 0 ? length + offset : offset);
  await file.close();
}

function bytesOf(seed: number, length: number): Buffer {
  const next = random(seed);
  return Buffer.from(Array.from({ length }, () => next() & 0xff));
}

/** A superblock of Linux software RAID, version 1, that says it stands at `offset`. */
function raid1(offset: number): Buffer {
  const head = Buffer.alloc(256);
  head.writeUInt32LE(0xa92b4efc, 0);
  head.writeUInt32LE(1, 4);
  bytesOf(1, 16).copy(head, 16);
  head.write('host:7', 32);
  head.writeUInt32LE(offset / 512, 144);
  // blkid compares the checksum: the sum of all words.
  let sum = 0;
  for (let at = 0; at < 256; at += 4) sum += head.readUInt32LE(at);
  head.writeUInt32LE((sum % 2 ** 32) + Math.floor(sum / 2 ** 32), 216);
  return head;
}

function raid090(): Buffer {
  const head = Buffer.alloc(4096);
  head.writeUInt32LE(0xa92b4efc, 0);
  head.writeUInt32LE(90, 8);
  bytesOf(2, 4).copy(head, 20);
  bytesOf(3, 12).copy(head, 52);
  return head;
}

for (const [version, offset] of [
  ['1.0', size - 8192],
  ['1.1', 0],
  ['1.2', 4096],
] as const) {
  test(`a member of software RAID ${version} is a member, also over ext4`, () =>
    inTempDir(async (directory) => {
      const image = join(directory, 'image');
      await makeImage(image, size, ['mke2fs', '-q', '-F', '-t', 'ext4']);
      await put(image, offset, raid1(offset));
      assert.is((await identify(image))?.type, 'linux_raid_member');
      assert.is((await identify(image))?.label, 'host:7');
      const result = await usedOf(image);
      assert.match(result.known ? 'known' : result.reason, /linux_raid_member: it is a member of a RAID/);
      await put(image, 1024, Buffer.alloc(1024));
      await agrees(image, 'linux_raid_member');
    }));
}

test('a member of software RAID 0.90 is a member, also over ext4', () =>
  inTempDir(async (directory) => {
    const image = join(directory, 'image');
    await makeImage(image, size, ['mke2fs', '-q', '-F', '-t', 'ext4']);
    await put(image, -65536, raid090());
    assert.is((await identify(image))?.type, 'linux_raid_member');
    assert.not((await usedOf(image)).known);
    await put(image, 1024, Buffer.alloc(1024));
    await agrees(image, 'linux_raid_member');
  }));

test('ZFS, bcache, DRBD and Intel RAID are named as blkid names them', () =>
  inTempDir(async (directory) => {
    const image = join(directory, 'image');
    const fresh = async (): Promise<void> => {
      await writeFile(image, '');
      await truncate(image, size);
    };
    const uberblock = Buffer.alloc(8);
    uberblock.writeUInt32LE(0x00bab10c);
    await fresh();
    for (let i = 0; i < 6; i++) await put(image, 131072 + i * 1024, uberblock);
    await agrees(image, 'zfs_member');

    await fresh();
    await execa('make-bcache', ['-B', image]);
    await agrees(image, 'bcache');

    await fresh();
    await put(image, -1024, Buffer.from('Intel Raid ISM Cfg Sig. 1.3.00'));
    assert.is((await identify(image))?.type, 'isw_raid_member');
  }));

test('two file systems that both claim the part: neither is trusted', () =>
  inTempDir(async (directory) => {
    const image = join(directory, 'image');
    await makeImage(image, size, ['mke2fs', '-q', '-F', '-t', 'ext4']);
    await put(image, 4086, Buffer.from('SWAPSPACE2'));
    const result = await usedOf(image);
    assert.match(result.known ? 'known' : result.reason, /signatures of ext4 and swap/);
  }));

test('nothing at all, or noise, is not recognised', () =>
  inTempDir(async (directory) => {
    const image = join(directory, 'image');
    for (const bytes of [Buffer.alloc(0), Buffer.alloc(100, 1), Buffer.alloc(MiB), bytesOf(9, 300_000)]) {
      await writeFile(image, bytes);
      assert.is(await identify(image), undefined);
      assert.equal(await usedOf(image), { known: false, reason: 'no file system was recognised' });
    }
  }));

test.run();
