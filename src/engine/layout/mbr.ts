/**
 * The DOS partition table in sector 0: four entries at byte 446, signature 55 AA at byte 510, disk signature at byte 440.
 * An entry: 0 status (80 active), 1 CHS start, 4 type, 5 CHS end, 8 first sector, 12 number of sectors.
 * Sources: UEFI specification 2.10 section 5.2 (also for the protective entry), and what Linux' block/partitions/msdos.c accepts.
 */
import type { ByteRange } from '../image/contract.ts';
import type { HybridEntry, PartitionTable, TableEntry } from './contract.ts';
import { overlapping } from './gpt-entries.ts';
import type { LogicalPartitions } from './mbr-extended.ts';
import { entryLabel, sectorRange } from './table-text.ts';

export const mbrEntryOffset = 446;
export const mbrEntrySize = 16;
export const mbrSlots = 4;
export const mbrDiskIdOffset = 440;
export const bootCodeSize = 440;
export const activeFlag = 0x80n;
export const protectiveType = 'EE';
export const extendedTypes: ReadonlySet<string> = new Set(['05', '0F', '85']);
/** The first number of a logical partition. */
export const firstLogical = 5;
/** Both fields of an entry have 32 bits. */
export const maxMbrSector = 0xffff_ffff;

export interface BootSector {
  /** All of the first 512 bytes are zero. */
  readonly blank: boolean;
  /** Entries of any type but the protective one. */
  readonly entries: readonly TableEntry[];
  /** All entries as they stand, when one is protective. */
  readonly hybrid: readonly HybridEntry[];
  readonly protective: boolean;
  /** `table`: a partition table; `bad`: one that contradicts itself; `none`: anything else, also a file system's boot sector. */
  readonly verdict: 'table' | 'bad' | 'none';
  readonly problems: readonly string[];
  /** 8 hex digits, lower case as the kernel writes a PARTUUID. */
  readonly diskId: string;
}

/**
 * Judges sector 0 (at least 512 bytes) of a disk of `sectors` sectors.
 *
 * Without the signature, or with a status byte other than 00 and 80, it is no table (the kernel says the same). A boot sector of
 * FAT, NTFS or exFAT carries the signature too: it counts as a table only when its entries make sense. A table without
 * entries is one when it has a disk signature and is no such boot sector.
 */
export function readBootSector(sector: Uint8Array, sectors: number): BootSector {
  const view = new DataView(sector.buffer, sector.byteOffset, sector.byteLength);
  const diskId = view.getUint32(mbrDiskIdOffset, true).toString(16).padStart(8, '0');
  const nothing = { entries: [], hybrid: [], protective: false, verdict: 'none', problems: [], diskId } as const;
  if (sector.subarray(0, 512).every((byte) => byte === 0)) return { ...nothing, blank: true };
  if (sector[510] !== 0x55 || sector[511] !== 0xaa) return { ...nothing, blank: false };

  const all: TableEntry[] = [];
  for (let slot = 0; slot < mbrSlots; slot++) {
    const at = mbrEntryOffset + slot * mbrEntrySize;
    const status = view.getUint8(at);
    if (status !== 0 && status !== 0x80) return { ...nothing, blank: false };
    const type = view.getUint8(at + 4);
    const count = view.getUint32(at + 12, true);
    if (type === 0) continue;
    const firstSector = view.getUint32(at + 8, true);
    all.push({
      number: slot + 1,
      firstSector,
      lastSector: firstSector + count - 1,
      type: type.toString(16).padStart(2, '0').toUpperCase(),
      guid: mbrPartUuid(diskId, slot + 1),
      name: '',
      attributes: BigInt(status),
    });
  }
  const protective = all.some((entry) => entry.type === protectiveType);
  const entries = all.filter((entry) => entry.type !== protectiveType);
  const problems = [...outOfBounds(entries, sectors), ...overlapping(entries)];
  const fileSystem = looksLikeFat(sector);
  const verdict =
    entries.length === 0
      ? diskId !== '00000000' && !fileSystem
        ? 'table'
        : 'none'
      : problems.length === 0
        ? 'table'
        : fileSystem
          ? 'none'
          : 'bad';
  const hybrid = protective ? all.map(hybridEntry) : [];
  return { blank: false, entries, hybrid, protective, verdict, problems, diskId };
}

