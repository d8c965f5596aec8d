/**
 * The segment information table (SIT): which blocks of the main area are valid.
 * Format: kernel documentation "filesystems/f2fs", section "Segment Information Table", and `struct f2fs_sit_entry`.
 */
import type { ImageSource } from '../../../image/contract.ts';
import { chunkSize, insist, readAt } from '../bytes.ts';
import type { F2fsCheckpoint } from './checkpoint.ts';
import { blockBytes, type F2fsSuperblock } from './superblock.ts';

const entryBytes = 74;
const entriesPerBlock = Math.floor(blockBytes / entryBytes);
/** The lower bits of an entry's first word count valid blocks, the others tell what the segment holds. */
const countMask = 0x3ff;
const countBits = 10;
const mapBytes = 64;
const kinds = 6;
const firstNodeKind = 3;
const journalEntryBytes = 4 + entryBytes;
const maxJournal = 6;

export interface Segment {
  readonly number: number;
  /** A bit a block, the lowest bit first (turned around from how it is stored). Overwritten by the next segment. */
  readonly valid: Uint8Array;
  readonly count: number;
  readonly isNode: boolean;
}

const reversed = Uint8Array.from({ length: 256 }, (_, byte) => {
  let turned = 0;
  for (let bit = 0; bit < 8; bit++) if (byte & (1 << bit)) turned |= 0x80 >> bit;
  return turned;
});
const ones = Uint8Array.from({ length: 256 }, (_, byte) => byte.toString(2).replaceAll('0', '').length);

/** Whether a bitmap of a checkpoint has this bit: the highest bit of a byte comes first. */
export function hasBit(bitmap: Uint8Array, index: number): boolean {
  return ((bitmap[index >>> 3] as number) & (0x80 >> (index & 7))) !== 0;
}

/**
 * All segments that hold valid blocks, in order; the journal of the checkpoint overrides the table.
 * @throws NotMappableError where counts and bitmaps disagree
 */
export async function* segments(part: ImageSource, sb: F2fsSuperblock, checkpoint: F2fsCheckpoint): AsyncIterable<Segment> {
  const journal = readJournal(sb, checkpoint.sitJournal);
  const blocks = Math.ceil(sb.mainSegments / entriesPerBlock);
  const half = (sb.sitSegments / 2) * sb.segmentBlocks;
  insist(blocks <= half, 'the SIT is too small for the main area');
  const valid = new Uint8Array(mapBytes);
  for (let from = 0; from < blocks; ) {
    const second = hasBit(checkpoint.sitBitmap, from);
    let to = from + 1;
    while (to < blocks && (to - from) * blockBytes < chunkSize && hasBit(checkpoint.sitBitmap, to) === second) to++;
    const at = sb.sitAt + from + (second ? half : 0);
    const bytes = await readAt(part, at * blockBytes, (to - from) * blockBytes, 'the SIT');
    for (let number = from * entriesPerBlock; number < Math.min(to * entriesPerBlock, sb.mainSegments); number++) {
      const inBlock = (number % entriesPerBlock) * entryBytes;
      const entryAt = (Math.floor(number / entriesPerBlock) - from) * blockBytes + inBlock;
      const segment = parseEntry(journal.get(number) ?? bytes.subarray(entryAt, entryAt + entryBytes), number, valid);
      if (segment !== undefined) yield segment;
    }
    from = to;
  }
}

function readJournal(sb: F2fsSuperblock, bytes: Buffer): Map<number, Buffer> {
  const count = bytes.readUInt16LE(0);
  insist(count <= maxJournal, `the journal of the SIT has ${count} entries`);
  const journal = new Map<number, Buffer>();
  for (let i = 0; i < count; i++) {
    const at = 2 + i * journalEntryBytes;
    const number = bytes.readUInt32LE(at);
    insist(number < sb.mainSegments && !journal.has(number), `the journal of the SIT names segment ${number}`);
    journal.set(number, bytes.subarray(at + 4, at + journalEntryBytes));
  }
  return journal;
}

/** Undefined for a segment without valid blocks. */
function parseEntry(entry: Buffer, number: number, valid: Uint8Array): Segment | undefined {
  const word = entry.readUInt16LE(0);
  const count = word & countMask;
  const kind = word >>> countBits;
  let found = 0;
  for (let i = 0; i < mapBytes; i++) {
    const byte = entry[2 + i] as number;
    found += ones[byte] as number;
    valid[i] = reversed[byte] as number;
  }
  insist(found === count, `segment ${number} says ${count} valid blocks, its bitmap has ${found}`);
  insist(kind < kinds, `segment ${number} is of the unknown kind ${kind}`);
  return count === 0 ? undefined : { number, valid, count, isNode: kind >= firstNodeKind };
}
