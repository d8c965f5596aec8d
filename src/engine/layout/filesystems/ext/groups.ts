/**
 * Block group descriptors of ext2/3/4 and the blocks that the file system's own structures take.
 * Format: kernel documentation "filesystems/ext4", sections "Block Group Descriptors", "Meta Block Groups", "Flexible Block Groups".
 */
import type { ByteRange, ImageSource } from '../../../image/contract.ts';
import { IntervalBuilder, type IntervalSet } from '../../../protect/intervals.ts';
import { chunkSize, insist, readAt } from '../bytes.ts';
import { crc16, crc32c } from '../checksum.ts';
import { compat, type ExtSuperblock, incompat, roCompat } from './superblock.ts';

const checksumOffset = 0x1e;
const flagBlockUninit = 0x2;

/** One group, in columns. Blocks count from the start of the file system. */
export interface ExtGroups {
  readonly blockBitmap: Float64Array;
  readonly inodeBitmap: Float64Array;
  readonly inodeTable: Float64Array;
  readonly freeClusters: Uint32Array;
  /** crc32c of the block bitmap as far as the descriptor stores it (16 or 32 bits). */
  readonly bitmapChecksum: Uint32Array;
  /** 1: the block bitmap was never written; only metadata is used in this group. */
  readonly bitmapUninit: Uint8Array;
}

/** Reads all group descriptors. @throws NotMappableError for a bad checksum or a block outside the file system. */
export async function readGroups(part: ImageSource, sb: ExtSuperblock): Promise<ExtGroups> {
  const groups: ExtGroups = {
    blockBitmap: new Float64Array(sb.groups),
    inodeBitmap: new Float64Array(sb.groups),
    inodeTable: new Float64Array(sb.groups),
    freeClusters: new Uint32Array(sb.groups),
    bitmapChecksum: new Uint32Array(sb.groups),
    bitmapUninit: new Uint8Array(sb.groups),
  };
  const perBlock = sb.blockSize / sb.descriptorSize;
  const blocks = Math.ceil(sb.groups / perBlock);
  let index = 0;
  while (index < blocks) {
    let together = 1;
    while (
      index + together < blocks &&
      (together + 1) * sb.blockSize <= chunkSize &&
      descriptorBlock(sb, index + together) === descriptorBlock(sb, index) + together
    ) {
      together++;
    }
    const at = descriptorBlock(sb, index) * sb.blockSize;
    const bytes = await readAt(part, at, together * sb.blockSize, 'a block of group descriptors');
    const first = index * perBlock;
    for (let i = 0; i < together * perBlock && first + i < sb.groups; i++) {
      parseDescriptor(sb, groups, first + i, bytes.subarray(i * sb.descriptorSize, (i + 1) * sb.descriptorSize));
    }
    index += together;
  }
  return groups;
}

function parseDescriptor(sb: ExtSuperblock, groups: ExtGroups, group: number, raw: Buffer): void {
  const checked = (sb.roCompat & (roCompat.groupChecksum | roCompat.metadataChecksum)) !== 0;
  if (checked) {
    insist(
      raw.readUInt16LE(checksumOffset) === descriptorChecksum(sb, group, raw),
      `the checksum of group descriptor ${group} is wrong`,
    );
  }
  const wide = sb.descriptorSize >= 64;
  const wideBlock = (low: number, high: number): number => raw.readUInt32LE(low) + (wide ? raw.readUInt32LE(high) * 2 ** 32 : 0);
  const wide16 = (low: number, high: number): number => raw.readUInt16LE(low) + (wide ? raw.readUInt16LE(high) * 2 ** 16 : 0);
  const place = (block: number, length: number, what: string): number => {
    insist(
      block >= sb.firstDataBlock && block + length <= sb.blocks,
      `the ${what} of group ${group} lies outside the file system`,
    );
    return block;
  };
  groups.blockBitmap[group] = place(wideBlock(0x0, 0x20), 1, 'block bitmap');
  groups.inodeBitmap[group] = place(wideBlock(0x4, 0x24), 1, 'inode bitmap');
  groups.inodeTable[group] = place(wideBlock(0x8, 0x28), inodeTableBlocks(sb), 'inode table');
  groups.freeClusters[group] = wide16(0xc, 0x2c);
  groups.bitmapChecksum[group] = wide16(0x18, 0x38);
  groups.bitmapUninit[group] = checked && raw.readUInt16LE(0x12) & flagBlockUninit ? 1 : 0;
}

