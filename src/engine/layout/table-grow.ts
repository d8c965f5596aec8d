/** Enlarges an entry of a table into the free space right behind it. Sectors unless the name says bytes. */
import type { ByteRange } from '../image/contract.ts';
import type { PartitionTable, TableEntry } from './contract.ts';
import { firstLogical, maxMbrSector } from './mbr.ts';
import { resizedHybrid } from './merge-hybrid.ts';
import { checkTable } from './table-check.ts';
import { usableSectors } from './table-space.ts';
import { entryLabel } from './table-text.ts';

/** What an entry that cannot grow ends at: a part, a region, the end of the disk, or what its table can describe. */
export interface NoRoom {
  readonly blockedBy: string;
  /** Nothing that could be left out stands in the way. */
  readonly atEnd: boolean;
}

export interface Grown {
  readonly table: PartitionTable;
  readonly before: TableEntry;
  readonly after: TableEntry;
  /** Why it did not take all of the free space behind it, as a clause. */
  readonly limit?: string;
}

export interface GrowOptions {
  /** Bytes. */
  readonly diskSize: number;
  /** Protected ranges outside the table. */
  readonly regions: readonly (ByteRange & { readonly name: string })[];
}

export const endOfDisk = 'the end of the disk';
const mbrLimit = 'an MBR table cannot describe a partition (or all logical ones together) of more than 2^32 - 1 sectors';
/** Partitions end at this boundary by custom; less than that is no gain. Bytes. */
const alignment = 1024 * 1024;

/**
 * The table with this entry as long as the free space behind it allows, up to a boundary of 1 MiB. The extended partition grows with its
 * last logical one.
 * @throws InvalidEntryError, PartsCollideError, TableDoesNotFitError when the result cannot stand
 */
export function growEntry(table: PartitionTable, number: number, { diskSize, regions }: GrowOptions): Grown | NoRoom {
  const before = table.entries.find((entry) => entry.number === number);
  if (before === undefined) throw new RangeError(`the table has no entry ${number}`);
  const { sectorSize, extended } = table;
  const logical = table.kind === 'mbr' && number >= firstLogical;
  const obstacles = [
    ...(extended && !logical ? [{ at: extended.firstSector, what: `the extended partition ${extended.number}` }] : []),
    ...table.entries.filter((entry) => entry !== before).map((entry) => ({ at: entry.firstSector, what: entryLabel(entry) })),
    ...table.entries.flatMap((entry) =>
      entry.recordSector === undefined ? [] : [{ at: entry.recordSector, what: `the boot record of ${entryLabel(entry)}` }],
    ),
    ...regions.map((region) => ({ at: Math.floor(region.offset / sectorSize), what: `the protected ${region.name}` })),
  ];
  const behind = obstacles.filter(({ at }) => at > before.lastSector).sort((a, b) => a.at - b.at)[0];
  const usable = usableSectors(table, diskSize).lastSector;
  const room = behind ? Math.min(usable, behind.at - 1) : usable;
  // The length of an entry has 32 bits; a logical one lies in the extended one, which is an entry too.
  const limit = table.kind === 'mbr' ? (logical && extended ? extended : before).firstSector + maxMbrSector - 1 : usable;
  const free = Math.min(room, limit);
  const lastSector = Math.floor(((free + 1) * sectorSize) / alignment) * (alignment / sectorSize) - 1;
  if (lastSector <= before.lastSector) {
    const atEnd = behind === undefined || behind.at > usable;
    if (room > limit) return { atEnd: true, blockedBy: mbrLimit };
    return { atEnd, blockedBy: atEnd ? endOfDisk : behind.what };
  }
  const after = { ...before, lastSector };
  const grown: PartitionTable = {
    ...table,
    entries: table.entries.map((entry) => (entry === before ? after : entry)),
    ...(extended && logical ? { extended: { ...extended, lastSector: Math.max(extended.lastSector, lastSector) } } : {}),
    ...(table.hybrid ? { hybrid: resizedHybrid(table.hybrid, before, after) } : {}),
  };
  checkTable(grown, diskSize);
  return room > limit ? { table: grown, before, after, limit: mbrLimit } : { table: grown, before, after };
}
