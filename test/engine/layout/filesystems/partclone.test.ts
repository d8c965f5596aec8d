/** Against partclone: never a used block missed, no more bytes copied. The file systems are filled and some files deleted. */
import { join } from 'node:path';
import { execa } from 'execa';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { fillBtrfs } from './btrfs-tools.ts';
import { fill, inTempDir, MiB, makeImage, mounted, mustUse, ranges } from './fixtures.ts';
import { usedByPartclone } from './partclone.ts';

const shapes: readonly (readonly [type: string, size: number, mkfs: string])[] = [
  ['extfs', 64 * MiB, 'mke2fs -q -F -t ext2 -b 1024'],
  ['extfs', 64 * MiB, 'mke2fs -q -F -t ext4'],
  ['extfs', 64 * MiB, 'mke2fs -q -F -t ext4 -b 1024 -O meta_bg,^resize_inode,sparse_super2,inline_data,orphan_file'],
  ['xfs', 320 * MiB, 'mkfs.xfs -q -f'],
  ['xfs', 320 * MiB, 'mkfs.xfs -q -f -b size=1024 -d agcount=3 -m rmapbt=1,reflink=1'],
];
for (const [type, size, mkfs] of shapes) {
  test(`${mkfs}: the same bytes as partclone.${type}`, () =>
    inTempDir(async (directory) => {
      const image = join(directory, 'image');
      await makeImage(image, size, mkfs.split(' '));
      await mounted(image, '', (root) => fill(root, { files: 200, largest: 2 * MiB }));
      assert.equal(ranges(await mustUse(image)), ranges(await usedByPartclone(type, image)));
    }));
}

// partclone.fat calls free clusters of FAT12 used; what fsck.fat and mtools say of it is in the tests of the reader.
for (const bits of [16, 32]) {
  test(`FAT${bits}: the same bytes as partclone.fat, but for what lies behind the last cluster`, () =>
    inTempDir(async (directory) => {
      const image = join(directory, 'image');
      const content = join(directory, 'content');
      await makeImage(image, 64 * MiB, ['mkfs.vfat', '-F', `${bits}`, '-s', bits === 32 ? '1' : '4']);
      await execa('mkdir', [content]);
      await fill(content, { files: 30, largest: 100_000 });
      await execa('rm', [join(content, 'link')]);
      const env = { MTOOLS_SKIP_CHECK: '1' };
      await execa('mcopy', ['-s', '-i', image, ...[1, 2, 3, 4].map((n) => join(content, `dir${n}`)), '::'], { env });
      await execa('mdeltree', ['-i', image, '::/dir2'], { env });
      const ours = await mustUse(image);
      const theirs = await usedByPartclone('fat', image);
      assert.equal(theirs.subtract(ours).bytes, 0, ranges(theirs.subtract(ours)).join());
      assert.ok(ours.subtract(theirs).bytes < 64 * 1024, ranges(ours.subtract(theirs)).join());
    }));
}

// partclone takes logical addresses for places and the first of two copies for all, so that neither set holds the other.
for (const mkfs of ['-m single -d single', '-m dup -d single']) {
  test(`mkfs.btrfs ${mkfs}: no more bytes than partclone.btrfs`, () =>
    inTempDir(async (directory) => {
      const image = join(directory, 'image');
      await makeImage(image, 200 * MiB, ['mkfs.btrfs', '-q', '-f', ...mkfs.split(' ')]);
      await mounted(image, '', fillBtrfs);
      const ours = await mustUse(image);
      const theirs = await usedByPartclone('btrfs', image);
      assert.ok(ours.bytes <= theirs.bytes, `${ours.bytes} bytes, partclone ${theirs.bytes}`);
    }));
}

test.run();
