/**
 * The fence: a valid table that a target carries from the first write of a duplication until its commit. It holds only what must stay
 * and a marker with the run's id, so that any host sees that the disk is not finished, and no firmware finds anything to boot.
 */
import type { ByteRange } from '../image/contract.ts';
import { IntervalSet } from '../protect/intervals.ts';
import type { Region } from '../protect/region.ts';
import type { ExtendedPartition, PartitionTable, TableEntry } from './contract.ts';
import { isGuid } from './gpt-guid.ts';
import { firstLogical, mbrPartUuid, mbrRanges, mbrSlots } from './mbr.ts';
import { lastFreeBefore } from './mbr-extended.ts';
import { InvalidEntryError, LogicalRecordError, TableDoesNotFitError, TableFullError } from './table-errors.ts';
import {
  entryRange,
  gptRanges,
  highestFreeNumber,
  type Place,
  standardArray,
  usableSectors,
  widestPlace,
} from './table-space.ts';
import { entryLabel } from './table-text.ts';
import { incompletePartitionName, incompletePartitionType, profilePartitionType } from './types.ts';

/** "Non-FS data": no system mounts or boots it. */
export const incompleteMbrType = 'DA';

/** Where sector 0 of a fence says in plain text what it is: `doppel-incomplete RUN-ID`. */
const markerOffset = 16;
const markerPrefix = `${incompletePartitionName} `;
/**
 * Instead of boot code: INT 18h, by which a BIOS learns that there is nothing to boot here, then HLT for ever. A BIOS that starts
 * whatever carries the signature 55 AA would otherwise run through the table as if it were a program.
 */
const nothingToBoot = [0xcd, 0x18, 0xf4, 0xeb, 0xfd];

export interface FenceOptions {
  /** The table that the target has now, if any. */
  readonly target: PartitionTable | undefined;
  /** Of the table that the commit will write; the fence has the same kind. */
  readonly kind: 'gpt' | 'mbr';
  readonly sectorSize: number;
  /** Bytes. */
  readonly diskSize: number;
  /** Protected and kept entries, with the numbers that they have after the merge. */
  readonly stay: readonly TableEntry[];
  /** GUID text. */
  readonly runId: string;
  /** The bytes that the run will write; the marker stands in a free part of them. */
  readonly overwritten: ByteRange;
  /** Protected ranges outside the table, which the marker leaves alone. */
  readonly regions?: readonly Region[];
  /**
   * What the run writes and what the table after it takes, its boot records included. Only MBR tables with logical partitions that
   * stay need it: their boot records in the fence stand neither there nor where the target has its own now, so that at every instant
   * sector 0 leads to a whole chain.
   */
  readonly reserved?: IntervalSet;
}

/**
 * The fence for a run. In an MBR the marker is an entry of type DA when one of the four is free, and always the text in sector 0;
 * no entry is active.
 *
 * @throws TableDoesNotFitError when there is not one free sector for the marker, or the disk is too small
 * @throws LogicalRecordError when a logical partition that stays has no free sector for its boot record
 * @throws InvalidEntryError when `runId` is not a GUID
 */
