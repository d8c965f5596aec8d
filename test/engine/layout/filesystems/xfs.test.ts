/** The XFS reader against xfsprogs and the kernel: what it calls used is what they call used, and a copy of that is whole. */
import { open, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { checksumFits } from '../../../../src/engine/layout/filesystems/xfs/superblock.ts';
import { IntervalSet } from '../../../../src/engine/protect/intervals.ts';
import { copyOnly, fill, inTempDir, MiB, makeImage, mounted, mustUse, ranges, usedByXfsDb, usedOf } from './fixtures.ts';
import { sealXfs } from './seal.ts';
import { treeOf } from './tree-of.ts';

const size = 320 * MiB;
const shapes: readonly (readonly [name: string, mkfs: string, size?: number])[] = [
  ['version 5', '-m crc=1'],
  ['version 5 with many groups', '-d agcount=7', 560 * MiB],
  ['version 5 with 1 KiB blocks and 3 groups', '-b size=1024 -d agcount=3'],
  ['version 5 with rmapbt, reflink, bigtime', '-m rmapbt=1,reflink=1,bigtime=1,finobt=1,inobtcount=1'],
  ['version 5 with none of them', '-m rmapbt=0,reflink=0,bigtime=0,finobt=0,inobtcount=0'],
  ['version 5 with large extent counters', '-i nrext64=1'],
  ['version 5 with 4 KiB sectors', '-s size=4096'],
  ['version 5 with a striped log', '-l sunit=64'],
];

for (const [name, options, imageSize = size] of shapes) {
  test(`XFS ${name}: used is what xfs_db says, and a copy of it is whole`, () =>
    inTempDir(async (directory) => {
      const image = join(directory, 'image');
      const copy = join(directory, 'copy');
      await makeImage(image, imageSize, ['mkfs.xfs', '-q', '-f', ...options.split(' ')]);
      // Never mounted: mkfs leaves an unmount record or an empty log.
      assert.equal(ranges(await mustUse(image)), ranges(await usedByXfsDb(image, imageSize)));

      const files = await mounted(image, '', async (root) => {
        await fill(root, { files: 300, largest: 3 * MiB });
        return treeOf(root);
      });
      assert.ok(files.length > 200);
      const used = await mustUse(image);
      assert.equal(ranges(used), ranges(await usedByXfsDb(image, imageSize)));
      assert.ok(used.bytes < imageSize);

      await copyOnly(image, copy, imageSize, used);
      await execa('xfs_repair', ['-n', copy]);
      assert.equal(await mounted(copy, 'ro,nouuid', treeOf), files);
    }));
}

/** Newer kernels do not mount version 4; mkfs fills it from a list of files. */
const version4: readonly (readonly [name: string, mkfs: string])[] = [
  ['version 4', '-m crc=0'],
  ['version 4 without lazy counters and with a version 1 log', '-m crc=0 -l lazy-count=0,version=1'],
  ['version 4 with 1 KiB blocks and no file types', '-m crc=0,finobt=0 -n ftype=0 -b size=1024'],
];
for (const [name, options] of version4) {
  test(`XFS ${name}: used is what xfs_db says and its free lists, and a copy of it is whole`, () =>
    inTempDir(async (directory) => {
      const image = join(directory, 'image');
      const copy = join(directory, 'copy');
      const content = join(directory, 'content');
      await writeFile(content, Buffer.alloc(300_000, 'content '));
      const files = Array.from({ length: 50 }, (_, i) => `file${i} ---644 0 0 ${content}`);
      await writeFile(join(directory, 'list'), ['/none', '0 0', 'd--755 0 0', ...files, '$', ''].join('\n'));
      await makeImage(image, size, ['mkfs.xfs', '-q', '-f', ...options.split(' '), '-p', join(directory, 'list')]);
      const used = await mustUse(image);
      const theirs = await usedByXfsDb(image, size);
      assert.equal(ranges(theirs.subtract(used)), [], 'used, but not for us');
      // A handful of blocks for each of four groups.
      assert.ok(used.bytes - theirs.bytes <= 4 * 12 * 4096, `${used.bytes - theirs.bytes} bytes more`);
      await copyOnly(image, copy, size, used);
      await execa('xfs_repair', ['-n', copy]);
    }));
}

/** Free space in thousands of pieces, so that the B+tree of group 0 has a root over many leaves. */
async function makeDeepTree(directory: string): Promise<{ image: string; root: number }> {
  const image = join(directory, 'image');
  await makeImage(image, size, ['mkfs.xfs', '-q', '-f', '-b', 'size=1024', '-d', 'agcount=2']);
  await mounted(image, '', async (top) => {
    const file = join(top, 'holes');
    await execa('xfs_io', ['-f', '-c', 'falloc 0 64m', file]);
    const punches = Array.from({ length: 8000 }, (_, i) => `fpunch ${i * 4096} 1k`);
    await execa('xfs_io', [file], { input: punches.join('\n') });
  });
  const { stdout } = await execa('xfs_db', ['-r', '-c', 'agf 0', '-c', 'p bnoroot bnolevel', image]);
  const [root, levels] = [...stdout.matchAll(/= (\d+)/g)].map((match) => Number(match[1])) as [number, number];
  assert.ok(levels > 1, stdout);
  return { image, root };
}

test('a B+tree of several levels is walked', () =>
  inTempDir(async (directory) => {
    const { image } = await makeDeepTree(directory);
    const used = await mustUse(image);
    assert.ok(used.count > 7000);
    assert.equal(ranges(used), ranges(await usedByXfsDb(image, size)));
  }));

test('a B+tree that goes round in circles, or hides a part of itself, is noticed behind right checksums', () =>
  inTempDir(async (directory) => {
    const { image, root } = await makeDeepTree(directory);
    const file = await open(image, 'r+');
    const block = Buffer.alloc(1024);
    await file.read(block, 0, 1024, root * 1024);
    const original = Buffer.from(block);
    const pointers = 56 + Math.floor((1024 - 56) / 12) * 8;
    const second = original.readUInt32BE(pointers + 4);
    const last = original.readUInt16BE(6) - 1;
    const leaf = Buffer.alloc(1024);
    await file.read(leaf, 0, 1024, second * 1024);
    const originalLeaf = Buffer.from(leaf);

    const cases: readonly (readonly [name: string, change: () => void, reason: RegExp])[] = [
      ['the root as its own child', () => block.writeUInt32BE(root, pointers), /has level 1 instead of 0/],
      ['a child twice', () => block.writeUInt32BE(second, pointers), /does not begin where its parent says/],
      [
        'a child and its key twice',
        () => original.copy(block, 64, 56, 64) && block.copy(block, pointers + 4, pointers, pointers + 4),
        /wrong left/,
      ],
      ['a child left out at the end', () => block.writeUInt16BE(last, 6), /parents do not name/],
      ['a leaf that is its own right neighbour', () => leaf.writeUInt32BE(second, 12), /not the right neighbour/],
      ['records that do not ascend', () => leaf.copy(leaf, 64, 56, 64), /record that makes no sense/],
      ['more records than fit', () => leaf.writeUInt16BE(500, 6), /has 500 records/],
      ['a leaf of another group', () => leaf.writeUInt32BE(1, 48), /says that it is another block/],
    ];
    try {
      for (const [name, change, reason] of cases) {
        original.copy(block);
        originalLeaf.copy(leaf);
        change();
        sealXfs(block, 52);
        sealXfs(leaf, 52);
        await file.write(block, 0, 1024, root * 1024);
        await file.write(leaf, 0, 1024, second * 1024);
        const result = await usedOf(image);
        assert.match(result.known ? 'known' : result.reason, reason, name);
      }
    } finally {
      await file.close();
    }
  }));

test('a file system that grew, with a new UUID, is read as well, and what it does not reach is used', () =>
  inTempDir(async (directory) => {
    const image = join(directory, 'image');
    await makeImage(image, size, ['mkfs.xfs', '-q', '-f']);
    await mounted(image, '', (root) => fill(root, { files: 60, largest: MiB }));
    await truncate(image, size + 100 * MiB);
    await mounted(image, '', (root) => execa('xfs_growfs', [root]));
    await execa('xfs_admin', ['-U', 'generate', image]);
    await mounted(image, '', (root) => fill(join(root, 'dir3'), { files: 60, largest: MiB }));
    await truncate(image, size + 110 * MiB);
    const tail = IntervalSet.of({ offset: size + 100 * MiB, length: 10 * MiB });
    assert.equal(ranges(await mustUse(image)), ranges((await usedByXfsDb(image, size + 100 * MiB)).union(tail)));
  }));

test('a copy taken while mounted, with files synced, is not known', () =>
  inTempDir(async (directory) => {
    const image = join(directory, 'image');
    const copy = join(directory, 'copy');
    await makeImage(image, size, ['mkfs.xfs', '-q', '-f']);
    await mounted(image, '', async (root) => {
      await fill(root, { files: 30, largest: MiB });
      const file = await open(join(root, 'synced'), 'w');
      await file.writeFile('kept');
      await file.sync();
      await file.close();
      await execa('cp', ['--sparse=always', image, copy]);
    });
    const result = await usedOf(copy);
    assert.match(result.known ? 'known' : result.reason, /not clean: its log/);
    // The kernel replays the log; from then on the same file is clean again.
    await mounted(copy, '', async (root) => assert.is(await readFile(join(root, 'synced'), 'utf8'), 'kept'));
    assert.ok((await usedOf(copy)).known);
  }));

test('a log that is all zero is clean, one with anything behind an empty start is not', () =>
  inTempDir(async (directory) => {
    const image = join(directory, 'image');
    await makeImage(image, size, ['mkfs.xfs', '-q', '-f', '-m', 'crc=0']);
    const { stdout } = await execa('xfs_db', [
      '-r',
      '-c',
      'sb 0',
      '-c',
      'p logstart logblocks blocksize agblocks agblklog',
      image,
    ]);
    const [start, blocks, block, agBlocks, agLog] = [...stdout.matchAll(/= (\d+)/g)].map((m) => Number(m[1])) as [
      number,
      number,
      number,
      number,
      number,
    ];
    const offset = (Math.floor(start / 2 ** agLog) * agBlocks + (start % 2 ** agLog)) * block;
    const file = await open(image, 'r+');
    await file.write(Buffer.alloc(blocks * block), 0, blocks * block, offset);
    assert.ok((await usedOf(image)).known);
    await file.write(Buffer.from([1]), 0, 1, offset + 70_000);
    await file.close();
    const result = await usedOf(image);
    assert.match(result.known ? 'known' : result.reason, /begins empty but is not/);
  }));

/** Superblock fields that make the file system one we may not read. Offsets are those of the superblock. */
const refused: (readonly [name: string, at: number, value: number, reason: RegExp])[] = [
  ['an unknown incompat flag', 216, 1 << 30, /not known: incompat 0x40000000/],
  ['an unknown ro_compat flag', 212, 1 << 30, /not known: ro_compat 0x40000000/],
  ['needsrepair', 216, 0x10, /needsrepair/],
  ['a metadata directory', 216, 0x100, /metadata directory/],
  ['zones', 216, 0x200, /zoned/],
  ['a log feature', 220, 1, /log has features/],
  ['an absurd group count', 88, 7, /groups do not fit/],
];
// Neither alters what the free-space B+trees say.
refused.push(['exchange-range and parent pointers', 216, 0xc0, /^known$/]);
for (const [name, at, value, reason] of refused) {
  test(`a superblock with ${name} is not known`, () =>
    inTempDir(async (directory) => {
      const image = join(directory, 'image');
      await makeImage(image, size, ['mkfs.xfs', '-q', '-f']);
      const bytes = Buffer.alloc(512);
      const file = await open(image, 'r+');
      await file.read(bytes, 0, 512, 0);
      bytes.writeUInt32BE((bytes.readUInt32BE(at) | value) >>> 0, at);
      sealXfs(bytes, 224);
      assert.ok(checksumFits(bytes, 224));
      await file.write(bytes, 0, 512, 0);
      await file.close();
      const result = await usedOf(image);
      assert.match(result.known ? 'known' : result.reason, reason);
    }));
}

test('a log or data on another device is not known', () =>
  inTempDir(async (directory) => {
    for (const section of ['-l', '-r']) {
      const image = join(directory, `image${section}`);
      const other = join(directory, `other${section}`);
      await writeFile(other, '');
      await truncate(other, 64 * MiB);
      const device = section === '-l' ? 'logdev' : 'rtdev';
      await makeImage(image, size, ['mkfs.xfs', '-q', '-f', section, `${device}=${other}`]);
      const result = await usedOf(image);
      assert.match(result.known ? 'known' : result.reason, section === '-l' ? /log is on another device/ : /realtime/);
    }
  }));

test.run();
