/** File systems in logical volumes: of plain ones only what they use is copied, of all others every extent. */
import { type FileHandle, open, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { identifyFileSystem } from '../../../../src/engine/layout/filesystems.ts';
import { IntervalSet } from '../../../../src/engine/protect/intervals.ts';
import { copyOnly, digests, fill, inTempDir, MiB, makeImage, mounted, mustUse, ranges } from './fixtures.ts';
import { type Lvm, makeVolume, restoreVolumes, striped, volume, withLvm } from './lvm-tools.ts';
import { openFile } from './open.ts';

const size = 400 * MiB;
const extent = 4 * MiB;

function onPv(body: (lvm: Lvm, image: string) => Promise<void>): Promise<void> {
  return inTempDir((directory) =>
    withLvm(directory, 1, size, async (lvm) => {
      await lvm.run('pvcreate', '-q', '-y', ...lvm.devices);
      await lvm.run('vgcreate', '-q', 'vg', ...lvm.devices);
      await body(lvm, lvm.images[0] as string);
    }),
  );
}

/** Extents of the physical volume in the order of the logical one, as lvm2 tells them. */
async function extentsOf(lvm: Lvm, name: string): Promise<number[]> {
  const text = await lvm.run('lvs', '--noheadings', '-o', 'seg_pe_ranges', `vg/${name}`);
  return [...text.matchAll(/:(\d+)-(\d+)/g)].flatMap(([, first, last]) =>
    Array.from({ length: Number(last) - Number(first) + 1 }, (_, i) => Number(first) + i),
  );
}

/** Copies between a logical volume, extent by extent, and a file. */
async function move(pv: string, extents: readonly number[], file: string, direction: 'in' | 'out'): Promise<void> {
  const [outer, inner] = [await open(pv, 'r+'), await open(file, direction === 'in' ? 'r' : 'w')];
  try {
    const buffer = Buffer.alloc(extent);
    for (const [i, number] of extents.entries()) {
      const places: [FileHandle, number][] = [
        [outer, MiB + number * extent],
        [inner, i * extent],
      ];
      const [from, to] = direction === 'in' ? places.reverse() : places;
      await (from as [FileHandle, number])[0].read(buffer, 0, extent, (from as [FileHandle, number])[1]);
      await (to as [FileHandle, number])[0].write(buffer, 0, extent, (to as [FileHandle, number])[1]);
    }
  } finally {
    await outer.close();
    await inner.close();
  }
}

/** An ext4 file system of `length` bytes with files in it. */
async function filledExt4(directory: string, name: string, length: number): Promise<string> {
  const file = join(directory, name);
  await makeImage(file, length, ['mke2fs', '-q', '-F', '-t', 'ext4']);
  await mounted(file, '', (root) => fill(root, { files: 40, largest: MiB }));
  return file;
}

/** What the file system in `file` uses, where its extents stand on the physical volume. */
async function placedBy(file: string, extents: readonly number[]): Promise<IntervalSet> {
  const inside = await mustUse(file);
  let all = IntervalSet.empty;
  for (const [i, number] of extents.entries()) {
    const piece = inside.intersect(IntervalSet.of({ offset: i * extent, length: extent }));
    all = all.union(piece.shift(MiB + number * extent - i * extent));
  }
  return all;
}

const outsideExtents = IntervalSet.of(
  { offset: 0, length: MiB },
  { offset: MiB + 99 * extent, length: size - MiB - 99 * extent },
);

test('of a linear volume in several pieces only what ext4 uses is copied, and the copy is whole', () =>
  onPv(async (lvm, image) => {
    await makeVolume(lvm, 'root', 40, 'vg');
    await makeVolume(lvm, 'raw', 12, 'vg');
    await lvm.run('lvextend', '-q', '-L', '100m', 'vg/root');
    await makeVolume(lvm, 'swap', 16, 'vg');
    const root = await filledExt4(lvm.directory, 'root', 100 * MiB);
    const swap = join(lvm.directory, 'swap');
    await makeImage(swap, 16 * MiB, ['mkswap', '-q']);
    const places = { root: await extentsOf(lvm, 'root'), raw: await extentsOf(lvm, 'raw'), swap: await extentsOf(lvm, 'swap') };
    assert.ok(places.root.some((number, i) => i > 0 && number !== (places.root[i - 1] as number) + 1));
    await move(image, places.root, root, 'in');
    await move(image, places.swap, swap, 'in');

    const used = await mustUse(image);
    const raw = places.raw.map((number) => ({ offset: MiB + number * extent, length: extent }));
    const expected = (await placedBy(root, places.root)).union(await placedBy(swap, places.swap)).union(IntervalSet.of(...raw));
    assert.equal(ranges(used), ranges(expected.union(outsideExtents)));
    assert.ok(used.bytes < 60 * MiB);

    const [copy, back] = [join(lvm.directory, 'copy'), join(lvm.directory, 'back')];
    await copyOnly(image, copy, size, used);
    await move(copy, places.root, back, 'out');
    await execa('e2fsck', ['-f', '-n', back]);
    assert.equal(await mounted(back, 'ro', digests), await mounted(root, 'ro', digests));
  }));

/** A file system in volume `data`, and what is made of the volume. `pv0` from extent 5 on holds it. */
const shapes: readonly (readonly [name: string, volumes: string])[] = [
  [
    'the origin of a snapshot',
    [
      volume('data', 'READ WRITE VISIBLE', striped(0, 10, ['pv0', 5])),
      volume('cow', 'READ WRITE VISIBLE', striped(0, 1, ['pv0', 20])),
      volume('snapshot0', 'READ WRITE', [
        'start_extent = 0',
        'extent_count = 10',
        'type = "snapshot"',
        'chunk_size = 8',
        'origin = "data"',
        'cow_store = "cow"',
      ]),
    ].join('\n'),
  ],
  [
    'a leg of a mirror',
    [
      volume('data', 'READ WRITE', striped(0, 10, ['pv0', 5])),
      volume('other', 'READ WRITE', striped(0, 10, ['pv0', 20])),
      volume('both', 'READ WRITE VISIBLE', [
        'start_extent = 0',
        'extent_count = 10',
        'type = "mirror"',
        'mirror_count = 2',
        'region_size = 1024',
        'mirrors = ["data", 0, "other", 0]',
      ]),
    ].join('\n'),
  ],
  ['locked', volume('data', 'READ WRITE VISIBLE LOCKED', striped(0, 10, ['pv0', 5]))],
];
for (const [name, volumes] of shapes) {
  test(`a volume that is ${name} is copied whole`, () =>
    onPv(async (lvm, image) => {
      await restoreVolumes(lvm, volumes);
      const file = await filledExt4(lvm.directory, 'data', 10 * extent);
      await move(
        image,
        Array.from({ length: 10 }, (_, i) => 5 + i),
        file,
        'in',
      );
      const used = await mustUse(image);
      assert.ok(used.covers({ offset: MiB + 5 * extent, length: 10 * extent }));
    }));
}

test('an unclean file system in a volume is copied whole', () =>
  onPv(async (lvm, image) => {
    await makeVolume(lvm, 'data', 40, 'vg');
    const file = await filledExt4(lvm.directory, 'data', 40 * MiB);
    await execa('debugfs', ['-w', '-R', 'feature needs_recovery', file]);
    await move(image, await extentsOf(lvm, 'data'), file, 'in');
    assert.is((await mustUse(image)).subtract(outsideExtents).bytes, 40 * MiB);
  }));

test('a system that sleeps in a swap volume is found', () =>
  onPv(async (lvm, image) => {
    await makeVolume(lvm, 'swap', 8, 'vg');
    const file = join(lvm.directory, 'swap');
    await makeImage(file, 8 * MiB, ['mkswap', '-q']);
    const swap = await open(file, 'r+');
    await swap.write(Buffer.from('S1SUSPEND\0'), 0, 10, 4086);
    await swap.close();
    await move(image, await extentsOf(lvm, 'swap'), file, 'in');
    const source = await openFile(image);
    assert.is((await identifyFileSystem(source))?.state, 'hibernated');
    await source.close();
    assert.is((await mustUse(image)).subtract(outsideExtents).bytes, 8 * MiB);
  }));

test('a physical volume inside a logical volume counts by its extents', () =>
  onPv(async (lvm, image) => {
    await makeVolume(lvm, 'guest', 80, 'vg');
    await inTempDir((directory) =>
      withLvm(directory, 1, 80 * MiB, async (inner) => {
        await inner.run('pvcreate', '-q', '-y', ...inner.devices);
        await inner.run('vgcreate', '-q', 'vg', ...inner.devices);
        await makeVolume(inner, 'root', 20, 'vg');
        await move(image, await extentsOf(lvm, 'guest'), inner.images[0] as string, 'in');
        assert.is((await stat(inner.images[0] as string)).size, 80 * MiB);
      }),
    );
    // Label, metadata and gap, five extents, and what is left behind the last extent.
    assert.is((await mustUse(image)).subtract(outsideExtents).bytes, MiB + 20 * MiB + 3 * MiB);
    assert.is((await readFile(image)).length, size);
  }));

test.run();
