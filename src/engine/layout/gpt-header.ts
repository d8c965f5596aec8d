/**
 * The GPT header: one sector at each end of the disk (UEFI specification 2.10, section 5.3.2).
 * All positions are sectors (LBA) of the disk's logical sector size. Fields, little-endian:
 * 0 signature, 8 revision, 12 header size, 16 header CRC-32, 24 own LBA, 32 other header's LBA, 40 first and 48 last usable LBA,
 * 56 disk GUID, 72 entry array LBA, 80 entry count, 84 entry size, 88 entry array CRC-32.
 */
import { crc32 } from 'node:zlib';
import { readGuid, writeGuid } from './gpt-guid.ts';

export const gptSignature = 'EFI PART';
export const minHeaderSize = 92;
const revision1 = 0x00010000;

/** Bounds that we set: real disks have 128 entries of 128 bytes, a few have some hundred. */
export const maxEntryCount = 1024;
export const maxEntrySize = 1024;
export const minEntrySize = 128;

export interface GptHeader {
  readonly myLba: number;
  readonly alternateLba: number;
  readonly firstUsable: number;
  readonly lastUsable: number;
  readonly diskGuid: string;
  readonly arrayLba: number;
  readonly entryCount: number;
  readonly entrySize: number;
  readonly arrayCrc: number;
}

export interface ParsedHeader {
  /** Whether the sector begins with the signature at all. */
  readonly present: boolean;
  /** Absent when anything in the header is wrong. */
  readonly header?: GptHeader;
  readonly problems: readonly string[];
  /** Where a header that is present claims the other one to be; not trusted. */
  readonly alternateHint?: number;
  /** Set when the header is intact but made for a disk of at least so many sectors, more than there are. */
  readonly sectorsNeeded?: number;
}

/** Sectors that an entry array takes. */
export function arraySectors(count: number, size: number, sectorSize: number): number {
  return Math.ceil((count * size) / sectorSize);
}

/**
 * Reads and checks the header in `sector`, which was read from LBA `lba` of a disk of `sectors` sectors.
 * Never throws; what is wrong is in `problems`.
 */
export function parseHeader(sector: Uint8Array, lba: number, sectors: number): ParsedHeader {
  if (new TextDecoder('latin1').decode(sector.subarray(0, 8)) !== gptSignature) {
    return { present: false, problems: ['no GPT signature'] };
  }
  const view = new DataView(sector.buffer, sector.byteOffset, sector.byteLength);
  const alternateHint = lbaAt(view, 32);
  const bad = (...problems: string[]): ParsedHeader => ({ present: true, problems, alternateHint });

  const revision = view.getUint32(8, true);
  if (revision !== revision1) return bad(`unknown revision 0x${revision.toString(16).padStart(8, '0')}`);
  const headerSize = view.getUint32(12, true);
  if (headerSize < minHeaderSize || headerSize > sector.length) return bad(`absurd header size ${headerSize}`);
  if (headerCrc(sector, headerSize) !== view.getUint32(16, true)) return bad('bad header CRC');

  const header: GptHeader = {
    myLba: lbaAt(view, 24),
    alternateLba: alternateHint,
    firstUsable: lbaAt(view, 40),
    lastUsable: lbaAt(view, 48),
    diskGuid: readGuid(sector, 56),
    arrayLba: lbaAt(view, 72),
    entryCount: view.getUint32(80, true),
    entrySize: view.getUint32(84, true),
    arrayCrc: view.getUint32(88, true),
  };
  const problems = headerProblems(header, lba, sectors, sector.length);
  const plausibleEnd = header.lastUsable < Number.MAX_SAFE_INTEGER / sector.length;
  const truncated = header.lastUsable >= sectors && plausibleEnd && header.myLba === lba;
  return {
    present: true,
    problems,
    alternateHint,
    ...(problems.length === 0 ? { header } : {}),
    ...(truncated ? { sectorsNeeded: header.lastUsable + 1 } : {}),
  };
}

/** A whole sector holding `header`, with its CRC. */
export function encodeHeader(header: GptHeader, sectorSize: number): Uint8Array {
  const sector = new Uint8Array(sectorSize);
  const view = new DataView(sector.buffer);
  sector.set(new TextEncoder().encode(gptSignature));
  view.setUint32(8, revision1, true);
  view.setUint32(12, minHeaderSize, true);
  view.setBigUint64(24, BigInt(header.myLba), true);
  view.setBigUint64(32, BigInt(header.alternateLba), true);
  view.setBigUint64(40, BigInt(header.firstUsable), true);
  view.setBigUint64(48, BigInt(header.lastUsable), true);
  writeGuid(sector, 56, header.diskGuid);
  view.setBigUint64(72, BigInt(header.arrayLba), true);
  view.setUint32(80, header.entryCount, true);
  view.setUint32(84, header.entrySize, true);
  view.setUint32(88, header.arrayCrc, true);
  view.setUint32(16, headerCrc(sector, minHeaderSize), true);
  return sector;
}

/** CRC-32 over the header with its own CRC field taken as zero. */
function headerCrc(sector: Uint8Array, headerSize: number): number {
  const copy = sector.slice(0, headerSize);
  copy.fill(0, 16, 20);
  return crc32(copy);
}

function headerProblems(header: GptHeader, lba: number, sectors: number, sectorSize: number): string[] {
  const problems: string[] = [];
  if (header.myLba !== lba) problems.push(`says that it stands at sector ${header.myLba}, but was found at ${lba}`);
  const doublings = Math.log2(header.entrySize / minEntrySize);
  if (!Number.isInteger(doublings) || header.entrySize < minEntrySize || header.entrySize > maxEntrySize) {
    problems.push(`absurd entry size ${header.entrySize} (128 to ${maxEntrySize}, doubling)`);
  }
  if (header.entryCount < 1 || header.entryCount > maxEntryCount) {
    problems.push(`absurd number of entries ${header.entryCount} (1 to ${maxEntryCount})`);
  }
  if (problems.length > 0) return problems;

  const { firstUsable, lastUsable, arrayLba, alternateLba } = header;
  if (firstUsable > lastUsable || firstUsable < 2 || lastUsable >= sectors) {
    problems.push(`absurd usable range: sectors ${firstUsable} to ${lastUsable} of a disk of ${sectors} sectors`);
  }
  if (alternateLba === lba || alternateLba === 0 || (alternateLba >= firstUsable && alternateLba <= lastUsable)) {
    problems.push(`absurd place of the other header: sector ${alternateLba}`);
  }
  const arrayEnd = arrayLba + arraySectors(header.entryCount, header.entrySize, sectorSize) - 1;
  const overHeader = arrayLba <= lba && arrayEnd >= lba;
  const overUsable = arrayLba <= lastUsable && arrayEnd >= firstUsable;
  if (arrayLba < 2 || arrayEnd >= sectors || overHeader || overUsable) {
    problems.push(`absurd place of the entry array: sectors ${arrayLba} to ${arrayEnd}`);
  }
  if (lba >= firstUsable && lba <= lastUsable) problems.push(`stands at sector ${lba}, inside its own usable range`);
  return problems;
}

/** Beyond 2^53 the number is not exact, but then it is far out of every disk and gets refused as such. */
function lbaAt(view: DataView, offset: number): number {
  return Number(view.getBigUint64(offset, true));
}
