/** Partition tables as bytes to write: whole sectors, right checksums, the backup at the end of the disk. */
import { crc32 } from 'node:zlib';
import type { PartitionTable } from './contract.ts';
import { findIncomplete } from './fence-table.ts';
import { encodeEntries } from './gpt-entries.ts';
import { encodeHeader } from './gpt-header.ts';
import {
  bootCodeSize,
  firstLogical,
  maxMbrSector,
  mbrDiskIdOffset,
  mbrEntryOffset,
  mbrEntrySize,
  mbrSlots,
  protectiveType,
} from './mbr.ts';
import { encodeMbrEntry, encodeRecords } from './mbr-extended.ts';
import { checkTable } from './table-check.ts';
import { firstUsableSector, gptPlaces, standardArray } from './table-space.ts';

/** Bytes for the target at `offset` bytes; both are multiples of the sector size. */
export interface Write {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** To be written group by group in this order, each made durable before the next; within a group in order. */
export interface TableWrites {
  readonly backup: readonly Write[];
  /** GPT: at the start of the disk. MBR: the boot records of logical partitions. */
  readonly primary: readonly Write[];
  /** Sector 0: the protective or hybrid MBR with the boot code, or the MBR table itself. */
  readonly mbr: readonly Write[];
  /** Zeros over what a former GPT leaves behind; empty without `previous`. */
  readonly obsolete: readonly Write[];
}

export interface EncodeOptions {
  /** First bytes of sector 0, at most 440, as `table.mbr.subarray(0, 440)` has them. Default: zeros; a fence brings its own. */
  readonly bootCode?: Uint8Array;
  /**
   * The table that was there, when a GPT gives way to an MBR table: its headers are zeroed. Only for the fence: at the commit,
   * copied bytes may stand there.
   */
  readonly previous?: PartitionTable;
}

/**
 * The writes that put `table` on a disk of `diskSize` bytes.
 *
 * GPT: FirstUsable is the table's, or the end of the entry array when an entry begins before it; LastUsable is the last sector before the backup. Every header field
 * is computed for this disk; the table's own positions of headers do not matter.
 *
 * @throws InvalidEntryError, PartsCollideError, TableDoesNotFitError when the table cannot stand on this disk
 */
export function encodeTable(table: PartitionTable, diskSize: number, options: EncodeOptions = {}): TableWrites {
  checkTable(table, diskSize);
  const bootCode = findIncomplete(table) ? table.mbr : (options.bootCode ?? new Uint8Array(0));
  if (table.kind === 'mbr') {
    const mbr = encodeMbr(table, bootCode);
    const records = encodeRecords(table, bootCode.length > 0 && !findIncomplete(table));
    return { backup: [], primary: records, mbr: [{ offset: 0, bytes: mbr }], obsolete: obsoleteWrites(options.previous) };
  }

  const { sectorSize } = table;
  const array = table.array ?? standardArray;
  const places = gptPlaces(array, sectorSize, diskSize);
  const packed = encodeEntries(table.entries, array.count, array.size);
  const padded = new Uint8Array(places.arraySectors * sectorSize);
  padded.set(packed);
  const common = {
    firstUsable: firstUsableSector(table, diskSize),
    lastUsable: places.last,
    diskGuid: table.diskId,
    entryCount: array.count,
    entrySize: array.size,
    arrayCrc: crc32(packed),
  };
  const primary = encodeHeader({ ...common, myLba: 1, alternateLba: places.backupHeader, arrayLba: 2 }, sectorSize);
  const backup = encodeHeader(
    { ...common, myLba: places.backupHeader, alternateLba: 1, arrayLba: places.backupArray },
    sectorSize,
  );
  return {
    backup: [
      { offset: places.backupArray * sectorSize, bytes: padded },
      { offset: places.backupHeader * sectorSize, bytes: backup },
    ],
    primary: [
      { offset: 2 * sectorSize, bytes: padded },
      { offset: sectorSize, bytes: primary },
    ],
    mbr: [{ offset: 0, bytes: protectiveMbr(table, places.sectors, bootCode) }],
    obsolete: [],
  };
}

/** UEFI specification 2.10, section 5.2.3. The active flag of a protective entry that some BIOSes want goes with the boot code. */
function protectiveMbr(table: PartitionTable, sectors: number, bootCode: Uint8Array): Uint8Array {
  const sector = bootSector(table.sectorSize, bootCode);
  if (table.hybrid) {
    // The signature by which BIOS-booted systems name the disk; a plain protective MBR has none.
    sector.set(table.mbr.subarray(mbrDiskIdOffset, mbrEntryOffset), mbrDiskIdOffset);
    for (const entry of table.hybrid) encodeMbrEntry(sector, entry.slot - 1, entry);
    return sector;
  }
  const view = new DataView(sector.buffer);
  const active = bootCode.length > 0 && activeProtective(table.mbr);
  sector.set([active ? 0x80 : 0, 0x00, 0x02, 0x00, Number.parseInt(protectiveType, 16), 0xff, 0xff, 0xff], mbrEntryOffset);
  view.setUint32(mbrEntryOffset + 8, 1, true);
  view.setUint32(mbrEntryOffset + 12, Math.min(sectors - 1, maxMbrSector), true);
  return sector;
}

function activeProtective(mbr: Uint8Array): boolean {
  for (let slot = 0; slot < mbrSlots; slot++) {
    const at = mbrEntryOffset + slot * mbrEntrySize;
    if (mbr[at] === 0x80 && mbr[at + 4] === Number.parseInt(protectiveType, 16)) return true;
  }
  return false;
}

function encodeMbr(table: PartitionTable, bootCode: Uint8Array): Uint8Array {
  const sector = bootSector(table.sectorSize, bootCode);
  new DataView(sector.buffer).setUint32(mbrDiskIdOffset, Number.parseInt(table.diskId, 16), true);
  for (const entry of table.entries) {
    if (entry.number < firstLogical) encodeMbrEntry(sector, entry.number - 1, { ...entry, active: entry.attributes !== 0n });
  }
  const { extended } = table;
  if (extended) encodeMbrEntry(sector, extended.number - 1, { ...extended, active: extended.attributes !== 0n });
  return sector;
}

function bootSector(sectorSize: number, bootCode: Uint8Array): Uint8Array {
  const sector = new Uint8Array(sectorSize);
  sector.set(bootCode.subarray(0, bootCodeSize));
  sector.set([0x55, 0xaa], 510);
  return sector;
}

function obsoleteWrites(previous: PartitionTable | undefined): Write[] {
  if (previous?.kind !== 'gpt') return [];
  return previous.ownRanges
    .filter((range) => range.offset > 0)
    .map((range) => ({ offset: range.offset, bytes: new Uint8Array(range.length) }));
}
