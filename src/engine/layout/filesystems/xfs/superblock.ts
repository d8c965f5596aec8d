/**
 * The superblock of XFS, versions 4 and 5, and what it says about the file system's shape.
 * Format: "XFS Algorithms & Data Structures", chapters "Superblocks" and "Metadata Integrity". All numbers are big-endian but CRCs.
 */
import type { ImageSource } from '../../../image/contract.ts';
import { insist, peek, text, u64be, unknownBits, uuidText } from '../bytes.ts';
import { crc32c } from '../checksum.ts';

const version4Bits = { logV2: 0x400, extflg: 0x1000, moreBits: 0x8000 } as const;
/** attr, nlink, quota, align, dalign, logv2, sector, extflg, dirv2, borg, morebits: all but `shared`. */
const knownVersionBits = 0xfdf0;
/** lazysbcount, attr2, projid32, crc, ftype. */
const knownFeatures2 = 0x2 | 0x8 | 0x80 | 0x100 | 0x200;
const lazyCounters = 0x2;
/** finobt, rmapbt, reflink, inobtcount. */
const knownRoCompat = 0x1 | 0x2 | 0x4 | 0x8;
const metaUuid = 0x4;
const needsRepair = 0x10;
/**
 * ftype, spinodes, meta_uuid, bigtime, needsrepair (refused by name), nrext64, exchrange, parent. The last two add a log item and
 * attributes; free space is kept as without them.
 */
const knownIncompat = 0x1 | 0x2 | metaUuid | 0x8 | needsRepair | 0x20 | 0x40 | 0x80;
/** Known by name, and why they cannot be mapped. */
const refusedIncompat: readonly (readonly [bit: number, why: string])[] = [
  [0x100, 'it has a metadata directory (metadir)'],
  [0x200, 'it is zoned'],
];
const minAgBlocks = 64;
/** XFS_MAX_LOG_BYTES of the kernel, which no tool exceeds. */
const maxLogBytes = 2 ** 31;

export interface XfsSuperblock {
  readonly version: 4 | 5;
  readonly blockSize: number;
  readonly sectorSize: number;
  readonly blocks: number;
  readonly agBlocks: number;
  readonly agCount: number;
  readonly agBlockLog: number;
  readonly logStart: number;
  readonly logBlocks: number;
  readonly logVersion: 1 | 2;
  readonly freeBlocks: number;
  readonly lazyCounters: boolean;
  /** The UUID that users see and that the log carries. */
  readonly uuid: Buffer;
  /** The UUID that metadata blocks of version 5 carry. */
  readonly metaUuid: Buffer;
}

export async function readRawSuperblock(part: ImageSource): Promise<Buffer | undefined> {
  const head = await peek(part, 0, 512);
  if (head === undefined || head.toString('latin1', 0, 4) !== 'XFSB') return undefined;
  const sectorSize = head.readUInt16BE(102);
  return sectorSize > 512 && sectorSize <= 32768 ? await peek(part, 0, sectorSize) : head;
}

export function describe(raw: Buffer, part: ImageSource): { uuid: string; label: string; size: number } {
  return { uuid: uuidText(raw, 32), label: text(raw, 108, 12), size: Math.min(u64be(raw, 8) * raw.readUInt32BE(4), part.size) };
}

/** CRC-32C over a metadata block whose own checksum field counts as zero. */
export function checksumFits(block: Buffer, at: number): boolean {
  let crc = crc32c(0xffffffff, block.subarray(0, at));
  crc = crc32c(crc, new Uint8Array(4));
  crc = crc32c(crc, block.subarray(at + 4));
  return ~crc >>> 0 === block.readUInt32LE(at);
}

