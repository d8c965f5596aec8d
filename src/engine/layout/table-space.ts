/** Room on a partitioned disk: where the table itself goes, what is free, where a profile partition can stand. */
import { randomUUID } from 'node:crypto';
import { type ByteRange, end } from '../image/contract.ts';
import { IntervalSet } from '../protect/intervals.ts';
import type { PartitionTable, TableEntry } from './contract.ts';
import { arraySectors } from './gpt-header.ts';
import { lastMbrSector } from './mbr.ts';
import { InvalidEntryError, TableDoesNotFitError } from './table-errors.ts';

export interface ArraySize {
  readonly count: number;
  readonly size: number;
}

/** 16 KiB: the least that the UEFI specification wants to be reserved. */
export const standardArray: ArraySize = { count: 128, size: 128 };

/** Bytes at which partitions begin by custom. */
const alignment = 1024 * 1024;
/** The gap before the first partition, behind every entry array of usual size: bytes 32 KiB to 1 MiB. */
export const gapRange: ByteRange = { offset: 32 * 1024, length: alignment - 32 * 1024 };

/** Sectors of a GPT that we write: array behind the header at the start, before the header at the end. */
export interface GptPlaces {
  readonly sectors: number;
  readonly arraySectors: number;
  /** First and last sector that are free for partitions. */
  readonly first: number;
  readonly last: number;
  readonly backupArray: number;
  readonly backupHeader: number;
}

/** @throws TableDoesNotFitError when the disk has no sector left between both copies. */
export function gptPlaces(array: ArraySize, sectorSize: number, diskSize: number): GptPlaces {
  const sectors = Math.floor(diskSize / sectorSize);
  const length = arraySectors(array.count, array.size, sectorSize);
  const places = {
    sectors,
    arraySectors: length,
    first: 2 + length,
    last: sectors - 2 - length,
    backupArray: sectors - 1 - length,
    backupHeader: sectors - 1,
  };
  if (places.last < places.first) {
    throw new TableDoesNotFitError(`a disk of ${diskSize} bytes is too small for a GPT of ${array.count} entries`, {
      diskSize,
      entries: array.count,
    });
  }
  return places;
}

/** The bytes that a GPT of this size takes on a disk of `diskSize` bytes, sector 0 included. */
export function gptRanges(array: ArraySize, sectorSize: number, diskSize: number): readonly ByteRange[] {
  const places = gptPlaces(array, sectorSize, diskSize);
  return [
    { offset: 0, length: places.first * sectorSize },
    { offset: places.backupArray * sectorSize, length: (places.arraySectors + 1) * sectorSize },
  ];
}

/**
 * A GPT without entries for a disk of `diskSize` bytes, for `profile init`. Everything between its copies is usable; `diskId` is drawn
 * unless given.
 *
 * @throws TableDoesNotFitError
 */
export function blankTable(
  diskSize: number,
  sectorSize: number,
  kind: 'gpt' = 'gpt',
  diskId: string = randomUUID(),
): PartitionTable {
  const places = gptPlaces(standardArray, sectorSize, diskSize);
  return {
    kind,
    sectorSize,
    diskId: diskId.toUpperCase(),
    firstUsable: places.first,
    lastUsable: places.last,
    entries: [],
    repairs: [],
    ownRanges: gptRanges(standardArray, sectorSize, diskSize),
    mbr: new Uint8Array(sectorSize),
    array: standardArray,
  };
}

/** Bytes of an entry on its disk. */
export function entryRange(entry: Place, sectorSize: number): ByteRange {
  return { offset: entry.firstSector * sectorSize, length: (entry.lastSector - entry.firstSector + 1) * sectorSize };
}

/** Everything that is neither in an entry nor part of the table itself (sector 0 included). Bytes. */
export function unpartitionedRanges(table: PartitionTable, diskSize: number): IntervalSet {
  return IntervalSet.of({ offset: 0, length: diskSize })
    .subtract(IntervalSet.of(...table.entries.map((entry) => entryRange(entry, table.sectorSize))))
    .subtract(IntervalSet.of({ offset: 0, length: table.sectorSize }, ...table.ownRanges));
}

/** Sectors, inclusive. */
export interface Place {
  readonly firstSector: number;
  readonly lastSector: number;
}

