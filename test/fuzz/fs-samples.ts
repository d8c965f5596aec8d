/** Real file systems of a few MiB with files in them, made by their own tools; what a case changes in them. */
import { cp, mkdir, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { fill, MiB, makeImage, mounted } from '../engine/layout/filesystems/fixtures.ts';
import { exfatFuse, fuseMounted, ntfs3g, onLoop } from '../engine/layout/filesystems/fuse.ts';
import { makeVolume, withLvm } from '../engine/layout/filesystems/lvm-tools.ts';
import type { Seal } from './seals.ts';
import { recountExt, sealBtrfs, sealExfat, sealExt, sealF2fs, sealFat, sealLvm, sealNtfs, sealXfs } from './seals.ts';

export interface FsSample {
  readonly name: string;
  /** Makes `image`; `folder` is there for more. */
  make(image: string, folder: string): Promise<void>;
  /**
   * What no change may lose, unless it was sealed: `any` change where all metadata is checksummed, one flipped `bit` where
   * counts and copies give it away. `nothing`: the format has neither.
   */
  readonly protects: 'any' | 'bit' | 'nothing';
  /** Makes checksums and copies right again; several ways, one of them is taken. */
  readonly seals?: readonly Seal[];
  /** What the reader reads may be called unused: contents that it only looked at. */
  readonly looksAtContents?: true;
}

const uuid = '5eed0000-0000-4000-8000-000000000001';

async function filled(image: string, files = 40): Promise<void> {
  await mounted(image, '', (root) => fill(root, { files, largest: 300_000 }));
}

function ext(name: string, size: number, options: string, more: Pick<FsSample, 'protects' | 'seals'>): FsSample {
  return {
    name,
    ...more,
    async make(image) {
      await makeImage(image, size, ['mke2fs', '-q', '-F', '-U', uuid, '-E', `hash_seed=${uuid}`, ...options.split(' ')]);
      await filled(image);
    },
  };
}

export const extSamples: readonly FsSample[] = [
  ext('ext2', 16 * MiB, '-t ext2 -b 1024', { protects: 'bit' }),
  ext('ext4', 32 * MiB, '-t ext4 -b 1024', { protects: 'any', seals: [sealExt, recountExt] }),
  ext('ext4 4k', 64 * MiB, '-t ext4 -b 4096 -g 8192 -O orphan_file,sparse_super2', {
    protects: 'any',
    seals: [sealExt, recountExt],
  }),
  ext('ext4 bigalloc', 32 * MiB, '-t ext4 -b 1024 -O bigalloc,^metadata_csum -C 4096', { protects: 'bit', seals: [recountExt] }),
  ext('ext4 meta_bg', 64 * MiB, '-t ext4 -b 1024 -O meta_bg,^resize_inode,mmp', {
    protects: 'any',
    seals: [sealExt, recountExt],
  }),
  ext('ext3 unchecked', 32 * MiB, '-t ext3 -b 1024 -g 2048', { protects: 'bit', seals: [recountExt] }),
];

export const xfsSamples: readonly FsSample[] = [
  {
    // Kernels of today do not mount it any more: mkfs itself writes the files.
    name: 'xfs 4',
    protects: 'bit',
    async make(image, folder) {
      const [content, list] = [join(folder, 'content'), join(folder, 'list')];
      await writeFile(content, Buffer.alloc(70_000, 'content '));
      const files = Array.from({ length: 40 }, (_, i) => `f${i} ---644 0 0 ${content}`);
      await writeFile(list, ['/none', '0 0', 'd--755 0 0', ...files, '$', ''].join('\n'));
      await makeImage(image, 320 * MiB, ['mkfs.xfs', '-q', '-f', '-m', `crc=0,uuid=${uuid}`, '-b', 'size=4096', '-p', list]);
    },
  },
  {
    name: 'xfs 5',
    protects: 'any',
    seals: [sealXfs],
    async make(image) {
      await makeImage(image, 320 * MiB, ['mkfs.xfs', '-q', '-f', '-b', 'size=4096', '-d', 'agcount=4', '-m', `uuid=${uuid}`]);
      await filled(image);
    },
  },
  // Full of small free extents: the B+trees have two levels.
  {
    name: 'xfs 5 tree',
    protects: 'any',
    seals: [sealXfs],
    async make(image) {
      await makeImage(image, 320 * MiB, [
        'mkfs.xfs',
        '-q',
        '-f',
        '-b',
        'size=1024',
        '-d',
        'agcount=2',
        '-m',
        `rmapbt=1,reflink=1,uuid=${uuid}`,
      ]);
      await mounted(image, '', async (root) => {
        await Promise.all(Array.from({ length: 900 }, (_, i) => writeFile(join(root, `f${i}`), 'x')));
        await Promise.all(Array.from({ length: 450 }, (_, i) => rm(join(root, `f${2 * i}`))));
      });
    },
  },
];

function btrfs(name: string, size: number, options: string): FsSample {
  return {
    name,
    protects: 'any',
    seals: [sealBtrfs],
    async make(image) {
      await makeImage(image, size, ['mkfs.btrfs', '-q', '-f', '-U', uuid, ...options.split(' ')]);
      await filled(image, 60);
    },
  };
}

export const btrfsSamples: readonly FsSample[] = [
  btrfs('btrfs', 48 * MiB, '--mixed -m single -d single -n 4096'),
  btrfs('btrfs dup', 160 * MiB, '-n 4096 -m dup -d single'),
];

function fat(name: string, size: number, options: string): FsSample {
  return {
    name,
    protects: 'bit',
    seals: [sealFat],
    async make(image, folder) {
      await makeImage(image, size, ['mkfs.vfat', '--invariant', '-i', '5eed0001', '-n', 'NAME', ...options.split(' ')]);
      const content = join(folder, 'content');
      await mkdir(content, { recursive: true });
      await fill(content, { files: 40, largest: 100_000 });
      await rm(join(content, 'link'));
      await execa('mcopy', ['-s', '-i', image, ...Array.from({ length: 7 }, (_, i) => join(content, `dir${i}`)), '::']);
      await rm(content, { recursive: true });
    },
  };
}

export const fatSamples: readonly FsSample[] = [
  fat('fat12', 2 * MiB, '-F 12 -R 1'),
  fat('fat16', 16 * MiB, '-F 16 -R 1'),
  fat('fat32', 40 * MiB, '-F 32 -s 1 -R 32'),
];

export const exfatSamples: readonly FsSample[] = ['', '-c 512'].map((options) => ({
  name: `exfat${options}`,
  protects: 'nothing',
  seals: [sealExfat],
  async make(image) {
    const words = options.split(' ').filter((word) => word !== '');
    await makeImage(image, 16 * MiB, ['mkfs.exfat', '-L', 'name', ...words]);
    await onLoop(image, (device) =>
      fuseMounted(exfatFuse, device, '', async (root) => {
        await Promise.all(Array.from({ length: 40 }, (_, i) => writeFile(join(root, `f${i}`), Buffer.alloc(i * 500, 'x'))));
        await Promise.all(Array.from({ length: 13 }, (_, i) => rm(join(root, `f${3 * i}`))));
      }),
    );
  },
}));

export const ntfsSamples: readonly FsSample[] = [4096, 512].map((cluster) => ({
  name: `ntfs ${cluster}`,
  protects: 'nothing',
  seals: [sealNtfs],
  async make(image) {
    await makeImage(image, 16 * MiB, ['mkntfs', '-Q', '-q', '-F', '-L', 'name', '-c', String(cluster)]);
    await fuseMounted(ntfs3g, image, '', async (root) => {
      await fill(root, { files: 80, largest: 100_000 });
      // So many that the index of the root directory leaves its record.
      await Promise.all(Array.from({ length: 150 }, (_, i) => writeFile(join(root, `a rather long name of a file ${i}`), 'x')));
      // Without it the whole index is searched.
      if (cluster === 512) await writeFile(join(root, 'hiberfil.sys'), 'wake');
    });
  },
}));

export const f2fsSamples: readonly FsSample[] = ['', '-O extra_attr,sb_checksum,inode_checksum'].map((options) => ({
  name: options === '' ? 'f2fs' : 'f2fs checked',
  protects: 'bit',
  seals: [sealF2fs],
  async make(image, folder) {
    const words = options.split(' ').filter((word) => word !== '');
    await makeImage(image, 64 * MiB, ['mkfs.f2fs', '-q', '-f', '-l', 'name', ...words]);
    const content = join(folder, 'content');
    await mkdir(content, { recursive: true });
    await fill(content, { files: 36, largest: 300_000 });
    await execa('sload.f2fs', ['-f', content, image]);
    await rm(content, { recursive: true });
  },
}));

export const swapSamples: readonly FsSample[] = [
  {
    name: 'swap',
    protects: 'bit',
    looksAtContents: true,
    async make(image) {
      await makeImage(image, MiB, ['mkswap', '-q', '-U', uuid]);
    },
  },
];

export const lvmSamples: readonly FsSample[] = [
  {
    name: 'lvm',
    protects: 'any',
    seals: [sealLvm],
    looksAtContents: true,
    async make(image, folder) {
      await withLvm(folder, 1, 64 * MiB, async (lvm) => {
        await lvm.run('pvcreate', '-q', '-y', '--metadatacopies', '2', ...lvm.devices);
        await lvm.run('vgcreate', '-q', 'vg', ...lvm.devices);
        await makeVolume(lvm, 'one', 12, 'vg');
        await makeVolume(lvm, 'gone', 8, 'vg');
        await makeVolume(lvm, 'two', 8, 'vg');
        await lvm.run('lvremove', '-q', '-y', 'vg/gone');
        await lvm.run('lvextend', '-q', '-L', '16m', 'vg/one');
      });
      await cp(join(folder, 'pv0'), image);
      // A file system in the first volume, which begins where the extents do.
      const inner = join(folder, 'inner');
      await makeImage(inner, 12 * MiB, ['mke2fs', '-q', '-F', '-t', 'ext4', '-b', '1024']);
      await filled(inner, 20);
      await execa('dd', [`if=${inner}`, `of=${image}`, 'bs=1M', 'seek=1', 'conv=notrunc']);
      await rm(inner);
    },
  },
];

const luks = ['cryptsetup', '-q', 'luksFormat', '--pbkdf-force-iterations', '1000', '--pbkdf', 'pbkdf2', '--key-file'];

/** What has no map: only recognised. */
export const opaqueSamples: readonly FsSample[] = (['luks1', 'luks2', 'squashfs', 'iso9660', 'bcache', 'zeros'] as const).map(
  (name) => ({
    name,
    protects: 'nothing',
    async make(image, folder) {
      const content = join(folder, 'some');
      await mkdir(content, { recursive: true });
      await writeFile(join(content, 'file'), 'secret');
      if (name === 'squashfs') await execa('mksquashfs', [content, image, '-quiet', '-noappend']);
      else if (name === 'iso9660') await execa('xorrisofs', ['-quiet', '-V', 'NAME', '-o', image, content]);
      else {
        await writeFile(image, '');
        await truncate(image, 24 * MiB);
        if (name === 'bcache') await execa('make-bcache', ['-B', image]);
        else if (name !== 'zeros') {
          const [tool, ...args] = luks as [string, ...string[]];
          await execa(tool, [...args, join(content, 'file'), '--type', name, image]);
        }
      }
    },
  }),
);
