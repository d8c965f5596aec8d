/**
 * The superblock of ext2, ext3 and ext4, and whether the file system may be trusted.
 * Format: kernel documentation "filesystems/ext4", section "Super Block".
 */
import type { ImageSource } from '../../../image/contract.ts';
import type { FileSystemInfo, FileSystemState } from '../../contract.ts';
import { insist, isPowerOfTwo, peek, text, unknownBits, uuidText } from '../bytes.ts';
import { crc32c } from '../checksum.ts';

export const superblockOffset = 1024;
const superblockSize = 1024;

export const compat = {
  preallocate: 0x1,
  imagic: 0x2,
  hasJournal: 0x4,
  extendedAttributes: 0x8,
  resizeInode: 0x10,
  directoryIndex: 0x20,
  sparseSuper2: 0x200,
  fastCommit: 0x400,
  stableInodes: 0x800,
  orphanFile: 0x1000,
} as const;
export const incompat = {
  filetype: 0x2,
  recover: 0x4,
  journalDevice: 0x8,
  metaBg: 0x10,
  extents: 0x40,
  is64bit: 0x80,
  mmp: 0x100,
  flexBg: 0x200,
  eaInode: 0x400,
  checksumSeed: 0x2000,
  largeDirectory: 0x4000,
  inlineData: 0x8000,
  encrypt: 0x10000,
  casefold: 0x20000,
} as const;
export const roCompat = {
  sparseSuper: 0x1,
  largeFile: 0x2,
  hugeFile: 0x8,
  groupChecksum: 0x10,
  dirNlink: 0x20,
  extraIsize: 0x40,
  quota: 0x100,
  bigalloc: 0x200,
  metadataChecksum: 0x400,
  readOnly: 0x1000,
  project: 0x2000,
  verity: 0x8000,
  orphanPresent: 0x10000,
} as const;

const all = (flags: Readonly<Record<string, number>>): number => Object.values(flags).reduce((a, b) => a | b, 0);
const knownCompat = all(compat);
const knownIncompat = all(incompat);
const knownRoCompat = all(roCompat);

/** s_state: cleanly unmounted, and nothing else noted. */
const stateValid = 1;
const stateErrors = 2;
/** crc32c is the only algorithm there is. */
const checksumTypeCrc32c = 1;
/** More groups than any real file system of up to 128 TiB has; bounds memory. */
const maxGroups = 1 << 20;

export interface ExtSuperblock {
  readonly raw: Buffer;
  readonly compat: number;
  readonly incompat: number;
  readonly roCompat: number;
  readonly blockSize: number;
  /** Blocks per cluster; 1 without bigalloc. */
  readonly clusterBlocks: number;
  readonly blocks: number;
  readonly freeBlocks: number;
  readonly firstDataBlock: number;
  readonly blocksPerGroup: number;
  readonly groups: number;
  readonly inodesPerGroup: number;
  readonly inodeSize: number;
  readonly descriptorSize: number;
  readonly reservedDescriptorBlocks: number;
  readonly firstMetaGroup: number;
  /** sparse_super2: the groups that hold the two backups; 0 for none. */
  readonly backupGroups: readonly [number, number];
  readonly mmpBlock: number;
  /** Seed of metadata_csum. */
  readonly checksumSeed: number;
  readonly uuid: Buffer;
}

/** The raw superblock when the magic is there. */
export async function readRawSuperblock(part: ImageSource): Promise<Buffer | undefined> {
  const raw = await peek(part, superblockOffset, superblockSize);
  return raw !== undefined && raw.readUInt16LE(0x38) === 0xef53 && raw.readUInt32LE(0x18) <= 6 ? raw : undefined;
}

/** Type, names and state as blkid would tell them, from a raw superblock. */
export function describe(raw: Buffer, part: ImageSource): FileSystemInfo {
  const blocks = raw.readUInt32LE(0x4) + (raw.readUInt32LE(0x60) & incompat.is64bit ? raw.readUInt32LE(0x150) * 2 ** 32 : 0);
  return {
    type: typeOf(raw),
    uuid: uuidText(raw, 0x68),
    label: text(raw, 0x78, 16),
    size: Math.min(blocks * 1024 * 2 ** raw.readUInt32LE(0x18), part.size),
    state: stateOf(raw),
  };
}

