/** Structures that no tool makes and that somebody could: found by fuzzing or while writing the fuzzers. */
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { NotMappableError } from '../../../../src/engine/layout/filesystems/bytes.ts';
import { parseConfig } from '../../../../src/engine/layout/filesystems/lvm/config.ts';
import { identifyFileSystem, usedBlocks } from '../../../../src/engine/layout/filesystems.ts';
import { exfatSamples, extSamples, type FsSample, lvmSamples, ntfsSamples, xfsSamples } from '../../../fuzz/fs-samples.ts';
import { recountExt, sealLvm } from '../../../fuzz/seals.ts';
import { ChangedBytes, SparseBytes } from '../../../fuzz/sparse.ts';
import { inTempDir } from './fixtures.ts';
import { attributeAt } from './ntfs-records.ts';

function sampleOf([sample]: readonly FsSample[]): Promise<SparseBytes> {
  return inTempDir(async (folder) => {
    const image = join(folder, 'image');
    await (sample as FsSample).make(image, folder);
    return SparseBytes.ofFile(image);
  });
}

/** The reason why it cannot be mapped, also after it was identified. */
async function reason(bytes: ChangedBytes): Promise<string> {
  await identifyFileSystem(bytes.image());
  const result = await usedBlocks(bytes.image());
  return result.known ? 'known' : result.reason;
}

const lvm = await sampleOf(lvmSamples);

/** Where the list of boot loader areas begins in the label's sector: behind two lists that end with an empty entry. */
function bootLoaderList(sector: Buffer): number {
  let at = sector.readUInt32LE(20) + 40;
  for (let lists = 0; lists < 2; at += 16) if (sector.readBigUInt64LE(at) === 0n) lists++;
  return at + 8;
}

function labelled(change: (sector: Buffer, list: number) => void): ChangedBytes {
  const bytes = new ChangedBytes(lvm);
  const sector = bytes.get(512, 512);
  change(sector, bootLoaderList(sector));
  bytes.set(512, sector);
  sealLvm(bytes);
  return bytes;
}

test('areas of an LVM label beyond every disk, or only beyond this one', async () => {
  assert.is(await reason(labelled(() => {})), 'known');
  for (const [offset, length] of [
    [1n << 60n, 5n],
    [1n, (1n << 64n) - 1n],
    [1n << 50n, 1n << 40n],
  ] as const) {
    const bytes = labelled((sector, list) => {
      sector.writeBigUInt64LE(offset, list);
      sector.writeBigUInt64LE(length, list + 8);
      sector.writeBigUInt64LE(0n, list + 16);
    });
    assert.match(await reason(bytes), /lies beyond every disk|lie outside the part/);
  }
});

test('an LVM label with the same metadata area again and again', async () => {
  const bytes = labelled((sector, list) => {
    const first = sector.readUInt32LE(20) + 40 + 32;
    const area = Buffer.from(sector.subarray(first, first + 16));
    for (let at = first + 16; at < list + 64; at += 16) area.copy(sector, at);
    sector.fill(0, list + 64, list + 128);
  });
  assert.match(await reason(bytes), /names \d+ metadata areas/);
});

test('LVM metadata of nothing but empty sections', () => {
  const text = Array.from({ length: 500_000 }, (_, i) => `${i.toString(36)}{}`).join('\n');
  assert.throws(
    () => parseConfig(text),
    (error: Error) => error instanceof NotMappableError && /too many entries/.test(error.message),
  );
});

test('an index of the root directory of NTFS that comes back to where it was', async () => {
  const ntfs = await sampleOf(ntfsSamples);
  const bytes = new ChangedBytes(ntfs);
  const [number, page] = rootIndex(ntfs);
  const changed = Buffer.from(page);
  const header = 24;
  let at = header + changed.readUInt32LE(header);
  while ((changed.readUInt16LE(at + 12) & 2) === 0) at += changed.readUInt16LE(at + 8);
  // The last entry gets a child: the block itself.
  changed.writeUInt16LE(24, at + 8);
  changed.writeUInt16LE(3, at + 12);
  changed.writeBigUInt64LE(0n, at + 16);
  changed.writeUInt32LE(changed.readUInt32LE(header + 4) + 8, header + 4);
  bytes.set(number * 4096, changed);
  assert.match(await reason(bytes), /comes back to block 0/);
});

