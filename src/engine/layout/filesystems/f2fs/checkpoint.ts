/**
 * The two checkpoint packs of f2fs, and the journals in the newer one.
 * Format: kernel documentation "filesystems/f2fs", sections "Checkpoint" and "Summary", and `struct f2fs_checkpoint`,
 * `struct f2fs_summary_block`.
 */
import type { ImageSource } from '../../../image/contract.ts';
import { insist, readAt, u64le, unknownBits } from '../bytes.ts';
import { crc32 } from '../crc32.ts';
import { blockBytes, type F2fsSuperblock } from './superblock.ts';
import { insistClean } from './unclean.ts';

/** Checksums start from the file system's magic. */
const checksumStart = 0xf2f52010;
const bitmapsAt = 192;

const flag = {
  unmounted: 0x1,
  orphans: 0x2,
  compactSummaries: 0x4,
  error: 0x8,
  needsCheck: 0x10,
  quotaNeedsCheck: 0x800,
  largeNatBitmap: 0x400,
  disabled: 0x1000,
  disabledQuick: 0x2000,
  resizing: 0x4000,
} as const;
/** With: fast boot, CRC in node footers (or not), NAT bits, trimmed. */
const knownFlags = Object.values(flag).reduce((all, bit) => all | bit, 0) | 0x20 | 0x40 | 0x80 | 0x100 | 0x200;
const unclean = [
  [flag.error, 'it has noted an error'],
  [flag.needsCheck, 'it asks for fsck.f2fs'],
  [flag.quotaNeedsCheck, 'its quotas ask for fsck.f2fs'],
  [flag.orphans, 'files that were deleted while open wait for being removed'],
  [flag.disabled, 'checkpoints are switched off'],
  [flag.disabledQuick, 'checkpoints were switched off'],
  [flag.resizing, 'it is being resized'],
] as const;

/** A journal takes the rest of a block behind 512 entries of 7 bytes and before a footer of 5. */
const journalBytes = blockBytes - 512 * 7 - 5;
const journalAt = 512 * 7;
/** Kinds of data that have a log of their own, hot, warm and cold, then the three of nodes. */
const logs = 6;
const hotData = 0;
const coldData = 2;
/** Among those of nodes. */
const warmNodes = 1;

export interface F2fsCheckpoint {
  readonly version: bigint;
  readonly validBlocks: number;
  readonly validNodes: number;
  /** Which of the two copies of a block of the SIT or NAT is the right one: a bit a block, the highest bit first. */
  readonly sitBitmap: Buffer;
  readonly natBitmap: Buffer;
  readonly natJournal: Buffer;
  readonly sitJournal: Buffer;
  /** Block where the log of warm nodes goes on: fsync writes there, and recovery begins there. */
  readonly recoveryStart: number;
}

/** @throws NotMappableError unless the newest checkpoint is whole and was written by unmounting. */
export async function readCheckpoint(part: ImageSource, sb: F2fsSuperblock): Promise<F2fsCheckpoint> {
  const packs = await Promise.all([0, 1].map((i) => readPack(part, sb, sb.checkpointAt + i * sb.segmentBlocks)));
  const [first, second] = packs as [Pack, Pack];
  const pack = second.version > first.version ? second : first;
  const flags = pack.head.readUInt32LE(132);
  for (const [bit, reason] of unclean) insistClean((flags & bit) === 0, reason);
  insistClean((flags & flag.unmounted) !== 0, 'it was not unmounted');
  insist(unknownBits(flags, knownFlags) === '', `flags of the checkpoint are not known: ${unknownBits(flags, knownFlags)}`);
  return {
    version: pack.version,
    validBlocks: u64le(pack.head, 16),
    validNodes: pack.head.readUInt32LE(144),
    ...bitmaps(pack, sb, (flags & flag.largeNatBitmap) !== 0),
    ...(await journals(part, pack, (flags & flag.compactSummaries) !== 0)),
    recoveryStart: recoveryStart(pack.head, sb),
  };
}

interface Pack {
  readonly at: number;
  readonly blocks: number;
  readonly version: bigint;
  /** The checkpoint with its payload. */
  readonly head: Buffer;
}

