/** The extended partition of a merged MBR table: how far it reaches, where the boot records stand, how logical partitions are numbered. */
import { IntervalSet } from '../protect/intervals.ts';
import type { Region } from '../protect/region.ts';
import type { ExtendedPartition, PartitionTable, TableEntry } from './contract.ts';
import { firstLogical, mbrPartUuid, mbrSlots } from './mbr.ts';
import { lastFreeBefore, maxRecords } from './mbr-extended.ts';
import { highestFree, inMbr, type MergedPart, type Stay } from './merge-numbers.ts';
import { extendedClaim } from './table-check.ts';
import { LogicalRecordError, PartsCollideError, TableFullError } from './table-errors.ts';
import { entryRange, usableSectors } from './table-space.ts';
import { entryLabel } from './table-text.ts';

interface MbrMerge {
  readonly source: PartitionTable;
  readonly target: PartitionTable | undefined;
  readonly brought: readonly TableEntry[];
  readonly stays: readonly Stay[];
  readonly regions: readonly Region[];
  readonly diskSize: number;
}

export interface MergedMbr {
  readonly parts: readonly MergedPart[];
  readonly extended?: ExtendedPartition;
}

/**
 * Numbers the parts of a merged MBR table. Primary ones of the source keep their numbers, and those that stay theirs where they are
 * free. Logical ones are numbered by their chain, from 5 on without gaps: first the source's, in their order, then those that stay.
 *
 * Every partition stays where it is. The extended partition is the source's, widened to reach the logical partitions that stay. The first
 * record stands at its start; all others keep their sectors, or take the last free one before their partition.
 *
 * @throws TableFullError, PartsCollideError, LogicalRecordError
 */
export function mergeMbr(merge: MbrMerge): MergedMbr {
  const { source, brought, stays } = merge;
  const broughtChain = byNumber(brought.filter(isLogical));
  const stayingChain = stays.filter(({ from }) => isLogical(from)).sort((a, b) => a.from.number - b.from.number);
  const bounds = withinDisk(containerOf(merge, broughtChain, stayingChain), source, merge.diskSize);

  const primary = brought.filter((entry) => !isLogical(entry));
  const taken = new Set(primary.map(({ number }) => number));
  const extended = bounds && { ...bounds, number: containerNumber(bounds, taken) };
  if (extended) taken.add(extended.number);
  const activeSource = brought.some(({ attributes }) => attributes !== 0n) || (source.extended?.attributes ?? 0n) !== 0n;
  const parts: MergedPart[] = primary.map((entry) => ({ entry, from: entry, origin: 'source' }));
  for (const { from, origin } of stays.filter((stay) => !isLogical(stay.from)).sort((a, b) => b.from.number - a.from.number)) {
    const number = taken.has(from.number) ? highestFree(taken, mbrSlots) : from.number;
    if (number === undefined) throw new TableFullError(from, mbrSlots);
    taken.add(number);
    parts.push({ entry: inMbr(from, number, source.diskId, activeSource), from, origin });
  }
  if (extended) {
    const chain = [...broughtChain.map((from) => ({ from, origin: 'source' as const })), ...stayingChain];
    if (chain.length > maxRecords) throw new TableFullError((chain.at(-1) as Stay).from, maxRecords + mbrSlots);
    const records = placeRecords(
      merge,
      extended,
      chain.map(({ from }) => from),
    );
    for (const [index, { from, origin }] of chain.entries()) {
      const number = firstLogical + index;
      const recordSector = records[index] as number;
      const same = number === from.number && recordSector === from.recordSector && origin === 'source';
      const moved = { ...from, number, recordSector, guid: mbrPartUuid(source.diskId, number) };
      parts.push({ entry: same ? from : moved, from, origin });
    }
  }
  parts.sort((a, b) => a.entry.number - b.entry.number);
  return extended ? { parts, extended } : { parts };
}

function isLogical({ number }: TableEntry): boolean {
  return number >= firstLogical;
}

function byNumber(entries: readonly TableEntry[]): TableEntry[] {
  return [...entries].sort((a, b) => a.number - b.number);
}

/** On a smaller disk the extended partition ends with it: its logical ones do, or were refused before. An empty one may have no room at all. */
function withinDisk(
  container: ExtendedPartition | undefined,
  table: PartitionTable,
  diskSize: number,
): ExtendedPartition | undefined {
  if (container === undefined) return undefined;
  const lastSector = Math.min(container.lastSector, usableSectors(table, diskSize).lastSector);
  return container.firstSector > lastSector ? undefined : { ...container, lastSector };
}

