/** The btrfs reader against btrfs-progs, the kernel: what it calls used is what they call used, and a copy of that is whole. */
import { type FileHandle, open, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { identifyFileSystem } from '../../../../src/engine/layout/filesystems.ts';
import { IntervalSet } from '../../../../src/engine/protect/intervals.ts';
import { fillBtrfs, usedByDumpTree } from './btrfs-tools.ts';
import { copyOnly, fill, inTempDir, MiB, makeImage, mounted, mustUse, ranges, usedOf } from './fixtures.ts';
import { openFile } from './open.ts';
import { sealBtrfs } from './seal.ts';
import { treeOf } from './tree-of.ts';

const usual = 200 * MiB;

/** Everything that changes where metadata stand, how they are checked or how the extent tree looks. */
const shapes: readonly (readonly [name: string, mkfs: string, size?: number, options?: string])[] = [
  ['as mkfs makes it', ''],
  ['with one copy of everything', '-m single -d single'],
  ['with two copies of everything', '-m dup -d dup', 260 * MiB],
  ['with data and metadata in the same block groups', '--mixed'],
  ['with RAID 0 over one device', '-d raid0 -m single'],
  ['with 4 KiB nodes', '-n 4096'],
  ['with 64 KiB nodes', '-n 65536'],
  ['with full metadata extents and explicit holes', '-O ^skinny-metadata,^no-holes'],
  ['with a free space cache', '-R ^free-space-tree', 200 * MiB, 'space_cache=v1'],
  ['with quotas', '-R quota'],
  ['with xxHash', '--csum xxhash'],
  ['with SHA-256', '--csum sha256'],
];

for (const [name, mkfs, size = usual, options = ''] of shapes) {
  test(`btrfs ${name}: used is what dump-tree says, and a copy of it is whole`, () =>
    inTempDir(async (directory) => {
      const image = join(directory, 'image');
      const copy = join(directory, 'copy');
      await makeImage(image, size, ['mkfs.btrfs', '-q', '-f', ...mkfs.split(' ').filter((word) => word !== '')]);
      assert.equal(ranges(await mustUse(image)), ranges(await usedByDumpTree(image)));

      const files = await mounted(image, options, async (root) => {
        await fillBtrfs(root);
        return treeOf(root);
      });
      const used = await mustUse(image);
      assert.equal(ranges(used), ranges(await usedByDumpTree(image)));
      assert.ok(used.bytes < size / 2);
      await copyOnly(image, copy, size, used);
      await execa('btrfs', ['check', '--readonly', '--check-data-csum', copy]);
      const found = await mounted(copy, 'ro', async (root) => {
        // Reads every copy of everything that has a checksum.
        const scrub = await execa('btrfs', ['scrub', 'start', '-B', '-r', root]);
        assert.match(scrub.stdout, /no errors found/);
        return treeOf(root);
      });
      assert.equal(found, files);
    }));
}

/** mkfs makes these from btrfs-progs 6.7 on. */
for (const mkfs of ['-O block-group-tree', '-O squota,^block-group-tree', '-O block-group-tree -m single -n 4096']) {
  test(`btrfs ${mkfs}: used is what dump-tree says, where mkfs can make it`, () =>
    inTempDir(async (directory) => {
      const image = join(directory, 'image');
      const copy = join(directory, 'copy');
      const features = (await execa('mkfs.btrfs', ['-O', 'list-all'])).stderr;
      if (!features.includes('block-group-tree') || !features.includes('squota')) return;
      await makeImage(image, usual, ['mkfs.btrfs', '-q', '-f', ...mkfs.split(' ')]);
      await mounted(image, '', fillBtrfs);
      const used = await mustUse(image);
      assert.equal(ranges(used), ranges(await usedByDumpTree(image)));
      await copyOnly(image, copy, usual, used);
      await execa('btrfs', ['check', '--readonly', '--check-data-csum', copy]);
    }));
}

/** btrfs with files in it, in `image`. */
async function makeFilled(image: string, size = usual): Promise<void> {
  await makeImage(image, size, ['mkfs.btrfs', '-q', '-f']);
  await mounted(image, '', fillBtrfs);
}

test('chunks that were moved, a smaller device, another UUID: read through the chunk tree', () =>
  inTempDir(async (directory) => {
    const image = join(directory, 'image');
    const copy = join(directory, 'copy');
    const size = 500 * MiB;
    await makeFilled(image, size);
    const files = await mounted(image, '', async (root) => {
      await execa('btrfs', ['balance', 'start', '--full-balance', root]);
      await execa('btrfs', ['filesystem', 'resize', '-8m', root]);
      return treeOf(root);
    });
    await execa('btrfstune', ['-f', '-m', image]);
    const used = await mustUse(image);
    const tail = IntervalSet.of({ offset: size - 8 * MiB, length: 8 * MiB });
    assert.equal(ranges(used), ranges((await usedByDumpTree(image)).union(tail)));
    await copyOnly(image, copy, size, used);
    await execa('btrfs', ['check', '--readonly', '--check-data-csum', copy]);
    assert.equal(await mounted(copy, 'ro', treeOf), files);
  }));

test('what a boot loader keeps in the reserved space is used', () =>
  inTempDir(async (directory) => {
    const image = join(directory, 'image');
    await makeFilled(image);
    const before = await mustUse(image);
    await change(image, async (file) => {
      await file.write(Buffer.from([1]), 0, 1, 500_000);
    });
    const more = (await mustUse(image)).subtract(before);
    assert.equal(ranges(more), ['499712+4096']);
  }));

test('a copy taken while mounted, with files synced, is not known', () =>
  inTempDir(async (directory) => {
    const image = join(directory, 'image');
    const copy = join(directory, 'copy');
    await makeFilled(image);
    await mounted(image, '', async (root) => {
      const file = await open(join(root, 'synced'), 'w');
      await file.writeFile('kept');
      await file.sync();
      await file.close();
      await execa('cp', ['--sparse=always', image, copy]);
    });
    await refuses(copy, /not clean: its log/, 'unclean');
    await mounted(copy, '', async (root) => assert.is(await readFile(join(root, 'synced'), 'utf8'), 'kept'));
    await mustUse(copy);
  }));

test('several devices, a seed, BLAKE2: not known', () =>
  inTempDir(async (directory) => {
    const image = join(directory, 'image');
    const other = join(directory, 'other');
    await writeFile(other, '');
    await truncate(other, usual);
    await makeImage(image, usual, ['mkfs.btrfs', '-q', '-f', other]);
    await refuses(image, /it lies on 2 devices/);
    await refuses(other, /it lies on 2 devices/);
    await makeImage(image, usual, ['mkfs.btrfs', '-q', '-f']);
    await execa('btrfstune', ['-S', '1', image]);
    await refuses(image, /it is a seed/);
    await makeImage(image, usual, ['mkfs.btrfs', '-q', '-f', '--csum', 'blake2']);
    await refuses(image, /BLAKE2/);
  }));

/** Superblock fields that make the file system one we may not read. */
const refused: readonly (readonly [name: string, at: number, value: number, reason: RegExp])[] = [
  ['an unknown incompat flag', 0xbc, 1 << 30, /not known: incompat 0x40000000/],
  ['an unknown incompat flag in the high word', 0xc0, 1, /not known: incompat 0x100000000/],
  ['an unknown compat_ro flag', 0xb4, 1 << 30, /not known: compat_ro 0x40000000/],
  ['zones', 0xbc, 0x1000, /zoned/],
  ['extent tree version 2', 0xbc, 0x2000, /extent tree is of version 2/],
  ['a RAID stripe tree', 0xbc, 0x4000, /RAID stripe tree/],
  ['an unfinished change of its UUID', 0x3c, 8, /not known: flag 0x800000000/],
  ['a noted error', 0x38, 4, /noted errors/],
  ['other bytes in use', 0x78, 1 << 20, /bytes are in use, the extents have/],
  ['an unknown checksum type', 0xc4, 9, /checksum type \d+ is not known/],
];
test('superblocks with flags and numbers that are not known, or lie', () =>
  inTempDir(async (directory) => {
    const image = join(directory, 'image');
    await makeFilled(image);
    for (const [name, at, value, reason] of refused) {
      await change(image, async (file) => {
        const original = Buffer.alloc(4096);
        await file.read(original, 0, 4096, 65536);
        const raw = Buffer.from(original);
        raw.writeUInt32LE((raw.readUInt32LE(at) ^ value) >>> 0, at);
        sealBtrfs(raw);
        await file.write(raw, 0, 4096, 65536);
        const result = await usedOf(image);
        assert.match(result.known ? 'known' : result.reason, reason, name);
        await file.write(original, 0, 4096, 65536);
      });
    }
    await mustUse(image);
  }));

/** Where the root of the extent tree stands, single metadata: logical and physical addresses agree. */
async function extentRoot(image: string): Promise<number> {
  const { stdout } = await execa('btrfs', ['inspect-internal', 'dump-tree', '-t', 'extent', image]);
  return Number(/^(?:leaf|node) (\d+) /m.exec(stdout)?.[1]);
}

test('an extent tree that goes round in circles, hides or makes up extents is noticed behind right checksums', () =>
  inTempDir(async (directory) => {
    const image = join(directory, 'image');
    await makeImage(image, usual, ['mkfs.btrfs', '-q', '-f', '-m', 'single', '-n', '4096']);
    await mounted(image, '', (root) => fill(root, { files: 300, largest: MiB }));
    const root = await extentRoot(image);
    await change(image, async (file) => {
      const at = async (offset: number): Promise<Buffer> => {
        const block = Buffer.alloc(4096);
        await file.read(block, 0, 4096, offset);
        return block;
      };
      const node = await at(root);
      assert.ok((node[100] as number) > 0);
      const child = node.readUInt32LE(101 + 33 + 17);
      const leaf = await at(child);
      assert.is(leaf[100], 0);
      const cases: readonly (readonly [name: string, change: (node: Buffer, leaf: Buffer) => void, reason: RegExp])[] = [
        ['the root as its own child', (n) => n.writeUInt32LE(root, 101 + 33 + 17), /has level 1 instead of 0/],
        ['a child twice', (n) => n.copy(n, 101 + 33 + 17, 101 + 17, 101 + 33), /begins elsewhere/],
        ['a child and its key twice', (n) => n.copy(n, 101 + 33, 101, 101 + 33), /do not ascend/],
        ['a child left out', (n) => n.writeUInt32LE(n.readUInt32LE(96) - 1, 96), /bytes are in use|is missing/],
        ['another generation', (n) => n.writeUInt32LE(1, 101 + 33 + 25), /another generation/],
        ['a child outside all chunks', (n) => n.writeUInt32LE(0xffff, 101 + 33 + 22), /lies in no chunk/],
        ['more entries than fit', (_, l) => l.writeUInt32LE(1000, 96), /has 1000 entries/],
        ['an item outside its leaf', (_, l) => l.writeUInt32LE(5000, 101 + 17), /reaches over the end/],
        ['a leaf of another tree', (_, l) => l.writeUInt32LE(5, 88), /belongs to another tree/],
        ['an extent that is not aligned', (_, l) => shorten(l, 1), /not aligned/],
        ['an extent of another length', (_, l) => shorten(l, 4096), /bytes are in use/],
        [
          'an item of an unknown type',
          (_, l) => l.writeUInt8(254, 101 + 25 * (l.readUInt32LE(96) - 1) + 8),
          /an item of type 254/,
        ],
      ];
      for (const [name, damage, reason] of cases) {
        const badNode = Buffer.from(node);
        const badLeaf = Buffer.from(leaf);
        damage(badNode, badLeaf);
        for (const [block, place] of [
          [badNode, root],
          [badLeaf, child],
        ] as const) {
          sealBtrfs(block);
          await file.write(block, 0, 4096, place);
        }
        const result = await usedOf(image);
        assert.match(result.known ? 'known' : result.reason, reason, name);
      }
      node[2000] = (node[2000] as number) ^ 1;
      await file.write(node, 0, 4096, root);
    });
    await refuses(image, /checksum of the block/);
  }));

/** Takes `bytes` from the length of the last data extent of a leaf that is longer. */
function shorten(leaf: Buffer, bytes: number): void {
  for (let i = leaf.readUInt32LE(96) - 1; i >= 0; i--) {
    const key = 101 + 25 * i;
    if (leaf[key + 8] !== 168 || leaf.readUInt32LE(key + 9) <= bytes) continue;
    leaf.writeUInt32LE(leaf.readUInt32LE(key + 9) - bytes, key + 9);
    return;
  }
  throw new Error('the leaf has no such data extent');
}

async function change(image: string, body: (file: FileHandle) => Promise<void>): Promise<void> {
  const file = await open(image, 'r+');
  try {
    await body(file);
  } finally {
    await file.close();
  }
}

async function refuses(image: string, reason: RegExp, state?: string): Promise<void> {
  const result = await usedOf(image);
  assert.match(result.known ? 'known' : result.reason, reason);
  if (state === undefined) return;
  const source = await openFile(image);
  assert.is((await identifyFileSystem(source))?.state, state);
  await source.close();
}

test.run();
