/** The reader of LVM2 physical volumes against lvm2: what it calls unused is what lvm2 has given to nobody. */
import { open, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { IntervalSet } from '../../../../src/engine/protect/intervals.ts';
import { copyOnly, inTempDir, MiB, mustUse, ranges, usedOf } from './fixtures.ts';
import { type Lvm, makeVolume, restoreVolumes, striped, volume, withLvm } from './lvm-tools.ts';

const size = 160 * MiB;
const extent = 4 * MiB;

function onPvs(count: number, create: readonly string[], body: (lvm: Lvm) => Promise<void>): Promise<void> {
  return inTempDir((directory) =>
    withLvm(directory, count, size, async (lvm) => {
      await lvm.run('pvcreate', '-q', '-y', ...create, ...lvm.devices);
      await lvm.run('vgcreate', '-q', 'vg', ...lvm.devices);
      await body(lvm);
    }),
  );
}

/** Everything but the extents that `pvs` calls free. */
async function usedByPvs(lvm: Lvm, index: number): Promise<IntervalSet> {
  const device = lvm.devices[index] as string;
  const columns = 'pe_start,pvseg_start,pvseg_size,segtype';
  const lines = await lvm.run('pvs', '--segments', '--noheadings', '--units', 'b', '--nosuffix', '-o', columns, device);
  const free = lines
    .split('\n')
    .map((line) => line.trim().split(/ +/))
    .filter((row) => row[3] === 'free')
    .map(([start, first, count]) => ({ offset: Number(start) + Number(first) * extent, length: Number(count) * extent }));
  assert.ok(free.length > 0);
  return IntervalSet.of({ offset: 0, length: size }).subtract(IntervalSet.of(...free));
}

async function agreesWithPvs(lvm: Lvm): Promise<void> {
  for (const [index, image] of lvm.images.entries()) {
    assert.equal(ranges(await mustUse(image)), ranges(await usedByPvs(lvm, index)));
  }
}

test('linear and striped volumes, extents that were given back, and two metadata areas', () =>
  onPvs(2, ['--metadatacopies', '2'], async (lvm) => {
    await makeVolume(lvm, 'one', 12, 'vg', lvm.devices[0] as string);
    await makeVolume(lvm, 'gone', 20, 'vg');
    await makeVolume(lvm, 'two', 16, '-i', '2', 'vg');
    await makeVolume(lvm, 'late', 8, 'vg');
    await lvm.run('lvremove', '-q', '-y', 'vg/gone');
    await lvm.run('lvextend', '-q', '-L', '40m', 'vg/one');
    await agreesWithPvs(lvm);
    const map = await mustUse(lvm.images[0] as string);
    // The second metadata area.
    assert.ok(map.covers({ offset: size - MiB, length: MiB }));
  }));

/** All that lvm2 can make of a volume group that has parts on physical volumes. */
const everything = [
  volume('plain', 'READ WRITE VISIBLE', striped(0, 2, ['pv0', 0]), striped(2, 1, ['pv0', 9])),
  volume('wide', 'READ WRITE VISIBLE', striped(0, 4, ['pv0', 4], ['pv1', 0])),
  volume('safe', 'READ WRITE VISIBLE', [
    'start_extent = 0',
    'extent_count = 2',
    'type = "raid1"',
    'device_count = 2',
    'region_size = 4096',
    'raids = ["safe_rmeta_0", "safe_rimage_0", "safe_rmeta_1", "safe_rimage_1"]',
  ]),
  volume('safe_rmeta_0', 'READ WRITE', striped(0, 1, ['pv0', 11])),
  volume('safe_rimage_0', 'READ WRITE', striped(0, 2, ['pv0', 12])),
  volume('safe_rmeta_1', 'READ WRITE', striped(0, 1, ['pv1', 4])),
  volume('safe_rimage_1', 'READ WRITE', striped(0, 2, ['pv1', 5])),
  volume('twin', 'READ WRITE VISIBLE', [
    'start_extent = 0',
    'extent_count = 2',
    'type = "mirror"',
    'mirror_count = 2',
    'region_size = 1024',
    'mirrors = ["twin_mimage_0", 0, "twin_mimage_1", 0]',
  ]),
  volume('twin_mimage_0', 'READ WRITE', striped(0, 2, ['pv0', 15])),
  volume('twin_mimage_1', 'READ WRITE', striped(0, 2, ['pv1', 8])),
  volume('pool', 'READ WRITE VISIBLE', [
    'start_extent = 0',
    'extent_count = 3',
    'type = "thin-pool"',
    'metadata = "pool_tmeta"',
    'pool = "pool_tdata"',
    'transaction_id = 1',
    'chunk_size = 128',
    'discards = "passdown"',
    'zero_new_blocks = 1',
  ]),
  volume('pool_tmeta', 'READ WRITE', striped(0, 1, ['pv0', 18])),
  volume('pool_tdata', 'READ WRITE', striped(0, 3, ['pv0', 20])),
  volume('thin', 'READ WRITE VISIBLE', [
    'start_extent = 0',
    'extent_count = 50',
    'type = "thin"',
    'thin_pool = "pool"',
    'transaction_id = 0',
    'device_id = 1',
  ]),
  volume('base', 'READ WRITE VISIBLE', striped(0, 1, ['pv0', 24])),
  volume('cow', 'READ WRITE VISIBLE', striped(0, 1, ['pv0', 25])),
  volume('snapshot0', 'READ WRITE', [
    'start_extent = 0',
    'extent_count = 1',
    'type = "snapshot"',
    'chunk_size = 8',
    'origin = "base"',
    'cow_store = "cow"',
  ]),
  volume('moving', 'READ WRITE VISIBLE LOCKED', striped(0, 1, ['pvmove0', 0])),
  volume('pvmove0', 'READ WRITE PVMOVE LOCKED', [
    'start_extent = 0',
    'extent_count = 1',
    'type = "mirror"',
    'mirror_count = 2',
    'extents_moved = 0',
    'region_size = 1024',
    'mirrors = ["pv0", 27, "pv1", 12]',
  ]),
].join('\n');

test('raid, mirrors, thin pools, snapshots and a move that is under way', () =>
  onPvs(2, [], async (lvm) => {
    await restoreVolumes(lvm, everything);
    await agreesWithPvs(lvm);
    const one = await mustUse(lvm.images[0] as string);
    const taken = [0, 1, 4, 5, 9, 11, 12, 13, 15, 16, 18, 20, 21, 22, 24, 25, 27];
    assert.is(one.subtract(IntervalSet.of({ offset: 39 * extent + MiB, length: size })).bytes, MiB + taken.length * extent);
  }));

test('a copy of what is used has the same volumes with the same content', () =>
  onPvs(1, ['--metadatacopies', '2'], async (lvm) => {
    const [image] = lvm.images as [string];
    await makeVolume(lvm, 'gone', 8, 'vg');
    await makeVolume(lvm, 'kept', 8, 'vg');
    await lvm.run('lvremove', '-q', '-y', 'vg/gone');
    const at = MiB + 2 * extent;
    const file = await open(image, 'r+');
    await file.write(Buffer.alloc(8 * MiB, 'content'), 0, 8 * MiB, at);
    await file.close();
    const columns = ['--noheadings', '-o', 'lv_name,lv_uuid,lv_size,seg_pe_ranges'];
    const before = await lvm.run('lvs', ...columns);
    const content = (await readFile(image)).subarray(at, at + 8 * MiB);

    const copy = join(lvm.directory, 'copy');
    await copyOnly(image, copy, size, await mustUse(image));
    const copied = await readFile(copy);
    assert.ok(copied.subarray(at, at + 8 * MiB).equals(content));
    assert.ok(copied.subarray(MiB, at).every((byte) => byte === 0xaa));
    await writeFile(image, copied);
    assert.is(await lvm.run('lvs', ...columns), before);
    await lvm.run('vgck', 'vg');
  }));

test('a physical volume of no group uses its metadata areas only', () =>
  inTempDir((directory) =>
    withLvm(directory, 1, size, async (lvm) => {
      await lvm.run('pvcreate', '-q', '-y', '--metadatacopies', '2', ...lvm.devices);
      assert.equal(ranges(await mustUse(lvm.images[0] as string)), [`0+${MiB}`, `${size - MiB}+${MiB}`]);
    }),
  ));

test('metadata that lies on other physical volumes only: not known', () =>
  onPvs(2, [], async (lvm) => {
    await makeVolume(lvm, 'one', 12, 'vg');
    await lvm.run('pvchange', '-q', '--metadataignore', 'y', lvm.devices[1] as string);
    const result = await usedOf(lvm.images[1] as string);
    assert.match(result.known ? 'known' : result.reason, /lies on other physical volumes only/);
    assert.ok((await usedOf(lvm.images[0] as string)).known);
  }));

test('a physical volume without any metadata area: not known', () =>
  inTempDir((directory) =>
    withLvm(directory, 1, size, async (lvm) => {
      await lvm.run('pvcreate', '-q', '-y', '--metadatacopies', '0', ...lvm.devices);
      const result = await usedOf(lvm.images[0] as string);
      assert.match(result.known ? 'known' : result.reason, /lies on other physical volumes only/);
    }),
  ));

/** A physical volume with two logical volumes of three extents each. */
const sample = await new Promise<Buffer>((resolve, reject) => {
  onPvs(1, [], async (lvm) => {
    await makeVolume(lvm, 'one', 12, 'vg');
    await makeVolume(lvm, 'two', 12, 'vg');
    resolve(await readFile(lvm.images[0] as string));
  }).catch(reject);
});

/** The sample as a file that may be changed. */
function onSample(body: (image: string) => Promise<void>): Promise<void> {
  return inTempDir(async (directory) => {
    const image = join(directory, 'image');
    await writeFile(image, sample);
    await body(image);
  });
}

/** Replaces words of the newest description in all metadata areas and puts the right checksums in. */
async function rewrite(image: string, change: (text: string) => string): Promise<void> {
  const bytes = await readFile(image);
  for (let at = bytes.indexOf(' LVM2 x[5A%r0N*>'); at >= 0; at = bytes.indexOf(' LVM2 x[5A%r0N*>', at + 1)) {
    const start = at - 4;
    const header = bytes.subarray(start, start + 512);
    const from = start + Number(header.readBigUInt64LE(40));
    const text = change(bytes.toString('latin1', from, from + Number(header.readBigUInt64LE(48))));
    bytes.write(text, from, 'latin1');
    header.writeBigUInt64LE(BigInt(text.length), 48);
    header.writeUInt32LE(checksum(bytes.subarray(from, from + text.length)), 56);
    header.writeUInt32LE(checksum(header.subarray(4)), 0);
  }
  await writeFile(image, bytes);
}

/** As LVM2 calculates it, bit by bit. */
function checksum(bytes: Buffer): number {
  let crc = 0xf597a6cf;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return crc >>> 0;
}

const lies: readonly (readonly [name: string, change: (text: string) => string, reason: RegExp])[] = [
  ['an unknown kind of segment on the volume', (t) => t.replace('"striped"', '"strange"'), /unknown way \(stripes of strange\)/],
  ['extents outside the physical volume', (t) => t.replace('"pv0", 0', '"pv0", 38'), /outside this physical volume/],
  ['extents that are given away twice', (t) => t.replace('"pv0", 3', '"pv0", 2'), /to two logical volumes/],
  ['segments that are missing', (t) => t.replace('segment_count = 1', 'segment_count = 2'), /segments that it says/],
  ['another physical volume', (t) => t.replace(/(pv0 \{\nid = ")....../, '$1AAAAAA'), /does not know this physical volume/],
  ['a volume that the group misses', (t) => t.replace('flags = []\ndev_size', 'flags = ["MISSING"]\ndev_size'), /missing/],
  ['extents that begin elsewhere', (t) => t.replace('pe_start = 2048', 'pe_start = 4096'), /disagree where the extents begin/],
  ['more extents than the part has', (t) => t.replace('pe_count = 39', 'pe_count = 99'), /do not fit the part/],
  ['an unknown version', (t) => t.replace('version = 1', 'version = 2'), /unknown kind/],
  ['an end that is missing', (t) => t.slice(0, t.length / 2), /cannot be understood/],
  ['sections without end', () => 'a {'.repeat(300), /nested too deeply/],
  ['a name that comes twice', (t) => t.replace('max_pv', 'max_lv'), /says twice/],
  ['a segment of no stripes', (t) => t.replace('stripe_count = 1', 'stripe_count = 0'), /makes no sense/],
];
for (const [name, change, reason] of lies) {
  test(`${name}: not known`, () =>
    onSample(async (image) => {
      await rewrite(image, (text) => {
        const changed = change(text);
        assert.is.not(changed, text);
        return changed;
      });
      const result = await usedOf(image);
      assert.match(result.known ? 'known' : result.reason, reason);
    }));
}

const damage: readonly (readonly [name: string, find: string, at: number, reason: RegExp])[] = [
  ['a damaged label', 'LABELONE', 40, /checksum of the LVM label/],
  ['a damaged metadata header', ' LVM2 x[5A%r0N*>', 30, /checksum of the LVM metadata area/],
  ['a damaged description', 'seqno = 3', 8, /checksum of the description/],
];
for (const [name, find, at, reason] of damage) {
  test(`${name}: not known`, () =>
    onSample(async (image) => {
      const bytes = await readFile(image);
      const place = bytes.lastIndexOf(find) + at;
      bytes[place] = (bytes[place] as number) ^ 1;
      await writeFile(image, bytes);
      const result = await usedOf(image);
      assert.match(result.known ? 'known' : result.reason, reason);
    }));
}

test.run();