/** A pack begins and ends with the same checkpoint; a torn one has different versions or wrong checksums. */
async function readPack(part: ImageSource, sb: F2fsSuperblock, at: number): Promise<Pack> {
  const what = `the checkpoint at block ${at}`;
  const torn = `${what} was torn while it was written`;
  const head = await readAt(part, at * blockBytes, (1 + sb.checkpointPayload) * blockBytes, what);
  insistClean(checksumFits(head.subarray(0, blockBytes)), torn);
  const blocks = head.readUInt32LE(136);
  insist(blocks >= 2 + sb.checkpointPayload && blocks <= sb.segmentBlocks, `${what} has ${blocks} blocks`);
  const foot = await readAt(part, (at + blocks - 1) * blockBytes, blockBytes, what);
  const version = head.readBigUInt64LE(0);
  insistClean(checksumFits(foot) && foot.readBigUInt64LE(0) === version, torn);
  return { at, blocks, version, head };
}

/** The checksum stands at the end of the block, or right before the bitmaps; then what follows it is covered as well. */
function checksumFits(block: Buffer): boolean {
  const at = block.readUInt32LE(164);
  if (at !== blockBytes - 4 && at !== bitmapsAt) return false;
  const before = crc32(checksumStart, block.subarray(0, at));
  const sum = at === bitmapsAt ? crc32(before, block.subarray(at + 4)) : before;
  return block.readUInt32LE(at) === sum;
}

function bitmaps(pack: Pack, sb: F2fsSuperblock, largeNat: boolean): Pick<F2fsCheckpoint, 'sitBitmap' | 'natBitmap'> {
  const { head } = pack;
  const sitBytes = head.readUInt32LE(156);
  const natBytes = head.readUInt32LE(160);
  insist(sitBytes * 8 >= (sb.sitSegments / 2) * sb.segmentBlocks, `${sitBytes} bytes are too few for the bitmap of the SIT`);
  insist(natBytes * 8 >= (sb.natSegments / 2) * sb.segmentBlocks, `${natBytes} bytes are too few for the bitmap of the NAT`);
  const [sitAt, natAt] = bitmapPlaces(sb, largeNat, sitBytes, natBytes);
  const fits = sitAt + sitBytes <= head.length && natAt + natBytes <= head.length;
  insist(fits, 'the bitmaps of the checkpoint run over its end');
  return { sitBitmap: head.subarray(sitAt, sitAt + sitBytes), natBitmap: head.subarray(natAt, natAt + natBytes) };
}

function bitmapPlaces(sb: F2fsSuperblock, largeNat: boolean, sitBytes: number, natBytes: number): [number, number] {
  if (largeNat) return [bitmapsAt + 4 + natBytes, bitmapsAt + 4];
  return sb.checkpointPayload > 0 ? [blockBytes, bitmapsAt] : [bitmapsAt, bitmapsAt + sitBytes];
}

/** Changes of the NAT travel with the summary of hot data, those of the SIT with that of cold data. */
async function journals(
  part: ImageSource,
  pack: Pack,
  compact: boolean,
): Promise<Pick<F2fsCheckpoint, 'natJournal' | 'sitJournal'>> {
  const start = pack.head.readUInt32LE(140);
  const inPack = (block: number): number => {
    insist(block >= 1 && block < pack.blocks - 1, 'the summaries of the checkpoint lie outside of it');
    return (pack.at + block) * blockBytes;
  };
  if (compact) {
    const block = await readAt(part, inPack(start), 2 * journalBytes, 'the summaries of the checkpoint');
    return { natJournal: block.subarray(0, journalBytes), sitJournal: block.subarray(journalBytes) };
  }
  const one = (kind: number): Promise<Buffer> => {
    return readAt(part, inPack(pack.blocks - 1 - logs + kind) + journalAt, journalBytes, 'a summary of the checkpoint');
  };
  return { natJournal: await one(hotData), sitJournal: await one(coldData) };
}

function recoveryStart(head: Buffer, sb: F2fsSuperblock): number {
  const segment = head.readUInt32LE(36 + warmNodes * 4);
  const offset = head.readUInt16LE(68 + warmNodes * 2);
  insist(segment < sb.mainSegments && offset <= sb.segmentBlocks, 'the log of nodes lies outside the file system');
  return sb.mainAt + segment * sb.segmentBlocks + offset;
}