/** The names follow from the features: what ext2 or ext3 would not understand is ext4. */
function typeOf(raw: Buffer): string {
  const inc = raw.readUInt32LE(0x60);
  const ro = raw.readUInt32LE(0x64);
  if (inc & incompat.journalDevice) return 'jbd';
  const oldRo = roCompat.sparseSuper | roCompat.largeFile | 0x4;
  const journal = (raw.readUInt32LE(0x5c) & compat.hasJournal) !== 0;
  const oldInc = incompat.filetype | incompat.metaBg | (journal ? incompat.recover : 0);
  if (unknownBits(inc, oldInc) !== '' || unknownBits(ro, oldRo) !== '') return 'ext4';
  return journal ? 'ext3' : 'ext2';
}

function stateOf(raw: Buffer): FileSystemState {
  return whyUnclean(raw) === undefined ? 'clean' : 'unclean';
}

/** A sentence when the file system was not cleanly unmounted. */
export function whyUnclean(raw: Buffer): string | undefined {
  const state = raw.readUInt16LE(0x3a);
  if (raw.readUInt32LE(0x60) & incompat.recover) return 'its journal was not replayed (needs_recovery)';
  if (state & stateErrors) return 'it has noted errors; run e2fsck';
  if (state !== stateValid) return `it was not cleanly unmounted (state 0x${state.toString(16)})`;
  if (raw.readUInt32LE(0x64) & roCompat.orphanPresent) return 'it has orphaned files to clean up (orphan_present)';
  if (raw.readUInt32LE(0xe8) !== 0) return 'it has orphaned files to clean up (last orphan is set)';
  return undefined;
}

/** Reads every number that the used map depends on. @throws NotMappableError when unclean, unknown or absurd. */
export function parseSuperblock(raw: Buffer, part: ImageSource): ExtSuperblock {
  const features = { compat: raw.readUInt32LE(0x5c), incompat: raw.readUInt32LE(0x60), roCompat: raw.readUInt32LE(0x64) };
  const revision = raw.readUInt32LE(0x4c);
  insist(revision <= 1, `revision ${revision} is not known`);
  insist((features.incompat & incompat.journalDevice) === 0, 'it is an external journal');
  const unclean = whyUnclean(raw);
  insist(unclean === undefined, `the file system is not clean: ${unclean}`);
  const strange = [
    ['compat', unknownBits(features.compat, knownCompat)],
    ['incompat', unknownBits(features.incompat, knownIncompat)],
    ['ro_compat', unknownBits(features.roCompat, knownRoCompat)],
  ].filter(([, bits]) => bits !== '');
  insist(strange.length === 0, `feature flags are not known: ${strange.map((pair) => pair.join(' ')).join(', ')}`);

  const seed = verifyChecksum(raw, features);
  if (features.compat & compat.hasJournal) {
    insist(raw.readUInt32LE(0xe4) === 0 && raw.readUInt32LE(0xe0) !== 0, 'its journal is on another device');
  }
  return { raw, ...features, ...geometry(raw, features, part), checksumSeed: seed, uuid: raw.subarray(0x68, 0x78) };
}

type Features = Pick<ExtSuperblock, 'compat' | 'incompat' | 'roCompat'>;

function verifyChecksum(raw: Buffer, features: Features): number {
  const seed = features.incompat & incompat.checksumSeed ? raw.readUInt32LE(0x270) : crc32c(0xffffffff, raw.subarray(0x68, 0x78));
  if (features.roCompat & roCompat.metadataChecksum) {
    insist(raw[0x175] === checksumTypeCrc32c, `checksum type ${raw[0x175]} is not known`);
    insist(crc32c(0xffffffff, raw.subarray(0, 0x3fc)) === raw.readUInt32LE(0x3fc), 'the checksum of the superblock is wrong');
  }
  return seed;
}

