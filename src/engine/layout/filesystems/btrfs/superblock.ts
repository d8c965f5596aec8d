/**
 * The superblock of btrfs, and whether the file system is one that can be mapped.
 * Format: btrfs documentation, "On-disk format", section "Superblock"; names of flags are the kernel's. All numbers are little-endian.
 */
import type { ByteRange, ImageSource } from '../../../image/contract.ts';
import { insist, isPowerOfTwo, peek, text, u64le, unknownBits, uuidText } from '../bytes.ts';
import { type Verify, verifier } from './checksum.ts';

const superblockOffset = 64 << 10;
const superblockSize = 4096;
/** Where copies of the superblock stand, as far as the device reaches. */
const mirrorOffsets = [64 * 2 ** 20, 256 * 2 ** 30];
const magic = '_BHRfS_M';
const sysArrayOffset = 0x32b;
const sysArraySize = 2048;

const flags = { written: 0x1, reloc: 0x2, error: 0x4 } as const;
/** In the high word of the flags. */
const seeding = 0x1;

const compatRo = { freeSpaceTree: 0x1, freeSpaceTreeValid: 0x2, verity: 0x4, blockGroupTree: 0x8 } as const;
const incompat = {
  mixedBackref: 0x1,
  defaultSubvol: 0x2,
  mixedGroups: 0x4,
  compressLzo: 0x8,
  compressZstd: 0x10,
  bigMetadata: 0x20,
  extendedIref: 0x40,
  skinnyMetadata: 0x100,
  noHoles: 0x200,
  metadataUuid: 0x400,
  simpleQuota: 0x10000,
} as const;
/** Known by name, and why they cannot be mapped. */
const refusedIncompat: readonly (readonly [bit: number, why: string])[] = [
  [0x80, 'it has block groups of RAID 5 or 6'],
  [0x800, 'it has block groups of three or four copies'],
  [0x1000, 'it is zoned'],
  [0x2000, 'its extent tree is of version 2'],
  [0x4000, 'it has a RAID stripe tree'],
];
const all = (words: Readonly<Record<string, number>>): number => Object.values(words).reduce((a, b) => a | b, 0);

/** A tree: where its root block stands and what that block must say. */
export interface TreeRoot {
  /** Logical byte address. */
  readonly address: number;
  readonly level: number;
  readonly generation: number;
  /** Object id of the tree, which its blocks name as their owner. */
  readonly owner: number;
}

export interface BtrfsSuperblock {
  readonly verify: Verify;
  readonly sectorSize: number;
  readonly nodeSize: number;
  /** What every tree block carries as the file system's UUID. */
  readonly blockUuid: Buffer;
  readonly chunkRoot: TreeRoot;
  readonly rootTree: TreeRoot;
  readonly deviceId: number;
  /** Bytes of the device that the file system takes. */
  readonly deviceSize: number;
  /** Bytes in use, all copies of a block counted once. */
  readonly bytesUsed: number;
  readonly blockGroupTree: boolean;
  /** System chunks, as items of the chunk tree: key and chunk by turns. */
  readonly sysChunks: Buffer;
}

/** Object ids of trees. */
export const treeId = { root: 1, extent: 2, chunk: 3, blockGroup: 11 } as const;

/** The raw superblock when the magic is there. */
export async function readRawSuperblock(part: ImageSource): Promise<Buffer | undefined> {
  const raw = await peek(part, superblockOffset, superblockSize);
  return raw !== undefined && raw.toString('latin1', 64, 72) === magic ? raw : undefined;
}

export function describe(raw: Buffer, part: ImageSource): { uuid: string; label: string; size: number } {
  return { uuid: uuidText(raw, 0x20), label: text(raw, 0x12b, 256), size: Math.min(u64le(raw, 0x70), part.size) };
}

/** A sentence when something was written that the trees do not know of yet. */
export function whyUnclean(raw: Buffer): string | undefined {
  if (u64le(raw, 0x60) !== 0) return 'its log was not replayed (log_root is set)';
  if (raw.readUInt32LE(0x38) & flags.error) return 'it has noted errors; run btrfs check';
  return undefined;
}

