/**
 * Hybrid MBRs: beside the protective entry the MBR of a GPT disk lists some of the GPT's partitions, for systems and loaders that
 * know only MBR. Source: "Hybrid MBRs" in the documentation of GPT fdisk.
 */
import type { HybridEntry, PartitionTable, TableEntry } from './contract.ts';
import { extendedTypes, maxMbrSector, protectiveType } from './mbr.ts';
import type { MergedPart } from './merge-numbers.ts';
import { entryLabel } from './table-text.ts';

interface HybridMerge {
  readonly source: PartitionTable;
  readonly target: PartitionTable | undefined;
  readonly parts: readonly MergedPart[];
  readonly diskSize: number;
}

export interface MergedHybrid {
  /** Absent: a plain protective MBR. */
  readonly hybrid?: readonly HybridEntry[];
  readonly warnings: readonly string[];
}

/**
 * The source's hybrid MBR for the merged table. It can stand there when each of its partitions is one of the GPT that comes in, and when
 * a protective entry covers everything that stays on the target: what an MBR does not show is free space to a tool that knows only MBR.
 */
export function mergeHybrid({ source, target, parts, diskSize }: HybridMerge): MergedHybrid {
  const stays = parts.filter(({ origin }) => origin !== 'source');
  if (source.hybrid === undefined) {
    const lost = target?.hybrid && stays.length > 0;
    return {
      warnings: lost ? ['the hybrid MBR of the target gives way to a plain protective one, because the source has none'] : [],
    };
  }
  const built = buildHybrid(source, source.hybrid, parts, Math.floor(diskSize / source.sectorSize));
  if (typeof built !== 'string') return { hybrid: built, warnings: [] };
  return {
    warnings: [
      `the hybrid MBR of the source becomes a plain protective one, because ${built}: what starts by way of the MBR does not start on the target`,
    ],
  };
}

/** The entries, or why there can be none, as a clause. */
function buildHybrid(
  source: PartitionTable,
  before: readonly HybridEntry[],
  parts: readonly MergedPart[],
  sectors: number,
): readonly HybridEntry[] | string {
  const sourceSectors = Math.floor(
    source.ownRanges.reduce((most, { offset, length }) => Math.max(most, offset + length), 0) / source.sectorSize,
  );
  const entries: HybridEntry[] = [];
  for (const entry of before) {
    if (entry.type === protectiveType) {
      // Up to the end of the source means up to the end of the target.
      const reaches = entry.lastSector >= Math.min(sourceSectors - 1, maxMbrSector);
      const lastSector = reaches ? Math.min(sectors - 1, entry.firstSector + maxMbrSector - 1) : entry.lastSector;
      if (lastSector >= sectors || lastSector < entry.firstSector)
        return `its protective entry ${entry.slot} does not fit the target`;
      entries.push({ ...entry, lastSector });
      continue;
    }
    const what = `its entry ${entry.slot} (type ${entry.type})`;
    if (extendedTypes.has(entry.type)) return `${what} is an extended partition`;
    const part = source.entries.find((each) => each.firstSector === entry.firstSector && each.lastSector === entry.lastSector);
    if (part === undefined) return `${what} is no partition of the GPT`;
    const merged = parts.find(({ origin, from }) => origin === 'source' && from.number === part.number);
    if (merged === undefined) return `${what} is ${entryLabel(part)}, which is not copied`;
    entries.push({ ...entry, firstSector: merged.entry.firstSector, lastSector: merged.entry.lastSector });
  }
  const bare = parts.find(({ origin, entry }) => origin !== 'source' && !isCovered(entry, entries));
  if (bare) return `it does not cover ${entryLabel(bare.entry)}, which stays on the target`;
  return entries;
}

function isCovered(part: TableEntry, entries: readonly HybridEntry[]): boolean {
  return entries.some(
    ({ type, firstSector, lastSector }) =>
      type === protectiveType && firstSector <= part.firstSector && part.lastSector <= lastSector,
  );
}

/** The hybrid MBR of a table whose entry `before` became `after`, a larger one: protective entries give way. */
export function resizedHybrid(hybrid: readonly HybridEntry[], before: TableEntry, after: TableEntry): readonly HybridEntry[] {
  return hybrid.flatMap((entry) => {
    if (entry.type !== protectiveType) {
      const same = entry.firstSector === before.firstSector && entry.lastSector === before.lastSector;
      return [same ? { ...entry, firstSector: after.firstSector, lastSector: after.lastSector } : entry];
    }
    const listed = hybrid.some(({ type, firstSector }) => type !== protectiveType && firstSector === before.firstSector);
    if (!listed || entry.firstSector < after.firstSector || entry.firstSector > after.lastSector) return [entry];
    return entry.lastSector > after.lastSector ? [{ ...entry, firstSector: after.lastSector + 1 }] : [];
  });
}
