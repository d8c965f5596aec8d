/**
 * Whether the journal inside an ext3/4 file system is empty. The superblock's flag already says so when the kernel unmounted;
 * tools that write superblocks sometimes leave the two in disagreement, and then the bitmaps are not to be trusted.
 * Format: kernel documentation "filesystems/ext4", sections "Journal (jbd2)", "Index Nodes" and "Extent Tree".
 */
import type { ImageSource } from '../../../image/contract.ts';
import { insist, readAt } from '../bytes.ts';
import type { ExtGroups } from './groups.ts';
import { compat, type ExtSuperblock } from './superblock.ts';

const journalMagic = 0xc03b3998;
/** Block types of the journal's superblock, versions 1 and 2. */
const journalSuperblocks = [3, 4];
const extentsFlag = 0x80000;
const extentMagic = 0xf30a;
const maxDepth = 5;

/** The blocks that had to be read to know. @throws NotMappableError when the journal holds something, has noted an error or cannot be found. */
export async function checkJournal(part: ImageSource, sb: ExtSuperblock, groups: ExtGroups): Promise<number[]> {
  if ((sb.compat & compat.hasJournal) === 0) return [];
  const blocks: number[] = [];
  const inode = await readInode(part, sb, groups, sb.raw.readUInt32LE(0xe0));
  const block =
    inode.readUInt32LE(0x20) & extentsFlag
      ? await firstExtent(part, sb, inode.subarray(0x28, 0x64), blocks)
      : inode.readUInt32LE(0x28);
  insist(block > sb.firstDataBlock && block < sb.blocks, 'its journal lies outside the file system');
  const journal = await readAt(part, block * sb.blockSize, 1024, 'the journal');
  insist(
    journal.readUInt32BE(0) === journalMagic && journalSuperblocks.includes(journal.readUInt32BE(4)),
    'its journal has no magic',
  );
  insist(journal.readUInt32BE(0x1c) === 0, 'the file system is not clean: its journal was not replayed (it is not empty)');
  insist(journal.readUInt32BE(0x20) === 0, 'the file system is not clean: its journal has noted an error; run e2fsck');
  return [...blocks, block];
}

async function readInode(part: ImageSource, sb: ExtSuperblock, groups: ExtGroups, number: number): Promise<Buffer> {
  const group = Math.floor((number - 1) / sb.inodesPerGroup);
  insist(group < sb.groups, `its journal is inode ${number}, which does not exist`);
  const at = (groups.inodeTable[group] as number) * sb.blockSize + ((number - 1) % sb.inodesPerGroup) * sb.inodeSize;
  return readAt(part, at, 128, 'the inode of the journal');
}

/** The block where the first extent of a tree begins, whose root is given; blocks of the tree are added to `blocks`. */
async function firstExtent(part: ImageSource, sb: ExtSuperblock, root: Buffer, blocks: number[]): Promise<number> {
  let node = root;
  for (let depth = node.readUInt16LE(6); ; depth--) {
    const sane = node.readUInt16LE(0) === extentMagic && node.readUInt16LE(2) > 0 && node.readUInt16LE(6) === depth;
    insist(sane && depth <= maxDepth && node.readUInt32LE(12) === 0, 'the extents of its journal make no sense');
    if (depth === 0) return node.readUInt32LE(20) + node.readUInt16LE(18) * 2 ** 32;
    const block = node.readUInt32LE(16) + node.readUInt16LE(20) * 2 ** 32;
    blocks.push(block);
    node = await readAt(part, block * sb.blockSize, sb.blockSize, 'the extents of the journal');
  }
}
