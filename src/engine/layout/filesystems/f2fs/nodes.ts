/**
 * The node address table (NAT): where every inode and index block stands. Here it only serves to find out a map of valid
 * blocks that is stale.
 * Format: kernel documentation "filesystems/f2fs", section "Node Address Table", and `struct f2fs_nat_entry`.
 */
import type { ImageSource } from '../../../image/contract.ts';
import type { IntervalSet } from '../../../protect/intervals.ts';
import { insist, readAt } from '../bytes.ts';
import type { F2fsCheckpoint } from './checkpoint.ts';
import { hasBit } from './segments.ts';
import { blockBytes, type F2fsSuperblock } from './superblock.ts';

const entryBytes = 9;
const entriesPerBlock = Math.floor(blockBytes / entryBytes);
const journalEntryBytes = 4 + entryBytes;
const maxJournal = 38;
const none = 0;
/** Allocated, but never written. */
const unwritten = 0xffffffff;

/** @throws NotMappableError when a node stands in a block that `used` (bytes of the part) does not hold. */
export async function checkNodes(
  part: ImageSource,
  sb: F2fsSuperblock,
  checkpoint: F2fsCheckpoint,
  used: IntervalSet,
): Promise<void> {
  const journal = readJournal(checkpoint.natJournal);
  const check = (nid: number, block: number): void => {
    if (block === none || block === unwritten || sb.specialNodes.includes(nid)) return;
    const inside = block >= sb.mainAt && block < sb.mainAt + sb.mainSegments * sb.segmentBlocks;
    insist(inside, `node ${nid} stands at block ${block}, outside the main area`);
    insist(
      used.covers({ offset: block * blockBytes, length: blockBytes }),
      `node ${nid} stands in block ${block}, which is free`,
    );
  };
  for (const [nid, block] of journal) check(nid, block);
  const halfSegments = sb.natSegments / 2;
  for (let segment = 0; segment < halfSegments; segment++) {
    const firstBlock = segment * sb.segmentBlocks;
    const pair = sb.natAt + segment * 2 * sb.segmentBlocks;
    for (let from = 0; from < sb.segmentBlocks; ) {
      const second = hasBit(checkpoint.natBitmap, firstBlock + from);
      let to = from + 1;
      while (to < sb.segmentBlocks && to - from < 256 && hasBit(checkpoint.natBitmap, firstBlock + to) === second) to++;
      const at = pair + from + (second ? sb.segmentBlocks : 0);
      const bytes = await readAt(part, at * blockBytes, (to - from) * blockBytes, 'the NAT');
      for (let block = from; block < to; block++) {
        for (let i = 0; i < entriesPerBlock; i++) {
          const address = bytes.readUInt32LE((block - from) * blockBytes + i * entryBytes + 5);
          if (address === none) continue;
          const nid = (firstBlock + block) * entriesPerBlock + i;
          if (!journal.has(nid)) check(nid, address);
        }
      }
      from = to;
    }
  }
}

function readJournal(bytes: Buffer): Map<number, number> {
  const count = bytes.readUInt16LE(0);
  insist(count <= maxJournal, `the journal of the NAT has ${count} entries`);
  const journal = new Map<number, number>();
  for (let i = 0; i < count; i++) {
    const at = 2 + i * journalEntryBytes;
    journal.set(bytes.readUInt32LE(at), bytes.readUInt32LE(at + 4 + 5));
  }
  return journal;
}