/**
 * Where a profile partition of 992 KiB can stand: in the gap before the first partition (bytes 32 KiB to 1 MiB), else at the last
 * 1 MiB boundary from which the disk's end is free. Undefined when both are taken, and for MBR disks, whose gap belongs to the loader.
 * The place is free as far as the table knows: what boards keep in the gap outside every partition (a raw boot loader) the caller must look for.
 */
export function placeInGap(table: PartitionTable, diskSize: number): Place | undefined {
  if (table.kind !== 'gpt') return undefined;
  const { sectorSize } = table;
  const places = gptPlaces(table.array ?? standardArray, sectorSize, diskSize);
  const sectors = gapRange.length / sectorSize;
  const tail = Math.floor(((places.last + 1) * sectorSize - gapRange.length) / alignment) * alignment;
  for (const start of [gapRange.offset, tail]) {
    const place = { firstSector: start / sectorSize, lastSector: start / sectorSize + sectors - 1 };
    if (place.firstSector < places.first || place.lastSector > places.last) continue;
    if (!table.entries.some((entry) => entry.firstSector <= place.lastSector && place.firstSector <= entry.lastSector))
      return place;
  }
  return undefined;
}

/** The highest number that no entry has. */
export function highestFreeNumber(table: PartitionTable): number | undefined {
  const taken = new Set(table.entries.map((entry) => entry.number));
  if (table.extended) taken.add(table.extended.number);
  for (let number = tableSlots(table); number >= 1; number--) if (!taken.has(number)) return number;
  return undefined;
}

/** Primary ones; logical partitions of an MBR table have numbers beyond. */
export function tableSlots(table: PartitionTable): number {
  return table.kind === 'mbr' ? 4 : (table.array ?? standardArray).count;
}

/**
 * First and last sector that a partition of this table may take on a disk of `diskSize` bytes once the table is written there.
 *
 * @throws TableDoesNotFitError
 */
export function usableSectors(table: PartitionTable, diskSize: number): Place {
  if (table.kind === 'mbr') return { firstSector: 1, lastSector: lastMbrSector(diskSize, table.sectorSize) };
  const places = gptPlaces(table.array ?? standardArray, table.sectorSize, diskSize);
  return { firstSector: places.first, lastSector: places.last };
}

/** FirstUsable of a table on this disk: what it was, or right behind the entry array when that or an entry stands in the way. */
export function firstUsableSector(table: PartitionTable, diskSize: number): number {
  const { firstSector, lastSector } = usableSectors(table, diskSize);
  const lowest = Math.min(lastSector + 1, ...table.entries.map((entry) => entry.firstSector));
  return table.firstUsable > lowest || table.firstUsable < firstSector ? firstSector : table.firstUsable;
}

/** Widest range of `free` in whole sectors inside `bounds`; begins at a 1 MiB boundary where that leaves something. */
export function widestPlace(free: IntervalSet, bounds: Place, sectorSize: number): Place | undefined {
  const window = IntervalSet.of({
    offset: bounds.firstSector * sectorSize,
    length: (bounds.lastSector - bounds.firstSector + 1) * sectorSize,
  });
  let best: Place | undefined;
  for (const range of free.intersect(window)) {
    const lastSector = Math.floor(end(range) / sectorSize) - 1;
    const aligned = (Math.ceil(range.offset / alignment) * alignment) / sectorSize;
    const firstSector = aligned <= lastSector ? aligned : Math.ceil(range.offset / sectorSize);
    if (firstSector > lastSector) continue;
    if (!best || lastSector - firstSector > best.lastSector - best.firstSector) best = { firstSector, lastSector };
  }
  return best;
}

/** @throws InvalidEntryError unless the entry's sectors are whole numbers in order and inside `bounds`. */
export function checkBounds(entry: TableEntry, bounds: Place): void {
  const { firstSector, lastSector } = entry;
  if (!Number.isSafeInteger(firstSector) || !Number.isSafeInteger(lastSector) || lastSector < firstSector) {
    throw new InvalidEntryError(entry, `sectors ${firstSector} to ${lastSector} are no range`);
  }
  if (firstSector < bounds.firstSector || lastSector > bounds.lastSector) {
    throw new InvalidEntryError(
      entry,
      `sectors ${firstSector} to ${lastSector} leave the usable sectors ${bounds.firstSector} to ${bounds.lastSector}`,
    );
  }
}