export function fenceTable(options: FenceOptions): PartitionTable {
  const { target, kind, sectorSize, diskSize, regions = [] } = options;
  const runId = options.runId.toUpperCase();
  const marker = {
    number: 0,
    firstSector: 0,
    lastSector: 0,
    type: '',
    guid: runId,
    name: '',
    attributes: hiddenFromFirmware,
  };
  if (!isGuid(runId)) throw new InvalidEntryError(marker, `the run id "${options.runId}" is no GUID`);

  const diskId = kind === 'mbr' ? runId.slice(0, 8).toLowerCase() : target?.kind === 'gpt' ? target.diskId : runId;
  const { stay, extended } = kind === 'gpt' ? { stay: options.stay.map(hidden) } : stayingInMbr(options, diskId);
  const array = { count: Math.max(standardArray.count, ...stay.map((entry) => entry.number)), size: standardArray.size };
  const bare: PartitionTable = {
    kind,
    sectorSize,
    diskId,
    firstUsable: 1,
    lastUsable: 1,
    entries: stay,
    repairs: [],
    ownRanges: kind === 'gpt' ? gptRanges(array, sectorSize, diskSize) : mbrRanges(stay.flatMap(recordOf), sectorSize),
    mbr: fenceSector(sectorSize, runId),
    ...(kind === 'gpt' ? { array } : {}),
    ...(extended === undefined ? {} : { extended }),
  };
  const usable = usableSectors(bare, diskSize);
  const fence = { ...bare, firstUsable: usable.firstSector, lastUsable: usable.lastSector };
  if (kind === 'mbr' && highestFreeNumber(fence) === undefined) return fence;

  const free = IntervalSet.of({ offset: 0, length: diskSize })
    .subtract(IntervalSet.of(...stay.map((entry) => entryRange(entry, sectorSize))))
    .subtract(IntervalSet.of(...(extended ? [sectorBytes(extended, sectorSize)] : [])))
    .subtract(IntervalSet.of(...regions));
  const widest =
    widestPlace(free.intersect(IntervalSet.of(options.overwritten)), usable, sectorSize) ?? widestPlace(free, usable, sectorSize);
  const place = widest && besideTheStart(widest);
  const number = lowestFreeNumber(extended ? [...stay, extended] : stay);
  if (!place || highestFreeNumber(fence) === undefined) {
    throw new TableDoesNotFitError('there is no free sector or number for the marker of an unfinished duplication', {
      diskSize,
      stay: stay.map((entry) => entry.number),
    });
  }
  const placed =
    kind === 'gpt'
      ? { ...marker, ...place, number, type: incompletePartitionType, name: markerName(options.stay) }
      : { ...marker, ...place, number, type: incompleteMbrType, guid: mbrPartUuid(diskId, number), attributes: 0n };
  return { ...fence, entries: [...stay, placed].sort((a, b) => a.number - b.number) };
}

/** The table with its kept entries as they were before `fenceTable` hid them; any other table as it is. */
export function unhidden(table: PartitionTable): PartitionTable {
  const marker = table.kind === 'gpt' ? table.entries.find((entry) => entry.type === incompletePartitionType) : undefined;
  if (marker === undefined) return table;
  const before = new Set(marker.name.slice(markerPrefix.length).split(',').map(Number));
  const shown = (entry: TableEntry) => ({ ...entry, attributes: entry.attributes & ~hiddenFromFirmware });
  return { ...table, entries: table.entries.map((entry) => (before.has(entry.number) ? entry : shown(entry))) };
}

/**
 * "No Block IO Protocol" (UEFI specification 2.10, section 5.3.3): firmware does not look into the partition. A kept ESP would
 * otherwise start its loader in the middle of a run.
 */
const hiddenFromFirmware = 2n;

function hidden(entry: TableEntry): TableEntry {
  return entry.type === profilePartitionType ? entry : { ...entry, attributes: entry.attributes | hiddenFromFirmware };
}

/** Names the entries that were hidden before, so that they can be told from those that the fence hides. */
function markerName(stay: readonly TableEntry[]): string {
  const before = stay.filter(({ type, attributes }) => type !== profilePartitionType && (attributes & hiddenFromFirmware) !== 0n);
  return `${markerPrefix}${before.map(({ number }) => number).join(',')}`.trimEnd();
}

/**
 * The run that has not finished on this disk: the table is a fence, or it is the final one already and sector 0, which is written
 * last and holds the boot code, is still the fence's.
 */
export function findIncomplete(table: PartitionTable): { readonly runId: string } | undefined {
  const marker = table.kind === 'gpt' ? table.entries.find((entry) => entry.type === incompletePartitionType) : undefined;
  const runId = marker?.guid ?? inSector(table.mbr)?.runId;
  return runId === undefined ? undefined : { runId };
}

/** Sector size that the fence's table in this sector 0 counts in; an MBR says it nowhere else. */
export function sectorSizeOfFence(mbr: Uint8Array): number | undefined {
  return inSector(mbr)?.sectorSize;
}