function geometry(raw: Buffer, features: Features, part: ImageSource) {
  const is64bit = (features.incompat & incompat.is64bit) !== 0;
  const high = (offset: number): number => (is64bit ? raw.readUInt32LE(offset) * 2 ** 32 : 0);
  const bigalloc = (features.roCompat & roCompat.bigalloc) !== 0;
  const blockSize = 1024 << raw.readUInt32LE(0x18);
  const blocks = raw.readUInt32LE(0x4) + high(0x150);
  const firstDataBlock = raw.readUInt32LE(0x14);
  const blocksPerGroup = raw.readUInt32LE(0x20);
  const clusterShift = raw.readUInt32LE(0x1c) - raw.readUInt32LE(0x18);
  const clusterBlocks = bigalloc ? 2 ** clusterShift : 1;
  const inodesPerGroup = raw.readUInt32LE(0x28);
  const inodeSize = raw.readUInt32LE(0x4c) === 0 ? 128 : raw.readUInt16LE(0x58);
  const descriptorSize = is64bit ? raw.readUInt16LE(0xfe) : 32;

  insist(
    blocks * blockSize <= part.size,
    `the file system has ${blocks * blockSize} bytes, more than the part (${part.size} bytes)`,
  );
  const expectedFirst = blockSize === 1024 && !bigalloc ? 1 : 0;
  insist(firstDataBlock === expectedFirst && blocks > firstDataBlock + 1, `first data block ${firstDataBlock} makes no sense`);
  insist(!bigalloc || (clusterShift >= 0 && clusterShift <= 16), `cluster size 2^${clusterShift} blocks makes no sense`);
  const clustersPerGroup = blocksPerGroup / clusterBlocks;
  insist(
    blocksPerGroup >= 256 &&
      Number.isInteger(clustersPerGroup) &&
      clustersPerGroup % 8 === 0 &&
      clustersPerGroup <= blockSize * 8,
    `${blocksPerGroup} blocks a group make no sense`,
  );
  insist(
    !bigalloc || raw.readUInt32LE(0x24) === clustersPerGroup,
    `${raw.readUInt32LE(0x24)} clusters a group do not fit ${blocksPerGroup} blocks a group`,
  );
  insist(isPowerOfTwo(inodeSize) && inodeSize >= 128 && inodeSize <= blockSize, `inode size ${inodeSize} makes no sense`);
  insist(inodesPerGroup > 0 && inodesPerGroup <= blockSize * 8, `${inodesPerGroup} inodes a group make no sense`);
  insist(
    isPowerOfTwo(descriptorSize) && descriptorSize >= (is64bit ? 64 : 32) && descriptorSize <= 1024,
    `group descriptor size ${descriptorSize} makes no sense`,
  );
  const groups = Math.ceil((blocks - firstDataBlock) / blocksPerGroup);
  insist(groups <= maxGroups, `${groups} block groups are more than are read (${maxGroups})`);
  const firstMetaGroup = features.incompat & incompat.metaBg ? raw.readUInt32LE(0x104) : 0;
  const descriptorBlocks = Math.ceil((groups * descriptorSize) / blockSize);
  insist(firstMetaGroup <= descriptorBlocks, `first meta block group ${firstMetaGroup} makes no sense`);
  return {
    blockSize,
    clusterBlocks,
    blocks,
    freeBlocks: raw.readUInt32LE(0xc) + high(0x158),
    firstDataBlock,
    blocksPerGroup,
    groups,
    inodesPerGroup,
    inodeSize,
    descriptorSize,
    reservedDescriptorBlocks: raw.readUInt16LE(0xce),
    firstMetaGroup,
    backupGroups: [raw.readUInt32LE(0x24c), raw.readUInt32LE(0x250)] as const,
    mmpBlock: features.incompat & incompat.mmp ? raw.readUInt32LE(0x168) + raw.readUInt32LE(0x16c) * 2 ** 32 : 0,
  };
}
