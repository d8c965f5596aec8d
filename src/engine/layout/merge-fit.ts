/** Whether the parts of a merged table have room on the target, and how large its entry array is. */
import { end, overlaps } from '../image/contract.ts';
import type { Region } from '../protect/region.ts';
import type { PartitionTable, TableEntry } from './contract.ts';
import type { Stay } from './merge-numbers.ts';
import { type Claim, PartsCollideError, TableDoesNotFitError, TargetTooSmallError } from './table-errors.ts';
import { type ArraySize, gptPlaces, gptRanges, standardArray, usableSectors } from './table-space.ts';
import { entryLabel, sectorRange } from './table-text.ts';

interface Fit {
  readonly source: PartitionTable;
  readonly brought: readonly TableEntry[];
  readonly stays: readonly Stay[];
  readonly regions: readonly Region[];
  readonly diskSize: number;
  /** Undefined for MBR. */
  readonly array: ArraySize | undefined;
}

/**
 * The entry array of the merged table: as large as the source's, but at least 128 entries of 128 bytes. Where a larger one would lie on
 * a partition or region, the smallest that has room for every entry; below 128 only when the source's was.
 *
 * @throws TableDoesNotFitError when the disk has no room for any table
 */
export function arrayFor({ source, brought, stays, regions, diskSize }: Omit<Fit, 'array'>): ArraySize {
  const own = source.array ?? standardArray;
  const needed = Math.max(brought.length + stays.length, ...brought.map((entry) => entry.number));
  const smallest = { count: Math.max(standardArray.count, needed), size: standardArray.size };
  const candidates = [{ count: Math.max(own.count, smallest.count), size: own.size }, smallest];
  if (own.count < standardArray.count) candidates.push({ count: Math.max(own.count, needed), size: standardArray.size });

  const fits = (array: ArraySize): boolean => {
    const places = gptPlaces(array, source.sectorSize, diskSize);
    const entries = [...brought, ...stays.map((stay) => stay.from)];
    return (
      entries.every((entry) => entry.firstSector >= places.first && entry.lastSector <= places.last) &&
      !gptRanges(array, source.sectorSize, diskSize).some((range) => regions.some((region) => overlaps(range, region)))
    );
  };
  return candidates.find(fits) ?? smallest;
}

/** @throws TargetTooSmallError, TableDoesNotFitError, PartsCollideError */
export function checkFit({ source, brought, stays, regions, diskSize, array }: Fit): void {
  const { sectorSize } = source;
  const usable = usableSectors(array ? { ...source, array } : source, diskSize);
  const furthest = brought.reduce<TableEntry | undefined>((a, b) => (a && a.lastSector >= b.lastSector ? a : b), undefined);
  if (furthest && furthest.lastSector > usable.lastSector) {
    const behind = array ? gptPlaces(array, sectorSize, diskSize).arraySectors + 1 : 0;
    const outside = brought.filter((entry) => entry.lastSector > usable.lastSector);
    throw new TargetTooSmallError(
      outside.map((entry) => ({ part: entryLabel(entry), missing: (entry.lastSector - usable.lastSector) * sectorSize })),
      (furthest.lastSector + 1 + behind) * sectorSize,
      diskSize,
    );
  }
  const incoming = brought.map((entry) => claim(entry, `${entryLabel(entry)} of the source`));
  const staying = stays.map(({ from, origin }) => claim(from, `the ${origin} ${entryLabel(from)} of the target`));
  const fixed = regions.map((region) => regionClaim(region, sectorSize));
  for (const part of [...incoming, ...staying]) {
    if (part.firstSector < usable.firstSector || part.lastSector > usable.lastSector) {
      throw new TableDoesNotFitError(
        `${part.what}, ${sectorRange(part)}, leaves the sectors ${usable.firstSector} to ${usable.lastSector} that the merged table can use`,
        { ...part, ...usable, what: part.what },
      );
    }
  }
  for (const part of incoming) {
    for (const other of [...staying, ...fixed]) if (collide(part, other)) throw new PartsCollideError(part, other);
  }
  const own = array ? gptRanges(array, sectorSize, diskSize) : [{ offset: 0, length: sectorSize }];
  for (const range of own) {
    const what = 'the partition table';
    const part = { what, firstSector: range.offset / sectorSize, lastSector: end(range) / sectorSize - 1 };
    for (const other of fixed) if (collide(part, other)) throw new PartsCollideError(part, other);
  }
}

function claim(entry: TableEntry, what: string): Claim {
  return { what, firstSector: entry.firstSector, lastSector: entry.lastSector };
}

function regionClaim(region: Region, sectorSize: number): Claim {
  return {
    what: `the protected ${region.name}`,
    firstSector: Math.floor(region.offset / sectorSize),
    lastSector: Math.ceil(end(region) / sectorSize) - 1,
  };
}

function collide(a: Claim, b: Claim): boolean {
  return a.firstSector <= b.lastSector && b.firstSector <= a.lastSector;
}