/** @throws NotMappableError when a feature is not known, the shape is absurd, or log or data stand on another device. */
export function parseSuperblock(raw: Buffer, part: ImageSource): XfsSuperblock {
  const versionNumber = raw.readUInt16BE(100);
  const version = versionNumber & 0xf;
  insist(version === 4 || version === 5, `XFS version ${version} is not known`);
  const features = checkFeatures(raw, versionNumber);
  const blockSize = raw.readUInt32BE(4);
  const sectorSize = raw.readUInt16BE(102);
  const blocks = u64be(raw, 8);
  const agBlocks = raw.readUInt32BE(84);
  const agCount = raw.readUInt32BE(88);
  const agBlockLog = raw.readUInt8(124);

  insist(raw[126] === 0, 'the file system is not clean: its making or growing did not end (inprogress)');
  insist(raw[120] === Math.log2(blockSize) && blockSize >= 512 && blockSize <= 65536, `block size ${blockSize} makes no sense`);
  insist(
    raw[121] === Math.log2(sectorSize) && sectorSize >= 512 && sectorSize <= 32768 && sectorSize <= blockSize,
    `sector size ${sectorSize} makes no sense`,
  );
  insist(raw.length === sectorSize, 'the superblock lies outside the part');
  if (version === 5) insist(checksumFits(raw, 224), 'the checksum of the superblock is wrong');
  insist(agBlocks >= minAgBlocks && agBlockLog === Math.ceil(Math.log2(agBlocks)), `${agBlocks} blocks a group make no sense`);
  insist(agCount === Math.ceil(blocks / agBlocks), `${agCount} groups do not fit ${blocks} blocks`);
  insist(
    blocks * blockSize <= part.size,
    `the file system has ${blocks * blockSize} bytes, more than the part (${part.size} bytes)`,
  );
  insist(u64be(raw, 16) === 0, 'it has a realtime device');
  insist(u64be(raw, 48) !== 0, 'its log is on another device');
  const logStart = absoluteBlock(u64be(raw, 48), agBlockLog, agBlocks);
  const logBlocks = raw.readUInt32BE(96);
  insist(logBlocks > 0 && logStart + logBlocks <= blocks, 'its log lies outside the file system');
  insist(logBlocks * blockSize <= maxLogBytes, `a log of ${logBlocks} blocks makes no sense`);

  const uuid = raw.subarray(32, 48);
  return {
    version,
    blockSize,
    sectorSize,
    blocks,
    agBlocks,
    agCount,
    agBlockLog,
    logStart,
    logBlocks,
    logVersion: versionNumber & version4Bits.logV2 ? 2 : 1,
    freeBlocks: u64be(raw, 144),
    lazyCounters: features.lazyCounters,
    uuid,
    metaUuid: features.metaUuid ? raw.subarray(248, 264) : uuid,
  };
}

/** Block numbers of the whole file system have the group in their high bits. */
function absoluteBlock(number: number, agBlockLog: number, agBlocks: number): number {
  const group = Math.floor(number / 2 ** agBlockLog);
  const block = number % 2 ** agBlockLog;
  insist(block < agBlocks, `block number ${number} makes no sense`);
  return group * agBlocks + block;
}

function checkFeatures(raw: Buffer, versionNumber: number): { metaUuid: boolean; lazyCounters: boolean } {
  const strange: string[] = [];
  const check = (name: string, bits: string): void => {
    if (bits !== '') strange.push(`${name} ${bits}`);
  };
  const moreBits = (versionNumber & version4Bits.moreBits) !== 0;
  const features2 = raw.readUInt32BE(200);
  check('version', unknownBits(versionNumber & 0xfff0, knownVersionBits));
  if (moreBits) {
    check('features2', unknownBits(features2, knownFeatures2));
    insist(raw.readUInt32BE(204) === features2 || raw.readUInt32BE(204) === 0, 'the two copies of features2 differ');
  }
  const lazy = moreBits && (features2 & lazyCounters) !== 0;
  if ((versionNumber & 0xf) === 4) {
    insist(strange.length === 0, `feature flags are not known: ${strange.join(', ')}`);
    return { metaUuid: false, lazyCounters: lazy };
  }
  for (const [bit, why] of refusedIncompat) insist((raw.readUInt32BE(216) & bit) === 0, why);
  check('ro_compat', unknownBits(raw.readUInt32BE(212), knownRoCompat));
  check('incompat', unknownBits(raw.readUInt32BE(216), knownIncompat));
  insist(strange.length === 0, `feature flags are not known: ${strange.join(', ')}`);
  insist((raw.readUInt32BE(216) & needsRepair) === 0, 'the file system is not clean: it needs xfs_repair (needsrepair)');
  insist(
    raw.readUInt32BE(220) === 0,
    `the file system is not clean: its log has features 0x${raw.readUInt32BE(220).toString(16)}`,
  );
  return { metaUuid: (raw.readUInt32BE(216) & metaUuid) !== 0, lazyCounters: true };
}