/** The first free of: the number that it has, the highest. */
function containerNumber(container: ExtendedPartition, taken: ReadonlySet<number>): number {
  const number = taken.has(container.number) ? highestFree(taken, mbrSlots) : container.number;
  if (number === undefined) throw new TableFullError({ ...container, guid: '', name: '' }, mbrSlots);
  return number;
}

function containerOf(
  { source, target, brought, stays }: MbrMerge,
  broughtChain: readonly TableEntry[],
  stayingChain: readonly Stay[],
): ExtendedPartition | undefined {
  const empty = !source.entries.some(isLogical);
  const own = source.extended && (broughtChain.length > 0 || empty) ? source.extended : undefined;
  if (stayingChain.length === 0 || target?.extended === undefined) {
    if (own) refuseCollision(own, primaries(brought, stays), 'source');
    return own;
  }
  const kept = stayingChain.map(({ from }) => from);
  const base = own ?? { ...target.extended, attributes: 0n };
  // Room for the boot record of the first one.
  const needed = [...(own ? [own] : []), ...kept.map((entry) => ({ ...entry, firstSector: entry.firstSector - 1 }))];
  const hull = (ranges: readonly Pick<TableEntry, 'firstSector' | 'lastSector'>[]) => ({
    ...withoutCode(base, own !== undefined),
    firstSector: Math.min(...ranges.map(({ firstSector }) => firstSector)),
    lastSector: Math.max(...ranges.map(({ lastSector }) => lastSector)),
  });
  const others = primaries(brought, stays);
  // With the target's whole extended partition, unless something needs the room in it.
  const wide = hull([...needed, target.extended]);
  if (!others.some(({ entry }) => meets(entry, wide))) return wide;
  const narrow = hull(needed);
  refuseCollision(narrow, others, own ? 'source, which has to reach the logical partitions that stay' : 'target');
  return narrow;
}

/** The loader in the boot record of the target's extended partition goes with the rest of what started from it. */
function withoutCode({ bootCode, ...container }: ExtendedPartition, own: boolean): ExtendedPartition {
  return own && bootCode ? { ...container, bootCode } : container;
}

interface Primary {
  readonly entry: TableEntry;
  readonly whose: string;
}

function primaries(brought: readonly TableEntry[], stays: readonly Stay[]): Primary[] {
  return [
    ...brought.map((entry) => ({ entry, whose: 'of the source' })),
    ...stays.map(({ from }) => ({ entry: from, whose: 'of the target' })),
  ].filter(({ entry }) => !isLogical(entry));
}

function meets(entry: Pick<TableEntry, 'firstSector' | 'lastSector'>, container: ExtendedPartition): boolean {
  return entry.firstSector <= container.lastSector && container.firstSector <= entry.lastSector;
}

function refuseCollision(container: ExtendedPartition, others: readonly Primary[], whose: string): void {
  const other = others.find(({ entry }) => meets(entry, container));
  if (other === undefined) return;
  const claim = extendedClaim(container);
  const { firstSector, lastSector } = other.entry;
  throw new PartsCollideError(
    { ...claim, what: `${claim.what} of the ${whose}` },
    { what: `${entryLabel(other.entry)} ${other.whose}`, firstSector, lastSector },
  );
}

function placeRecords(
  { source, brought, stays, regions, diskSize }: MbrMerge,
  container: ExtendedPartition,
  chain: readonly TableEntry[],
): number[] {
  const { sectorSize } = source;
  const entries = [...brought, ...stays.map(({ from }) => from)].map((entry) => entryRange(entry, sectorSize));
  const free = IntervalSet.of({ offset: 0, length: diskSize }).subtract(IntervalSet.of(...entries, ...regions).align(sectorSize));
  const used = new Set<number>([container.firstSector]);
  const isFree = (sector: number) => !used.has(sector) && free.covers({ offset: sector * sectorSize, length: sectorSize });
  if (!free.covers({ offset: container.firstSector * sectorSize, length: sectorSize })) {
    throw new LogicalRecordError('the start of the extended partition', container.firstSector);
  }
  // What can stay where it is must not be pushed away by what cannot.
  const own = new Set(chain.slice(1).map(({ recordSector }) => recordSector));
  return chain.map((entry, index) => {
    if (index === 0) return container.firstSector;
    const wanted = entry.recordSector;
    const sector =
      wanted !== undefined && wanted >= container.firstSector && isFree(wanted)
        ? wanted
        : lastFreeBefore(entry.firstSector, container.firstSector, (at) => isFree(at) && !own.has(at));
    if (sector === undefined) throw new LogicalRecordError(entryLabel(entry), entry.firstSector);
    used.add(sector);
    return sector;
  });
}