/** @throws NotMappableError when it is unclean, unknown, absurd, or lies on several devices. */
export function parseSuperblock(raw: Buffer, part: ImageSource): BtrfsSuperblock {
  const verify = verifier(raw.readUInt16LE(0xc4));
  insist(verify(raw), 'the checksum of the superblock is wrong');
  insist(u64le(raw, 0x30) === superblockOffset, 'the superblock says that it is another copy');
  checkFeatures(raw);
  const unclean = whyUnclean(raw);
  insist(unclean === undefined, `the file system is not clean: ${unclean}`);
  const devices = u64le(raw, 0x88);
  insist(devices === 1, `it lies on ${devices} devices`);

  const sectorSize = raw.readUInt32LE(0x90);
  const nodeSize = raw.readUInt32LE(0x94);
  const sized = (size: number, least: number): boolean => isPowerOfTwo(size) && size >= least && size <= 65536;
  insist(sized(sectorSize, 512), `sector size ${sectorSize} makes no sense`);
  insist(sized(nodeSize, Math.max(4096, sectorSize)), `node size ${nodeSize} makes no sense`);
  const deviceSize = u64le(raw, 0xc9 + 8);
  insist(deviceSize <= part.size, `the file system has ${deviceSize} bytes, more than the part (${part.size} bytes)`);
  insist(deviceSize >= superblockOffset + superblockSize, `a size of ${deviceSize} bytes makes no sense`);
  insist(u64le(raw, 0x70) === deviceSize, `it has ${u64le(raw, 0x70)} bytes, its device ${deviceSize}`);
  const arraySize = raw.readUInt32LE(0xa0);
  insist(arraySize <= sysArraySize, `a system chunk array of ${arraySize} bytes makes no sense`);

  const uuid = raw.subarray(0x20, 0x30);
  const blockUuid = raw.readUInt32LE(0xbc) & incompat.metadataUuid ? raw.subarray(0x23b, 0x24b) : uuid;
  insist(raw.subarray(0xc9 + 82, 0xc9 + 98).equals(blockUuid), 'its device belongs to another file system');
  const generation = u64le(raw, 0x48);
  return {
    verify,
    sectorSize,
    nodeSize,
    blockUuid,
    chunkRoot: {
      address: u64le(raw, 0x58),
      level: raw.readUInt8(0xc7),
      generation: u64le(raw, 0xa4),
      owner: treeId.chunk,
    },
    rootTree: { address: u64le(raw, 0x50), level: raw.readUInt8(0xc6), generation, owner: treeId.root },
    deviceId: u64le(raw, 0xc9),
    deviceSize,
    bytesUsed: u64le(raw, 0x78),
    blockGroupTree: (raw.readUInt32LE(0xb4) & compatRo.blockGroupTree) !== 0,
    sysChunks: raw.subarray(sysArrayOffset, sysArrayOffset + arraySize),
  };
}

function checkFeatures(raw: Buffer): void {
  const high = raw.readUInt32LE(0x3c);
  insist((high & seeding) === 0, 'it is a seed, which other devices may grow from');
  const strange: string[] = [];
  const check = (name: string, offset: number, known: number): void => {
    const bits = unknownBits(raw.readUInt32LE(offset), known);
    if (bits !== '') strange.push(`${name} ${bits}`);
    const highBits = raw.readUInt32LE(offset + 4);
    if (highBits !== 0) strange.push(`${name} 0x${highBits.toString(16)}00000000`);
  };
  for (const [bit, why] of refusedIncompat) insist((raw.readUInt32LE(0xbc) & bit) === 0, why);
  check('flag', 0x38, all(flags));
  check('compat_ro', 0xb4, all(compatRo));
  check('incompat', 0xbc, all(incompat));
  insist(strange.length === 0, `feature flags are not known: ${strange.join(', ')}`);
  insist((raw.readUInt32LE(0xbc) & incompat.mixedBackref) !== 0, 'its extent tree is older than Linux 2.6.31');
}

/** Where superblocks stand on the device. */
export function superblockRanges(sb: BtrfsSuperblock): ByteRange[] {
  return [superblockOffset, ...mirrorOffsets]
    .filter((offset) => offset + superblockSize <= sb.deviceSize)
    .map((offset) => ({ offset, length: superblockSize }));
}
