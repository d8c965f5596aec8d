/**
 * Puts a source's table onto a target: the source's entries come in as they are, the target's protected and kept entries stay.
 * A table is never copied byte for byte.
 */
import type { Region } from '../protect/region.ts';
import type { PartitionTable, TableEntry } from './contract.ts';
import { findIncomplete, isMarker, unhidden } from './fence-table.ts';
import { nilGuid } from './gpt-guid.ts';
import { mbrRanges } from './mbr.ts';
import { logicalEntries } from './mbr-extended.ts';
import { arrayFor, checkFit } from './merge-fit.ts';
import { mergeHybrid } from './merge-hybrid.ts';
import { type MergedMbr, mergeMbr } from './merge-logical.ts';
import { type MergedPart, numberParts, type Stay } from './merge-numbers.ts';
import { checkTable } from './table-check.ts';
import { DuplicateGuidError, SectorSizeMismatchError, TableKindMismatchError } from './table-errors.ts';
import { firstUsableSector, gptRanges, usableSectors } from './table-space.ts';
import { entryLabel } from './table-text.ts';
import { profilePartitionType } from './types.ts';

export type { MergedPart } from './merge-numbers.ts';

export interface MergeOptions {
  readonly source: PartitionTable;
  /** Undefined for a target without a table. */
  readonly target: PartitionTable | undefined;
  /** Size of the target in bytes. */
  readonly diskSize: number;
  /** Logical sector size of the target, when that is known for certain (a block device). */
  readonly targetSectorSize?: number;
  /** Target entries that stay (parts of skipped kinds); protected ones stay anyway. Absent: nothing else stays. */
  readonly keep?: (entry: TableEntry) => boolean;
  /** Source entries that do not come in (parts of skipped kinds). Absent: all come in. */
  readonly skip?: (entry: TableEntry) => boolean;
  /** Protected ranges of the target that stand outside every partition. */
  readonly regions?: readonly Region[];
}

export interface MergedTable {
  /** To be written with `encodeTable`; `mbr` is the source's sector 0, or zeros when that says that the source is unfinished. */
  readonly table: PartitionTable;
  /** Every entry of `table` and where it comes from, by number. */
  readonly parts: readonly MergedPart[];
  /** Source entries that do not come in, with the reason as a clause. */
  readonly leftOut: readonly { readonly entry: TableEntry; readonly reason: string }[];
  /** What the reader of a plan should know, each a sentence. */
  readonly notes: readonly string[];
  /** What somebody should look at, each a sentence. */
  readonly warnings: readonly string[];
}

/**
 * Merges two tables.
 *
 * From the source: disk GUID (MBR: disk signature) and every entry with number, GUID, name, type, attributes and place, except those of `skip`,
 * its own profile partitions and markers of unfinished runs (of MBR tables logical partitions move up when one before them is left out). From the target: profile partitions, which take the highest
 * numbers of the array, and entries of `keep`, which keep their number if no source entry has it and take the highest free one otherwise.
 *
 * A source that is itself an unfinished target is not refused here: ask `findIncomplete`.
 *
 * @throws SectorSizeMismatchError, TableKindMismatchError, PartsCollideError, LogicalRecordError, TargetTooSmallError, TableFullError,
 *   DuplicateGuidError, TableDoesNotFitError
 */
