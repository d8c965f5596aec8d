/**
 * The two superblocks of f2fs.
 * Format: kernel documentation "filesystems/f2fs", section "On-disk Layout", and `struct f2fs_super_block`.
 */
import type { ImageSource } from '../../../image/contract.ts';
import { insist, peek, readAt, text16, u64le, unknownBits, uuidText } from '../bytes.ts';
import { crc32 } from '../crc32.ts';

export const blockBytes = 4096;
const superblockOffset = 1024;
const superblockBytes = 3072;
const magic = 0xf2f52010;
const deviceSlots = 8;
const deviceSlotBytes = 68;
/** More segments (of 2 MiB) than 16 TiB have, the most that f2fs can address. */
const maxSegments = 1 << 23;

const feature = {
  encrypt: 0x1,
  zoned: 0x2,
  atomicWrite: 0x4,
  extraAttribute: 0x8,
  projectQuota: 0x10,
  inodeChecksum: 0x20,
  flexibleInlineXattr: 0x40,
  quotaInodes: 0x80,
  inodeCreationTime: 0x100,
  lostAndFound: 0x200,
  verity: 0x400,
  superblockChecksum: 0x800,
  casefold: 0x1000,
  compression: 0x2000,
} as const;
const knownFeatures = Object.values(feature).reduce((all, bit) => all | bit, 0);

/** Addresses and counts are blocks of 4 KiB. */
export interface F2fsSuperblock {
  readonly blocks: number;
  readonly segmentBlocks: number;
  /** Segments of each area. */
  readonly checkpointSegments: number;
  readonly sitSegments: number;
  readonly natSegments: number;
  readonly mainSegments: number;
  readonly checkpointAt: number;
  readonly sitAt: number;
  readonly natAt: number;
  readonly mainAt: number;
  /** Blocks of a checkpoint that follow its first and hold more of its bitmaps. */
  readonly checkpointPayload: number;
  /** Inodes that stand for areas rather than files; their entries in the NAT are placeholders. */
  readonly specialNodes: readonly number[];
}

/** Names and size, from a superblock that has the magic. */
export interface F2fsNames {
  readonly uuid: string;
  readonly label: string;
  /** Bytes. */
  readonly size: number;
}

/** Undefined when there is no superblock of f2fs. */
export async function readNames(part: ImageSource): Promise<F2fsNames | undefined> {
  const raw = await peek(part, superblockOffset, superblockBytes);
  if (raw === undefined || raw.readUInt32LE(0) !== magic || raw.readUInt32LE(16) > 16) return undefined;
  return { uuid: uuidText(raw, 108), label: text16(raw, 124, 1024), size: u64le(raw, 36) * 2 ** raw.readUInt32LE(16) };
}

/** @throws NotMappableError for unknown features, several devices, differing copies and areas that do not fit together. */
export async function readSuperblock(part: ImageSource): Promise<F2fsSuperblock> {
  const raw = await readAt(part, superblockOffset, superblockBytes, 'the superblock');
  const copy = await readAt(part, blockBytes + superblockOffset, superblockBytes, 'the second superblock');
  insist(raw.readUInt32LE(0) === magic, 'there is no f2fs superblock');
  insist(raw.equals(copy), 'the two superblocks differ');
  checkFeatures(raw);
  const sb = parse(raw);
  checkAreas(raw, sb);
  insist(
    sb.blocks * blockBytes <= part.size,
    `the file system has ${sb.blocks * blockBytes} bytes, more than the part (${part.size} bytes)`,
  );
  return sb;
}

function checkFeatures(raw: Buffer): void {
  insist(raw.readUInt16LE(4) === 1, `f2fs version ${raw.readUInt16LE(4)} is not known`);
  insist(raw.readUInt32LE(16) === 12, `blocks of ${2 ** raw.readUInt32LE(16)} bytes are not known`);
  const features = raw.readUInt32LE(2180);
  insist((features & feature.zoned) === 0, 'it is made for a zoned device');
  const strange = unknownBits(features, knownFeatures);
  insist(strange === '', `feature flags are not known: ${strange}`);
  const devices = raw.subarray(2201, 2201 + deviceSlots * deviceSlotBytes);
  insist(
    Array.from({ length: deviceSlots }, (_, i) => devices[i * deviceSlotBytes]).every((byte) => byte === 0),
    'it is spread over several devices, and doppel sees only one of them',
  );
  if (features & feature.superblockChecksum) {
    const at = raw.readUInt32LE(32);
    insist(at === superblockBytes - 4, 'the checksum of the superblock stands at an unknown place');
    insist(raw.readUInt32LE(at) === crc32(magic, raw.subarray(0, at)), 'the checksum of the superblock is wrong');
  }
}

function parse(raw: Buffer): F2fsSuperblock {
  return {
    blocks: u64le(raw, 36),
    segmentBlocks: 2 ** raw.readUInt32LE(20),
    checkpointSegments: raw.readUInt32LE(52),
    sitSegments: raw.readUInt32LE(56),
    natSegments: raw.readUInt32LE(60),
    mainSegments: raw.readUInt32LE(68),
    checkpointAt: raw.readUInt32LE(76),
    sitAt: raw.readUInt32LE(80),
    natAt: raw.readUInt32LE(84),
    mainAt: raw.readUInt32LE(92),
    checkpointPayload: raw.readUInt32LE(1664),
    specialNodes: [0, raw.readUInt32LE(100), raw.readUInt32LE(104)],
  };
}

/** The areas must follow each other without gaps: what lies between them would be nobody's. */
function checkAreas(raw: Buffer, sb: F2fsSuperblock): void {
  insist(sb.segmentBlocks === 512, `segments of ${sb.segmentBlocks} blocks are not known`);
  insist(sb.mainSegments > 0 && sb.mainSegments <= maxSegments, `${sb.mainSegments} segments make no sense`);
  insist(sb.checkpointSegments === 2 && sb.checkpointPayload < sb.segmentBlocks, 'its checkpoint area makes no sense');
  const ssaAt = raw.readUInt32LE(88);
  const ssaSegments = raw.readUInt32LE(64);
  const areas = [
    [sb.checkpointAt, sb.checkpointSegments, sb.sitAt],
    [sb.sitAt, sb.sitSegments, sb.natAt],
    [sb.natAt, sb.natSegments, ssaAt],
    [ssaAt, ssaSegments, sb.mainAt],
    [sb.mainAt, sb.mainSegments, sb.blocks],
  ] as const;
  insist(raw.readUInt32LE(72) === sb.checkpointAt && sb.checkpointAt >= 2, 'its checkpoint area makes no sense');
  for (const [at, segments, next] of areas) {
    const end = at + segments * sb.segmentBlocks;
    insist(segments > 0 && (next === sb.blocks ? end <= next : end === next), 'its areas do not follow each other');
  }
  insist(sb.sitSegments % 2 === 0 && sb.natSegments % 2 === 0, 'its SIT and NAT do not come in pairs');
}