function inSector(mbr: Uint8Array): { readonly runId: string; readonly sectorSize?: number } | undefined {
  const text = new TextDecoder('latin1').decode(mbr.subarray(markerOffset, markerOffset + markerPrefix.length + 36 + 5));
  const runId = text.slice(markerPrefix.length, markerPrefix.length + 36);
  if (!text.startsWith(markerPrefix) || !isGuid(runId)) return undefined;
  const [, size] = / (512|4096)\b/.exec(text) ?? [];
  return { runId: runId.toUpperCase(), ...(size === undefined ? {} : { sectorSize: Number(size) }) };
}

/** Whether this entry of `table` is only there to mark an unfinished duplication. */
export function isMarker(table: PartitionTable, entry: TableEntry): boolean {
  if (table.kind === 'gpt') return entry.type === incompletePartitionType;
  return entry.type === incompleteMbrType && findIncomplete(table) !== undefined;
}

function fenceSector(sectorSize: number, runId: string): Uint8Array {
  const sector = new Uint8Array(sectorSize);
  sector.set(nothingToBoot);
  sector.set(new TextEncoder().encode(`${markerPrefix}${runId} ${sectorSize}`), markerOffset);
  return sector;
}

/** Primary entries keep their numbers; logical ones are numbered by their place on the disk, with boot records of the fence's own. */
function stayingInMbr(options: FenceOptions, diskId: string): { stay: TableEntry[]; extended?: ExtendedPartition } {
  const all = options.stay.map((entry) => withoutActiveFlag(entry, diskId));
  const primary = all.filter(({ number }) => number < firstLogical);
  const logical = all.filter(({ number }) => number >= firstLogical).sort((a, b) => a.firstSector - b.firstSector);
  const [first] = logical;
  if (first === undefined) return { stay: primary };
  const { sectorSize, diskSize, target, regions = [], reserved = IntervalSet.empty } = options;
  const free = IntervalSet.of({ offset: sectorSize, length: diskSize - sectorSize })
    .subtract(IntervalSet.of(...all.map((entry) => entryRange(entry, sectorSize)), ...regions, ...(target?.ownRanges ?? [])))
    .subtract(reserved);
  const chain = logical.map((entry, index) => {
    const isFree = (sector: number) => free.covers({ offset: sector * sectorSize, length: sectorSize });
    const recordSector = lastFreeBefore(entry.firstSector, 1, isFree);
    if (recordSector === undefined) throw new LogicalRecordError(`${entryLabel(entry)} during the run`, entry.firstSector);
    const number = firstLogical + index;
    return { ...entry, recordSector, number, guid: mbrPartUuid(diskId, number) };
  });
  const container = {
    firstSector: Math.min(...chain.map(({ recordSector }) => recordSector)),
    lastSector: Math.max(...chain.map(({ lastSector }) => lastSector)),
  };
  const number = lowestFreeNumber(primary);
  if (number > mbrSlots) throw new TableFullError(first, mbrSlots);
  const within = primary.find((entry) => entry.firstSector <= container.lastSector && container.firstSector <= entry.lastSector);
  if (within)
    throw new LogicalRecordError(`${entryLabel(first)} during the run, not beyond ${entryLabel(within)}`, first.firstSector);
  return { stay: [...primary, ...chain], extended: { ...container, number, type: '0F', attributes: 0n } };
}

function recordOf({ recordSector }: TableEntry): number[] {
  return recordSector === undefined ? [] : [recordSector];
}

function sectorBytes({ firstSector, lastSector }: Place, sectorSize: number): ByteRange {
  return { offset: firstSector * sectorSize, length: (lastSector - firstSector + 1) * sectorSize };
}

function withoutActiveFlag(entry: TableEntry, diskId: string): TableEntry {
  return { ...entry, attributes: 0n, guid: mbrPartUuid(diskId, entry.number) };
}

/**
 * One sector further on, off the alignment at which parts begin. Firmware looks for a FAT in every entry, whatever its type, and
 * boots what it finds: a marker that began where an EFI system partition was copied to would be that partition (seen on OVMF).
 */
function besideTheStart(place: Place): Place {
  return place.firstSector < place.lastSector ? { ...place, firstSector: place.firstSector + 1 } : place;
}

function lowestFreeNumber(entries: readonly { readonly number: number }[]): number {
  const taken = new Set(entries.map((entry) => entry.number));
  let number = 1;
  while (taken.has(number)) number++;
  return number;
}