function hybridEntry({ number, type, attributes, firstSector, lastSector }: TableEntry): HybridEntry {
  return { slot: number, type, active: attributes === activeFlag, firstSector, lastSector };
}

/** The MBR table of a boot sector whose verdict is `table`; `logical`: what its extended partition holds. */
export function mbrTable(
  boot: BootSector,
  sector: Uint8Array,
  size: number,
  sectorSize: number,
  notes: readonly string[],
  logical?: LogicalPartitions,
): PartitionTable {
  const active = boot.entries.filter((entry) => entry.attributes === activeFlag);
  const repairs = [...notes];
  if (active.length > 1) repairs.push(`${active.map(entryLabel).join(' and ')} are all marked active`);
  return {
    kind: 'mbr',
    sectorSize,
    diskId: boot.diskId,
    firstUsable: 1,
    lastUsable: lastMbrSector(size, sectorSize),
    entries: [...boot.entries.filter(({ type }) => !extendedTypes.has(type)), ...(logical?.entries ?? [])],
    repairs: [...repairs, ...(logical?.notes ?? [])],
    ownRanges: mbrRanges(logical?.records ?? [], sectorSize),
    mbr: sector,
    ...(logical === undefined ? {} : { extended: logical.extended }),
  };
}

/** Sector 0 and the extended boot records, which stand in these sectors. */
export function mbrRanges(records: readonly number[], sectorSize: number): ByteRange[] {
  const sectors = [...new Set([0, ...records])].sort((a, b) => a - b);
  return sectors.map((sector) => ({ offset: sector * sectorSize, length: sectorSize }));
}

/** The last sector that an entry can reach on a disk of `size` bytes. */
export function lastMbrSector(size: number, sectorSize: number): number {
  return Math.min(Math.floor(size / sectorSize) - 1, 2 * maxMbrSector - 1);
}

/** What the kernel calls the partition: disk signature and number, as `5eed0001-02`. */
export function mbrPartUuid(diskId: string, number: number): string {
  return `${diskId}-${number.toString(16).padStart(2, '0')}`;
}

function outOfBounds(entries: readonly TableEntry[], sectors: number): string[] {
  const problems: string[] = [];
  for (const entry of entries) {
    if (entry.lastSector < entry.firstSector) problems.push(`${entryLabel(entry)} is empty`);
    else if (entry.firstSector === 0) problems.push(`${entryLabel(entry)} covers the partition table in sector 0`);
    else if (entry.lastSector >= sectors) {
      problems.push(`${entryLabel(entry)}, ${sectorRange(entry)}, leaves the disk of ${sectors} sectors`);
    }
  }
  return problems;
}

/** A BIOS parameter block as FAT, HPFS, NTFS and exFAT have it (Microsoft's FAT specification, section 3). */
function looksLikeFat(sector: Uint8Array): boolean {
  const name = new TextDecoder('latin1').decode(sector.subarray(3, 11));
  if (name === 'EXFAT   ' || name === 'NTFS    ') return true;
  const view = new DataView(sector.buffer, sector.byteOffset, sector.byteLength);
  const bytesPerSector = view.getUint16(11, true);
  const sectorsPerCluster = view.getUint8(13);
  const media = view.getUint8(21);
  const jump = sector[0] === 0xeb || sector[0] === 0xe9;
  return (
    jump &&
    [512, 1024, 2048, 4096].includes(bytesPerSector) &&
    sectorsPerCluster > 0 &&
    (sectorsPerCluster & (sectorsPerCluster - 1)) === 0 &&
    view.getUint16(14, true) > 0 &&
    view.getUint8(16) > 0 &&
    (media === 0xf0 || media >= 0xf8)
  );
}