export function mergeTables(options: MergeOptions): MergedTable {
  const { source, diskSize, regions = [] } = options;
  const target = options.target && unhidden(options.target);
  for (const size of [options.targetSectorSize, target?.sectorSize]) {
    if (size !== undefined && size !== source.sectorSize) throw new SectorSizeMismatchError(source.sectorSize, size);
  }
  const { brought, leftOut } = chooseSource(source, options.skip);
  const stays = target ? chooseTarget(target, options.keep) : [];
  if (target && target.kind !== source.kind && stays.length > 0) {
    throw new TableKindMismatchError(
      source.kind,
      target.kind,
      stays.map(({ from }) => entryLabel(from)),
    );
  }
  if (source.kind === 'gpt') refuseTwins(brought, stays);
  const fit = { source, brought, stays, regions, diskSize };
  const array = source.kind === 'gpt' ? arrayFor(fit) : undefined;
  checkFit({ ...fit, array });

  const { parts, extended }: MergedMbr = array
    ? { parts: numberParts(brought, stays, array) }
    : mergeMbr({ source, target, brought, stays, regions, diskSize });
  const entries = parts.map((part) => part.entry);
  const { extended: _, hybrid: __, ...common } = source;
  const bare = { ...common, entries, repairs: [], ...(array ? { array } : {}), ...(extended ? { extended } : {}) };
  const usable = usableSectors(bare, diskSize);
  const table: PartitionTable = {
    ...bare,
    mbr: findIncomplete(source) ? new Uint8Array(source.sectorSize) : source.mbr,
    firstUsable: firstUsableSector(bare, diskSize),
    lastUsable: usable.lastSector,
    ownRanges: array ? gptRanges(array, source.sectorSize, diskSize) : mbrRanges(recordsOf(bare), source.sectorSize),
  };
  checkTable(table, diskSize);
  const mixed = mergeHybrid({ source, target, parts, diskSize });
  return {
    table: mixed.hybrid ? { ...table, hybrid: mixed.hybrid } : table,
    parts,
    leftOut,
    notes: notesOf(parts, target, source),
    warnings: mixed.warnings,
  };
}

function recordsOf(table: PartitionTable): number[] {
  const records = logicalEntries(table).map(({ recordSector }) => recordSector);
  return [table.extended?.firstSector, ...records].filter((sector) => sector !== undefined);
}

function chooseSource(
  source: PartitionTable,
  skip: MergeOptions['skip'],
): { brought: TableEntry[]; leftOut: MergedTable['leftOut'] } {
  const brought: TableEntry[] = [];
  const leftOut: { entry: TableEntry; reason: string }[] = [];
  for (const entry of source.entries) {
    if (entry.type === profilePartitionType) leftOut.push({ entry, reason: "it is the source's own profile" });
    else if (isMarker(source, entry)) leftOut.push({ entry, reason: 'it marks an unfinished duplication' });
    else if (skip?.(entry)) leftOut.push({ entry, reason: 'its kind is skipped' });
    else brought.push(entry);
  }
  return { brought, leftOut };
}

function chooseTarget(target: PartitionTable, keep: MergeOptions['keep']): Stay[] {
  const stays: Stay[] = [];
  for (const entry of target.entries) {
    if (isMarker(target, entry)) continue;
    if (entry.type === profilePartitionType) stays.push({ from: entry, origin: 'protected' });
    else if (keep?.(entry)) stays.push({ from: entry, origin: 'kept' });
  }
  return stays;
}

function refuseTwins(brought: readonly TableEntry[], stays: readonly Stay[]): void {
  for (const { from } of stays) {
    const twin = brought.find((entry) => entry.guid === from.guid && entry.guid !== nilGuid);
    if (twin) throw new DuplicateGuidError(`${entryLabel(twin)} of the source`, `${entryLabel(from)} of the target`, from.guid);
  }
}

function notesOf(parts: readonly MergedPart[], target: PartitionTable | undefined, source: PartitionTable): string[] {
  const notes: string[] = [];
  for (const { entry, origin, from } of parts) {
    if (entry.number !== from.number) {
      notes.push(`${entryLabel(from)} of the ${origin === 'source' ? 'source' : 'target'} becomes partition ${entry.number}`);
    }
    if (origin === 'kept' && entry.attributes !== from.attributes)
      notes.push(`${entryLabel(from)} of the target is no longer active`);
  }
  for (const { entry, origin, from } of parts) {
    if (origin === 'kept' && entry.guid !== from.guid)
      notes.push(
        `${entryLabel(from)} of the target has the PARTUUID ${entry.guid} from then on, not ${from.guid}: the disk gets another signature`,
      );
  }
  if (target && target.kind !== source.kind)
    notes.push(`the target's ${target.kind.toUpperCase()} gives way to ${source.kind.toUpperCase()}`);
  return notes;
}
