/** What of a source's partition table could not be read, and what that means for a target. Pure; offsets are bytes. */
import { isDeepStrictEqual } from 'node:util';
import type { ReadErrorPolicy } from '../lanes/source-reader.ts';
import type { PartitionTable } from '../layout/contract.ts';
import { bootCodeSize } from '../layout/mbr.ts';
import { entryRange, standardArray } from '../layout/table-space.ts';
import { IntervalSet } from '../protect/intervals.ts';
import type { Disk } from './disk.ts';
import type { Layout } from './plan-layout.ts';

export interface TableLoss {
  /** Of the source's boot sector. A GPT has two copies, but nothing else knows the boot code and the entries of a hybrid MBR. */
  readonly lost: IntervalSet;
  /**
   * What a map calls bad: all that could not be read of the table, whether it was known from elsewhere or not, but for what would
   * harm the target if it were fetched onto it.
   */
  readonly bad: IntervalSet;
}

const bootSector = IntervalSet.of({ offset: 0, length: 512 });

/** For messages. */
export const bootSectorLabel = 'the boot sector (boot code, and the entries of a hybrid MBR if it was one)';

/** What is lost of a source, whatever the target. */
export function lostBootSector({ table, unreadableTable }: Disk): IntervalSet {
  return table?.kind === 'gpt' ? unreadableTable.intersect(bootSector) : IntervalSet.empty;
}

export function tableLossOf(source: Disk, { table, regions, kept }: Pick<Layout, 'table' | 'regions' | 'kept'>): TableLoss {
  if (source.table === undefined || table === undefined) return { lost: IntervalSet.empty, bad: IntervalSet.empty };
  const owned = IntervalSet.of(
    ...table.entries.map((entry) => entryRange(entry, table.sectorSize)),
    ...regions,
    ...kept.map(({ range }) => range),
  );
  // A table with a profile, or with parts that stay, must not give way to the source's.
  const own = saysTheSame(source.table, table) ? IntervalSet.empty : IntervalSet.of(...table.ownRanges).subtract(bootSector);
  return { lost: lostBootSector(source), bad: source.unreadableTable.subtract(owned).subtract(own) };
}

function saysTheSame(one: PartitionTable, other: PartitionTable): boolean {
  const facts = ({ kind, sectorSize, diskId, entries, array = standardArray }: PartitionTable) => {
    const sorted = entries.toSorted((a, b) => a.number - b.number);
    return { kind, sectorSize, diskId, array: [array.count, array.size], sorted };
  };
  return isDeepStrictEqual(facts(one), facts(other));
}

/** Whether the target has boot code of its own that can stay: that of a fence is none, nor is the head of a file system. */
function hasOwnBootCode(target: Disk): target is Disk & { readonly table: PartitionTable } {
  return target.table !== undefined && target.incomplete === undefined;
}

/** The table with the boot code that the target gets: with `skip`, where the source's is lost, its own. */
export function withBootCode(table: PartitionTable, source: Disk, target: Disk, readErrors: ReadErrorPolicy): PartitionTable {
  if (readErrors !== 'skip' || lostBootSector(source).count === 0 || !hasOwnBootCode(target)) return table;
  const mbr = table.mbr.slice();
  mbr.set(target.table.mbr.subarray(0, bootCodeSize));
  return { ...table, mbr };
}

/** What people should know before they say yes. */
export function bootSectorWarnings(source: Disk, target: Disk, readErrors: ReadErrorPolicy): string[] {
  if (lostBootSector(source).count === 0) return [];
  const instead =
    readErrors !== 'skip'
      ? 'gets none'
      : hasOwnBootCode(target)
        ? 'keeps its own'
        : target.incomplete === undefined
          ? 'has none of its own'
          : 'has lost its own to the run that did not finish';
  return [
    `sector 0 of ${source.name} cannot be read, so its boot code is lost, and the entries of its MBR if that was hybrid: ` +
      `the target ${instead}, and its MBR is a plain protective one`,
  ];
}
