/** The ext reader against e2fsprogs and the kernel: what it calls used is what they call used, and a copy of that is whole. */
import { mkdir, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { IntervalSet } from '../../../../src/engine/protect/intervals.ts';
import { copyOnly, fill, inTempDir, MiB, makeImage, mounted, mustUse, ranges, usedByDumpe2fs } from './fixtures.ts';
import { treeOf } from './tree-of.ts';

/** Everything that changes where metadata stands or how bitmaps are read. */
const shapes: readonly (readonly [name: string, mkfs: string, size?: number])[] = [
  ['ext2', '-t ext2'],
  ['ext2 with 1 KiB blocks', '-t ext2 -b 1024'],
  ['ext2 of revision 0', '-t ext2 -r 0'],
  ['ext2 with a superblock in every group', '-t ext2 -b 1024 -O ^sparse_super,^resize_inode'],
  ['ext3', '-t ext3 -b 2048'],
  ['ext4', '-t ext4', 300 * MiB],
  ['ext4 with small groups', '-t ext4 -b 4096 -g 2048'],
  ['ext4 with 1 KiB blocks', '-t ext4 -b 1024'],
  ['ext4 without 64bit', '-t ext4 -O ^64bit'],
  ['ext4 with uninit_bg', '-t ext4 -b 1024 -O ^metadata_csum,uninit_bg'],
  ['ext4 with uninit_bg and 32-byte descriptors', '-t ext4 -b 1024 -O ^metadata_csum,uninit_bg,^64bit'],
  ['ext4 with bigalloc', '-t ext4 -O bigalloc -C 16384'],
  ['ext4 with clusters of 1 MiB', '-t ext4 -O bigalloc -C 1048576', 400 * MiB],
  ['ext4 with bigalloc and 1 KiB blocks', '-t ext4 -b 1024 -O bigalloc -C 8192'],
  ['ext4 with meta_bg', '-t ext4 -b 1024 -O meta_bg,^resize_inode'],
  ['ext4 with meta_bg and 4 KiB blocks', '-t ext4 -b 4096 -g 1024 -O meta_bg,^resize_inode,^flex_bg'],
  ['ext4 with sparse_super2', '-t ext4 -b 1024 -O sparse_super2,^resize_inode'],
  ['ext4 without flex_bg', '-t ext4 -b 1024 -O ^flex_bg'],
  ['ext4 without journal', '-t ext4 -O ^has_journal'],
  ['ext4 with MMP and a checksum seed', '-t ext4 -b 1024 -O mmp,metadata_csum_seed'],
  ['ext4 with an orphan file', '-t ext4 -O orphan_file'],
  ['ext4 with fast commits', '-t ext4 -O fast_commit'],
  ['ext4 with inline data', '-t ext4 -O inline_data,large_dir,ea_inode,encrypt,verity -I 256'],
];

for (const [name, options, size = 64 * MiB] of shapes) {
  test(`${name}: used is what dumpe2fs says, and a copy of it is whole`, () =>
    inTempDir(async (directory) => {
      const image = join(directory, 'image');
      const copy = join(directory, 'copy');
      await makeImage(image, size, ['mke2fs', '-q', '-F', ...options.split(' ')]);
      const files = await mounted(image, '', async (root) => {
        await fill(root, { files: 150, largest: 2 * MiB });
        return treeOf(root);
      });
      assert.ok(files.length > 100);

      const used = await mustUse(image);
      assert.equal(ranges(used), ranges(await usedByDumpe2fs(image, size)));

      await copyOnly(image, copy, size, used);
      await execa('e2fsck', ['-fn', copy]);
      assert.equal(await mounted(copy, 'ro', treeOf), files);
    }));
}

/** What a kernel may refuse to mount; filled by mke2fs itself. */
const unmountable: readonly (readonly [name: string, mkfs: string])[] = [
  ['64 KiB blocks', '-t ext4 -b 65536'],
  ['casefold, quota, project and verity', '-t ext4 -O casefold,quota,project,verity,stable_inodes,encrypt'],
];

for (const [name, options] of unmountable) {
  test(`ext4 with ${name}: used is what dumpe2fs says, and a copy of it is whole`, () =>
    inTempDir(async (directory) => {
      const image = join(directory, 'image');
      const copy = join(directory, 'copy');
      const content = join(directory, 'content');
      await mkdir(content);
      await fill(content, { files: 60, largest: MiB });
      await makeImage(image, 128 * MiB, ['mke2fs', '-q', '-F', ...options.split(' '), '-d', content]);
      // mke2fs does not count what it fills in; e2fsck then corrects the quota and exits with 1.
      const repaired = await execa('e2fsck', ['-fy', image], { reject: false });
      assert.ok((repaired.exitCode ?? 99) <= 1);
      const used = await mustUse(image);
      assert.equal(ranges(used), ranges(await usedByDumpe2fs(image, 128 * MiB)));
      await copyOnly(image, copy, 128 * MiB, used);
      await execa('e2fsck', ['-fn', copy]);
    }));
}

test('a file system that grew is read as well, and what it does not reach is used', () =>
  inTempDir(async (directory) => {
    const image = join(directory, 'image');
    const size = 400 * MiB;
    const fileSystem = 350 * MiB;
    await makeImage(image, 40 * MiB, ['mke2fs', '-q', '-F', '-t', 'ext4', '-b', '1024']);
    await mounted(image, '', (root) => fill(root, { files: 60, largest: MiB }));
    await truncate(image, size);
    await execa('e2fsck', ['-fp', image]);
    await execa('resize2fs', [image, '350M']);
    await truncate(image, size);
    await mounted(image, '', (root) => fill(join(root, 'dir2'), { files: 60, largest: 4 * MiB }));
    const tail = IntervalSet.of({ offset: fileSystem, length: size - fileSystem });
    const expected = (await usedByDumpe2fs(image, fileSystem)).union(tail);
    assert.equal(ranges(await mustUse(image)), ranges(expected));
  }));

test('bytes behind the end of the file system are used', () =>
  inTempDir(async (directory) => {
    const image = join(directory, 'image');
    await makeImage(image, 64 * MiB, ['mke2fs', '-q', '-F', '-t', 'ext4']);
    await truncate(image, 64 * MiB + 12345);
    const used = await mustUse(image);
    assert.ok(used.covers({ offset: 64 * MiB, length: 12345 }));
  }));

test('a sparse file system of 1 TiB is read', () =>
  inTempDir(async (directory) => {
    const image = join(directory, 'image');
    const size = 1024 * 1024 * MiB;
    await makeImage(image, size, ['mke2fs', '-q', '-F', '-t', 'ext4']);
    const used = await mustUse(image);
    const { stdout } = await execa('dumpe2fs', ['-h', image]);
    const free = Number(/^Free blocks: +(\d+)/m.exec(stdout)?.[1]);
    assert.is(used.bytes, size - free * 4096);
  }));

test.run();