test('a bitmap of NTFS that calls the index of the root directory free, which had to be read', async () => {
  const ntfs = await sampleOf(ntfsSamples);
  const [index] = rootIndex(ntfs);
  const bytes = new ChangedBytes(ntfs);
  const boot = bytes.get(0, 512);
  const cluster = boot.readUInt16LE(11) * (boot[13] as number);
  const record = bytes.get(Number(boot.readBigUInt64LE(48)) * cluster + 6 * 1024, 1024);
  const attribute = attributeAt(record, 0x80);
  const pairs = attribute + record.readUInt16LE(attribute + 32);
  const [counts, places] = [(record[pairs] as number) & 0xf, (record[pairs] as number) >>> 4];
  const at = record.readIntLE(pairs + 1 + counts, places) * cluster + (index >>> 3);
  assert.is(await reason(bytes), 'known');
  bytes.set(at, Buffer.of((bytes.get(at, 1)[0] as number) & ~(1 << (index & 7))));
  assert.match(await reason(bytes), /calls clusters of the index of the root directory free/);
});

test('a bitmap of ext3 that calls the journal free, with counts that agree', async () => {
  const ext = await sampleOf(extSamples.filter(({ name }) => name === 'ext3 unchecked'));
  const [blockSize, perGroup] = [1024, 2048];
  const blocks = [...ext.pages].flatMap(([number, page]) =>
    [0, 1, 2, 3].map((i) => ({ number: number * 4 + i, at: page.subarray(i * blockSize) })),
  );
  const block = blocks.find(({ at }) => at.readUInt32BE(0) === 0xc03b3998 && [3, 4].includes(at.readUInt32BE(4)))?.number;
  assert.ok(block, 'the sample has a journal');
  const group = Math.floor((block - 1) / perGroup);
  const bytes = new ChangedBytes(ext);
  const bit = (block - 1) % perGroup;
  const at = bytes.get(2048 + group * 32, 4).readUInt32LE(0) * blockSize + (bit >>> 3);
  bytes.set(at, Buffer.of((bytes.get(at, 1)[0] as number) & ~(1 << (bit & 7))));
  recountExt(bytes);
  assert.match(await reason(bytes), /calls block \d+ of the journal free/);
});

test('a directory of exFAT whose chain comes back to itself', async () => {
  const exfat = await sampleOf(exfatSamples);
  const bytes = new ChangedBytes(exfat);
  const boot = bytes.get(0, 512);
  const root = boot.readUInt32LE(96);
  const entry = Buffer.alloc(4);
  entry.writeUInt32LE(root);
  bytes.set(boot.readUInt32LE(80) * 512 + root * 4, entry);
  assert.match(await reason(bytes), /is too long, or its chain of clusters has no end/);
});

test('free extents of XFS version 4 that one B+tree has elsewhere, and a free list that names what is used', async () => {
  const xfs = await sampleOf(xfsSamples.filter(({ name }) => name === 'xfs 4'));
  const unchanged = new ChangedBytes(xfs);
  const before = await usedBlocks(unchanged.image());
  const agf = unchanged.get(512, 512);
  const blockSize = unchanged.get(4, 4).readUInt32BE(0);
  const leaf = agf.readUInt32BE(16) * blockSize;
  const last = leaf + 16 + (unchanged.get(leaf + 6, 2).readUInt16BE(0) - 1) * 8;
  const moved = new ChangedBytes(xfs);
  const start = Buffer.alloc(4);
  start.writeUInt32BE(unchanged.get(last, 4).readUInt32BE(0) - 1);
  moved.set(last, start);
  assert.match(await reason(moved), /the two free-space B\+trees of group 0 differ/);

  const listed = new ChangedBytes(xfs);
  // Some block of a file, far from the group's own.
  start.writeUInt32BE(40);
  listed.set(3 * 512 + agf.readUInt32BE(40) * 4, start);
  const after = await usedBlocks(listed.image());
  assert.ok(before.known);
  if (after.known) assert.is(before.used.subtract(after.used).count, 0);
});

/** The first index block of the root directory, which has the most names; clusters are pages. */
function rootIndex(ntfs: SparseBytes): [number, Buffer] {
  const isIt = (page: Buffer): boolean =>
    page.toString('latin1', 0, 4) === 'INDX' &&
    page.readBigUInt64LE(16) === 0n &&
    page.toString('utf16le').includes('a rather long name');
  const found = [...ntfs.pages].find(([, page]) => isIt(page));
  assert.ok(found, 'the sample has an index block');
  return found;
}

test.run();
