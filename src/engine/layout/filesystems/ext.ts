/**
 * Which bytes ext2, ext3 and ext4 use: from the block bitmaps of a cleanly unmounted file system, checked against
 * checksums, free counts and the places where its own structures stand.
 */
import type { ImageSource } from '../../image/contract.ts';
import { IntervalSet } from '../../protect/intervals.ts';
import type { FileSystemInfo, FileSystemReader, UsedBlocks } from '../contract.ts';
import { chunkSize, insist, mapped, readAt } from './bytes.ts';
import { crc32c } from './checksum.ts';
import { scanSetBits, UsedCollector } from './collect.ts';
import { type ExtGroups, groupBlocks, groupStart, metadataRanges, readGroups } from './ext/groups.ts';
import { checkJournal } from './ext/journal.ts';
import { describe, type ExtSuperblock, parseSuperblock, readRawSuperblock, roCompat } from './ext/superblock.ts';

/** MMP block: its magic, and the sequence number that says nobody has the file system open. */
const mmpMagic = 0x004d4d50;
const mmpClean = 0xff4d4d50;

export const ext: FileSystemReader = {
  types: ['ext2', 'ext3', 'ext4', 'jbd'],

  async probe(part: ImageSource): Promise<FileSystemInfo | undefined> {
    const raw = await readRawSuperblock(part);
    return raw && describe(raw, part);
  },

  usedBlocks(part: ImageSource): Promise<UsedBlocks> {
    return mapped(async () => {
      const raw = await readRawSuperblock(part);
      insist(raw !== undefined, 'there is no ext2/3/4 superblock');
      const sb = parseSuperblock(raw, part);
      if (sb.mmpBlock !== 0) await checkMmp(part, sb);
      const groups = await readGroups(part, sb);
      const journal = await checkJournal(part, sb, groups);
      const map = await used(part, sb, groups);
      for (const block of journal) {
        const range = { offset: block * sb.blockSize, length: sb.blockSize };
        insist(map.covers(range), `a block bitmap calls block ${block} of the journal free`);
      }
      return map;
    });
  },
};

async function checkMmp(part: ImageSource, sb: ExtSuperblock): Promise<void> {
  const block = await readAt(part, sb.mmpBlock * sb.blockSize, 1024, 'the MMP block');
  insist(block.readUInt32LE(0) === mmpMagic, 'the MMP block has no magic');
  insist(block.readUInt32LE(4) === mmpClean, 'the file system is not clean: the MMP block says that somebody has it open');
}

async function used(part: ImageSource, sb: ExtSuperblock, groups: ExtGroups): Promise<IntervalSet> {
  const metadata = metadataRanges(sb, groups).align(sb.clusterBlocks * sb.blockSize);
  const fromBitmaps = await readBitmaps(part, sb, groups, metadata);
  const loose = metadata.subtract(fromBitmaps);
  for (const range of loose) {
    // Rounding to clusters may reach over the end of the last one.
    insist(range.offset >= sb.blocks * sb.blockSize, `a block bitmap calls metadata at byte ${range.offset} free`);
  }
  const size = sb.blocks * sb.blockSize;
  const outside = IntervalSet.of({ offset: 0, length: Math.max(2048, sb.blockSize) }, { offset: size, length: part.size - size });
  // The end of the last cluster may lie behind the part's.
  const whole = IntervalSet.of({ offset: 0, length: part.size });
  return fromBitmaps.union(metadata.union(outside)).intersect(whole);
}

/** Goes through the groups in order, reading bitmaps that stand side by side together. */
async function readBitmaps(part: ImageSource, sb: ExtSuperblock, groups: ExtGroups, metadata: IntervalSet): Promise<IntervalSet> {
  const collector = new UsedCollector();
  const inUninit = new RangeCursor(metadata);
  let freeClusters = 0;
  let batch: Buffer = Buffer.alloc(0);
  let batchStart = 0;
  let batchEnd = 0;
  for (let group = 0; group < sb.groups; group++) {
    const start = groupStart(sb, group) * sb.blockSize;
    const clusterBytes = sb.clusterBlocks * sb.blockSize;
    const clusters = Math.ceil(groupBlocks(sb, group) / sb.clusterBlocks);
    let free = clusters;
    if (groups.bitmapUninit[group]) {
      for (const range of inUninit.within(start, start + clusters * clusterBytes)) {
        collector.add(range.offset, range.length);
        free -= range.length / clusterBytes;
      }
    } else {
      if (group >= batchEnd) {
        batchStart = group;
        batchEnd = group + sideBySide(sb, groups, group);
        const at = (groups.blockBitmap[group] as number) * sb.blockSize;
        batch = await readAt(part, at, (batchEnd - batchStart) * sb.blockSize, `the block bitmap of group ${group}`);
      }
      const bitmap = batch.subarray((group - batchStart) * sb.blockSize, (group - batchStart + 1) * sb.blockSize);
      verifyBitmap(sb, groups, group, bitmap);
      free = scanSetBits(bitmap, clusters, (first, count) => {
        collector.add(start + first * clusterBytes, count * clusterBytes);
      });
    }
    insist(
      free === groups.freeClusters[group],
      `group ${group} says ${groups.freeClusters[group]} free blocks, its bitmap has ${free}`,
    );
    freeClusters += free;
  }
  insist(
    freeClusters * sb.clusterBlocks === sb.freeBlocks,
    `the superblock says ${sb.freeBlocks} free blocks, the bitmaps have ${freeClusters * sb.clusterBlocks}`,
  );
  return collector.build();
}

/** How many bitmaps from this group on can be read at once. */
function sideBySide(sb: ExtSuperblock, groups: ExtGroups, group: number): number {
  const first = groups.blockBitmap[group] as number;
  let count = 1;
  while (
    group + count < sb.groups &&
    (count + 1) * sb.blockSize <= chunkSize &&
    groups.blockBitmap[group + count] === first + count
  ) {
    count++;
  }
  return count;
}

function verifyBitmap(sb: ExtSuperblock, groups: ExtGroups, group: number, bitmap: Buffer): void {
  if ((sb.roCompat & roCompat.metadataChecksum) === 0) return;
  const covered = bitmap.subarray(0, sb.blocksPerGroup / sb.clusterBlocks / 8);
  const mask = sb.descriptorSize >= 64 ? 0xffffffff : 0xffff;
  const checksum = (crc32c(sb.checksumSeed, covered) & mask) >>> 0;
  insist(checksum === groups.bitmapChecksum[group], `the checksum of the block bitmap of group ${group} is wrong`);
}

/** Hands out the ranges of a set piece by piece, for questions in ascending order. */
class RangeCursor {
  readonly #set: Iterator<{ offset: number; length: number }>;
  #current: { offset: number; length: number } | undefined;

  constructor(set: IntervalSet) {
    this.#set = set[Symbol.iterator]();
    this.#advance();
  }

  *within(from: number, to: number): Iterable<{ offset: number; length: number }> {
    while (this.#current !== undefined && this.#current.offset < to) {
      const end = this.#current.offset + this.#current.length;
      const start = Math.max(this.#current.offset, from);
      if (start < Math.min(end, to)) yield { offset: start, length: Math.min(end, to) - start };
      if (end > to) return;
      this.#advance();
    }
  }

  #advance(): void {
    const next = this.#set.next();
    this.#current = next.done ? undefined : next.value;
  }
}