function descriptorChecksum(sb: ExtSuperblock, group: number, raw: Buffer): number {
  const number = Buffer.alloc(4);
  number.writeUInt32LE(group);
  const before = raw.subarray(0, checksumOffset);
  const behind = raw.subarray(checksumOffset + 2);
  if (sb.roCompat & roCompat.metadataChecksum) {
    const head = crc32c(crc32c(sb.checksumSeed, number), before);
    return crc32c(crc32c(head, new Uint8Array(2)), behind) & 0xffff;
  }
  return crc16(crc16(crc16(crc16(0xffff, sb.uuid), number), before), behind);
}

/** First block of a group. */
export function groupStart(sb: ExtSuperblock, group: number): number {
  return sb.firstDataBlock + group * sb.blocksPerGroup;
}

/** Blocks of a group; the last may be shorter. */
export function groupBlocks(sb: ExtSuperblock, group: number): number {
  return Math.min(sb.blocksPerGroup, sb.blocks - groupStart(sb, group));
}

function inodeTableBlocks(sb: ExtSuperblock): number {
  return Math.ceil((sb.inodesPerGroup * sb.inodeSize) / sb.blockSize);
}

/** With 1 KiB blocks the superblock is block 1, also where the first group begins with block 0. */
function superblockBlock(sb: ExtSuperblock, group: number): number {
  const start = groupStart(sb, group);
  return group === 0 && sb.blockSize === 1024 ? 1 : start;
}

function hasSuperblock(sb: ExtSuperblock, group: number): boolean {
  if (group === 0) return true;
  if (sb.compat & compat.sparseSuper2) return sb.backupGroups.includes(group);
  if (group === 1 || (sb.roCompat & roCompat.sparseSuper) === 0) return true;
  return [3, 5, 7].some((base) => isPowerOf(group, base));
}

function isPowerOf(value: number, base: number): boolean {
  let power = base;
  while (power < value) power *= base;
  return power === value;
}

/** Where block `index` of the primary descriptors stands. */
function descriptorBlock(sb: ExtSuperblock, index: number): number {
  if ((sb.incompat & incompat.metaBg) === 0 || index < sb.firstMetaGroup) return superblockBlock(sb, 0) + 1 + index;
  const group = index * (sb.blockSize / sb.descriptorSize);
  return superblockBlock(sb, group) + (hasSuperblock(sb, group) ? 1 : 0);
}

/** Every byte that superblocks, descriptors, bitmaps, inode tables and the MMP block take, copies included. */
export function metadataRanges(sb: ExtSuperblock, groups: ExtGroups): IntervalSet {
  const ranges: ByteRange[] = [];
  const add = (block: number, count: number): void => {
    const end = Math.min(block + count, sb.blocks);
    ranges.push({ offset: block * sb.blockSize, length: (end - block) * sb.blockSize });
  };
  for (const [starts, length] of [
    [groups.blockBitmap, 1],
    [groups.inodeBitmap, 1],
    [groups.inodeTable, inodeTableBlocks(sb)],
  ] as const) {
    let from = 0;
    for (let group = 1; group <= sb.groups; group++) {
      if (group < sb.groups && starts[group] === (starts[group - 1] as number) + length) continue;
      add(starts[from] as number, (group - from) * length);
      from = group;
    }
  }
  for (let group = 0; group < sb.groups; group++) {
    const blocks = headBlocks(sb, group);
    if (blocks > 0) add(superblockBlock(sb, group), blocks);
  }
  if (sb.mmpBlock !== 0) {
    insist(sb.mmpBlock < sb.blocks, 'the MMP block lies outside the file system');
    add(sb.mmpBlock, 1);
  }
  ranges.sort((a, b) => a.offset - b.offset);
  const builder = new IntervalBuilder();
  for (const range of ranges) builder.add(range.offset, range.length);
  return builder.build();
}

/** Blocks at the head of a group: superblock copy, descriptors, blocks kept for their growth. */
function headBlocks(sb: ExtSuperblock, group: number): number {
  const superblock = hasSuperblock(sb, group) ? 1 : 0;
  const perBlock = sb.blockSize / sb.descriptorSize;
  const metaBg = (sb.incompat & incompat.metaBg) !== 0;
  if (!metaBg || group < sb.firstMetaGroup * perBlock) {
    const old = metaBg ? sb.firstMetaGroup : Math.ceil(sb.groups / perBlock) + sb.reservedDescriptorBlocks;
    return superblock === 0 ? 0 : 1 + old;
  }
  const place = group % perBlock;
  return superblock + (place === 0 || place === 1 || place === perBlock - 1 ? 1 : 0);
}
