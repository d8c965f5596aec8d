/**
 * The label of an LVM2 physical volume and the header in it, which says where data and metadata areas stand.
 * Format: lvm2, lib/format_text/layout.h and lib/label/label.h (`struct label_header`, `struct pv_header`).
 */
import type { ByteRange, ImageSource } from '../../../image/contract.ts';
import { insist, peek, u64le } from '../bytes.ts';
import { crc32 } from '../crc32.ts';

const sectorBytes = 512;
/** The label may stand in any of the first four sectors. */
const labelSectors = 4;
/** All checksums of LVM2 start from this value. */
export const checksumStart = 0xf597a6cf;
/** The checksum covers the rest of the sector from here on. */
const checkedFrom = 20;
const idBytes = 32;
const extensionVersions = [1, 2];
const flagUsed = 0x1;

export interface PvLabel {
  /** As LVM writes it, with dashes. */
  readonly uuid: string;
  readonly size: number;
  /** Where extents may begin; metadata tells more. A length of 0 means up to the end. */
  readonly data: readonly ByteRange[];
  readonly metadata: readonly ByteRange[];
  readonly bootLoader: readonly ByteRange[];
  /** The volume belongs to a group, even where no metadata here says so. */
  readonly inUse: boolean;
}

/** The sector with the label; undefined when there is none. */
export async function readLabelSector(part: ImageSource): Promise<Buffer | undefined> {
  for (let number = 0; number < labelSectors; number++) {
    const sector = await peek(part, number * sectorBytes, sectorBytes);
    if (sector === undefined) return undefined;
    const found = sector.toString('latin1', 0, 8) === 'LABELONE' && sector.toString('latin1', 24, 32) === 'LVM2 001';
    if (found && u64le(sector, 8) === number) return sector;
  }
  return undefined;
}

/** UUID as LVM writes it; empty when the header lies outside the sector. */
export function uuidOf(sector: Buffer): string {
  const at = sector.readUInt32LE(20);
  if (at > sectorBytes - idBytes) return '';
  return sector
    .toString('latin1', at, at + idBytes)
    .replace(/^(.{6})(.{4})(.{4})(.{4})(.{4})(.{4})(.{6})$/s, '$1-$2-$3-$4-$5-$6-$7');
}

/** @throws NotMappableError for a wrong checksum, lists without end and an unknown extension. */
export function parseLabel(sector: Buffer): PvLabel {
  insist(
    sector.readUInt32LE(16) === crc32(checksumStart, sector.subarray(checkedFrom)),
    'the checksum of the LVM label is wrong',
  );
  const start = sector.readUInt32LE(20);
  insist(start >= 32 && start + idBytes + 8 <= sectorBytes, 'the LVM label makes no sense');
  let at = start + idBytes + 8;
  const list = (): ByteRange[] => {
    const ranges: ByteRange[] = [];
    for (; ; at += 16) {
      insist(at + 16 <= sectorBytes, 'a list of areas in the LVM label has no end');
      const offset = u64le(sector, at);
      if (offset === 0) break;
      const range = { offset, length: u64le(sector, at + 8) };
      insist(Number.isSafeInteger(range.offset + range.length), 'an area in the LVM label lies beyond every disk');
      ranges.push(range);
    }
    at += 16;
    return ranges;
  };
  const common = { uuid: uuidOf(sector), size: u64le(sector, start + idBytes), data: list(), metadata: list() };
  // Labels of old versions end here.
  const version = at + 8 <= sectorBytes ? sector.readUInt32LE(at) : 0;
  if (version === 0) return { ...common, bootLoader: [], inUse: false };
  insist(extensionVersions.includes(version), `version ${version} of the LVM label is not known`);
  const flags = sector.readUInt32LE(at + 4);
  insist((flags & ~flagUsed) === 0, `the LVM label has flags that are not known (0x${flags.toString(16)})`);
  at += 8;
  return { ...common, bootLoader: list(), inUse: (flags & flagUsed) !== 0 };
}
