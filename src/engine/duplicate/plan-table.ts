/** The table of the target after the run, the fence during it, and where a new profile region goes. Pure. */
import type { ByteRange } from '../image/contract.ts';
import type { PartitionTable, PartKind, TableEntry } from '../layout/contract.ts';
import { fenceTable } from '../layout/fence-table.ts';
import { type MergedTable, mergeTables } from '../layout/merge.ts';
import { addEntry } from '../layout/table-check.ts';
import { entryRange, highestFreeNumber, placeInGap } from '../layout/table-space.ts';
import { profilePartitionName, profilePartitionType } from '../layout/types.ts';
import { rawRegionOffsets } from '../profile/carriers/find.ts';
import { IntervalSet } from '../protect/intervals.ts';
import type { Region } from '../protect/region.ts';
import type { Disk, Part } from './disk.ts';
import { CloneRefusedError } from './errors.ts';

/** Which kinds of parts are copied; the target's parts of all other kinds stay. */
export interface KindChoice {
  readonly only?: readonly PartKind[];
  readonly skip?: readonly PartKind[];
}

export function isChosen(kind: PartKind, { only, skip }: KindChoice): boolean {
  return (only === undefined || only.includes(kind)) && skip?.includes(kind) !== true;
}

/** @throws what mergeTables throws */
export function mergeDisks(
  source: Disk & { readonly table: PartitionTable },
  target: Disk,
  choice: KindChoice,
  sectorSizeKnown: boolean,
): MergedTable {
  return mergeTables({
    source: source.table,
    target: target.table,
    diskSize: target.size,
    ...(sectorSizeKnown ? { targetSectorSize: target.sectorSize } : {}),
    keep: (entry) => !isChosen(kindOn(target.parts, entry), choice),
    skip: (entry) => !isChosen(kindOn(source.parts, entry), choice),
    regions: target.regions.filter((region) => region.carrier === 'raw'),
  });
}

function kindOn(parts: readonly Part[], entry: TableEntry): PartKind {
  return parts.find((part) => part.number === entry.number)?.kind ?? 'application';
}

export interface PlacedRegion {
  readonly region: Region;
  /** With the region's partition, if it has one. */
  readonly table: PartitionTable;
}

/**
 * Finds room for a new profile region: a partition in the gap before the first partition or at the end of a GPT disk, a raw range
 * on an MBR disk. `occupied` is what stands outside every partition and has to be copied (boot loaders).
 * @throws CloneRefusedError when there is no room
 */
export function placeRegion(table: PartitionTable, diskSize: number, occupied: IntervalSet, name: string): PlacedRegion {
  const placed = table.kind === 'gpt' ? placePartition(table, diskSize, occupied) : placeRaw(table, diskSize, occupied);
  if (placed !== undefined) return placed;
  throw new CloneRefusedError(
    'NO_ROOM_FOR_PROFILE',
    `there is no room for a profile region on ${name}: neither before the first partition nor at the end of the disk`,
    'Leave 1 MiB free at the end of the disk, use a larger target, or make a plain copy (--as none).',
    { target: name },
  );
}

function placePartition(table: PartitionTable, diskSize: number, occupied: IntervalSet): PlacedRegion | undefined {
  const number = highestFreeNumber(table);
  if (number === undefined) return undefined;
  // What must be copied into the gap takes part as if it were a partition.
  const blockers = [...occupied].map((range, index) => blocker(table, range, -1 - index));
  const place = placeInGap({ ...table, entries: [...table.entries, ...blockers] }, diskSize);
  if (place === undefined) return undefined;
  const entry: TableEntry = {
    number,
    ...place,
    type: profilePartitionType,
    guid: crypto.randomUUID().toUpperCase(),
    name: profilePartitionName,
    attributes: 0n,
  };
  const region: Region = { ...entryRange(entry, table.sectorSize), carrier: 'partition', name: `profile partition ${number}` };
  return { region, table: addEntry(table, entry, diskSize) };
}

function blocker(table: PartitionTable, range: ByteRange, number: number): TableEntry {
  const firstSector = Math.floor(range.offset / table.sectorSize);
  const lastSector = Math.ceil((range.offset + range.length) / table.sectorSize) - 1;
  return { number, firstSector, lastSector, type: '', guid: '', name: '', attributes: 0n };
}

function placeRaw(table: PartitionTable, diskSize: number, occupied: IntervalSet): PlacedRegion | undefined {
  const owned = [...table.entries, ...(table.extended ? [table.extended] : [])];
  const taken = IntervalSet.of(...owned.map((each) => entryRange(each, table.sectorSize)), ...table.ownRanges).union(occupied);
  const free = rawRegionOffsets(diskSize).find((range) => !taken.touches(range));
  return free && { region: { ...free, carrier: 'raw', name: `raw range at ${free.offset}` }, table };
}

/** The fence of a run: what stays, as it will be numbered, and the marker. */
export function fenceFor(
  merged: { readonly table: PartitionTable; readonly staying: readonly TableEntry[] },
  target: Disk,
  options: {
    readonly runId: string;
    readonly overwritten: ByteRange;
    readonly regions: readonly Region[];
    /** Every byte that the run writes. */
    readonly written?: IntervalSet;
  },
): PartitionTable {
  const { entries, ownRanges, sectorSize } = merged.table;
  const after = IntervalSet.of(...entries.map((entry) => entryRange(entry, sectorSize)), ...ownRanges);
  return fenceTable({
    target: target.table,
    kind: merged.table.kind,
    sectorSize: merged.table.sectorSize,
    diskSize: target.size,
    stay: merged.staying,
    reserved: options.written === undefined ? after : after.union(options.written),
    ...options,
  });
}
