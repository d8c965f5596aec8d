/** Which parts are copied, which stay, the table that results, and where a new profile region goes. Pure. */
import type { PartitionTable, TableEntry } from '../layout/contract.ts';
import type { MergedPart, MergedTable } from '../layout/merge.ts';
import { entryRange } from '../layout/table-space.ts';
import { IntervalSet } from '../protect/intervals.ts';
import type { Region } from '../protect/region.ts';
import { adaptSource, type IdRename, type PartitionedDisk, renamesOf, sectorSizeAfter, twinNote } from './adapt-source.ts';
import type { Disk, Part } from './disk.ts';
import { CloneRefusedError } from './errors.ts';
import { type PlannedGrowth, planGrow } from './grow.ts';
import type { ChosenIdentity } from './identity.ts';
import { type PartFacts, sectorObstacle } from './part-facts.ts';
import { nothingLeft, sectorsTooLarge } from './plan-refusals.ts';
import { isChosen, type KindChoice, mergeDisks, placeRegion } from './plan-table.ts';
import type { StoredProfile } from './stored-profile.ts';

export interface Layout {
  /** Absent for a disk without a table. */
  readonly table?: PartitionTable;
  /** Entries of `table` that the fence holds too. */
  readonly staying: readonly TableEntry[];
  /** With their numbers and places on the target, and the ids of the source. */
  readonly copied: readonly Part[];
  /** Parts of the target that stay, with their numbers after the run. */
  readonly kept: readonly Part[];
  /** Parts of the target whose numbers nobody has afterwards. */
  readonly removed: readonly Part[];
  readonly regions: readonly Region[];
  /** The region that the run writes a bundle to. */
  readonly newRegion?: Region;
  /** What has to be copied outside every partition. */
  readonly loaders: IntervalSet;
  /** First bytes of a disk without a table, withheld until the rest is verified. */
  readonly withheld: number;
  /** Parts that are larger on the target. */
  readonly grow: readonly PlannedGrowth[];
  /** Ids that are others on the target. */
  readonly renames: readonly IdRename[];
  readonly notes: readonly string[];
  readonly warnings: readonly string[];
}

export interface LayoutRequest {
  readonly source: Disk;
  readonly target: Disk;
  readonly kinds: KindChoice;
  readonly identity: ChosenIdentity;
  readonly stored: StoredProfile | undefined;
  /** The target's sector size was told by the device, not assumed. */
  readonly sectorSizeKnown: boolean;
  /** What the source holds before its first partition. */
  readonly loaders: IntervalSet;
  /** Parts of the source, by number or label, that take the free space behind them. */
  readonly grow: readonly string[];
  /** Draw a new disk id and new partition GUIDs. */
  readonly newGuids: boolean;
  /** By part number of the source, see partFacts; needed for targets that are smaller or have other sectors. */
  readonly facts?: ReadonlyMap<number, PartFacts>;
  /** Both are block devices of this computer, so that equal ids are seen at the same time. */
  readonly attached?: boolean;
}

/** Of a disk without a table so much stays zero until the rest is verified: every file system has its superblock there. */
const WITHHELD = 1 << 20;

/** @throws CloneRefusedError and the errors of mergeTables */
export function layOut(request: LayoutRequest): Layout {
  const { table } = request.source;
  return table === undefined ? wholeDisk(request) : partitioned({ ...request, source: { ...request.source, table } });
}

/** A file system that takes the whole disk: there is no place for a region beside it. */
function wholeDisk(request: LayoutRequest): Layout {
  const { source, target, kinds, identity, grow, newGuids } = request;
  if (grow.length > 0 || newGuids) {
    throw new CloneRefusedError(
      'NO_TABLE',
      `${source.name} has no partition table, so there is nothing for ${grow.length > 0 ? '--grow' : '--new-guids'} to change`,
      'Leave the flag away.',
      { source: source.name },
    );
  }
  if (identity.bundle !== undefined || target.regions.length > 0) {
    const but = target.regions.length > 0 ? `, but ${target.name} holds ${target.regions[0]?.name}` : '';
    throw new CloneRefusedError(
      'NO_TABLE',
      `${source.name} has no partition table, so there is no place for a profile beside its file system${but}`,
      'Copy it onto a disk without a profile (--as none), or put it into a partition of a GPT disk first.',
      { source: source.name, regions: target.regions },
    );
  }
  if (source.parts.some((part) => !isChosen(part.kind, kinds))) {
    throw new CloneRefusedError(
      'NO_TABLE',
      `${source.name} has no partition table: it can only be copied whole, and --only or --skip leave it out`,
      'Leave --only and --skip away.',
      { source: source.name },
    );
  }
  if (target.size < source.size) {
    throw new CloneRefusedError(
      'TARGET_TOO_SMALL',
      `${target.name} has ${target.size} bytes, ${source.name} needs ${source.size}`,
      'Use a larger target.',
      { size: target.size, needed: source.size },
    );
  }
  return {
    staying: [],
    copied: source.parts,
    kept: [],
    removed: target.parts.filter((part) => !source.parts.some((other) => other.number === part.number)),
    regions: [],
    loaders: IntervalSet.empty,
    withheld: Math.min(WITHHELD, source.size),
    grow: [],
    renames: [],
    notes: [],
    warnings: sectorWarnings(request),
  };
}

/** A file system that cannot be mounted on larger sectors is refused; of what cannot be judged there is a warning. */
function sectorWarnings({ source, target, facts = new Map<number, PartFacts>() }: LayoutRequest): string[] {
  return source.parts.flatMap(({ number }) => {
    const sectors = facts.get(number)?.sectors;
    if (sectors === undefined) return [];
    const obstacle = sectorObstacle(sectors, target.sectorSize);
    if (obstacle !== undefined && !('unknown' in sectors)) throw sectorsTooLarge(source, target, obstacle);
    return obstacle === undefined ? [] : [`${target.name} has sectors of ${target.sectorSize} bytes: ${obstacle}`];
  });
}

function partitioned(request: LayoutRequest & { readonly source: PartitionedDisk }): Layout {
  const { target, kinds, sectorSizeKnown, newGuids } = request;
  refuseHiddenLoaders(request.loaders, target.regions);
  const sectorSize = sectorSizeAfter(request.source, target, sectorSizeKnown);
  const adapted = adaptSource({ source: request.source, target, kinds, sectorSize, newGuids, facts: request.facts ?? new Map() });
  const merged = mergeDisks(adapted.source, target, kinds, sectorSizeKnown);
  const before = partsAfter({ ...request, source: adapted.source }, merged);
  const placed = placeIdentity(request, merged, before);
  const { copied } = before;
  const grown = planGrow({
    wanted: request.grow,
    table: placed.table,
    copied,
    sourceNumbers: new Map(merged.parts.filter(fromSource).map(({ from, entry }) => [entry.number, from.number])),
    regions: placed.regions,
    diskSize: target.size,
  });
  const twins = request.attached ?? (sectorSizeKnown && request.source.name.startsWith('/dev/'));
  const twin = twins ? twinNote(request.source, grown.table, copied) : undefined;
  return {
    ...before,
    ...placed,
    table: grown.table,
    withheld: 0,
    grow: grown.growths,
    renames: renamesOf(request.source, grown.table, copied),
    notes: [
      ...adapted.notes,
      ...merged.notes,
      ...merged.leftOut.map(({ entry, reason }) => `partition ${entry.number} of the source is not copied: ${reason}`),
      ...grown.notes,
      ...(twin === undefined ? [] : [twin]),
      ...(sectorSizeKnown ? [] : howToAttach(target, grown.table)),
    ],
    warnings: [...adapted.warnings, ...merged.warnings],
  };
}

/** A file does not tell how large its sectors are: who attaches it has to. */
function howToAttach({ name }: Disk, { sectorSize }: PartitionTable): string[] {
  if (sectorSize === 512) return [];
  return [
    `the table on ${name} counts sectors of ${sectorSize} bytes: attach it with such (losetup --sector-size ${sectorSize}; ` +
      `QEMU: logical_block_size=${sectorSize},physical_block_size=${sectorSize}), or its parts are not found`,
  ];
}

function fromSource({ origin }: MergedPart): boolean {
  return origin === 'source';
}

/** Who is copied, who stays and who goes, with the numbers after the run. */
function partsAfter(
  { source, target, loaders }: LayoutRequest & { readonly source: PartitionedDisk },
  merged: MergedTable,
): Pick<Layout, 'copied' | 'kept' | 'removed' | 'loaders' | 'staying'> {
  const { sectorSize } = merged.table;
  const entriesOf = (origin: MergedPart['origin']) =>
    new Map(merged.parts.filter((part) => part.origin === origin).map(({ from, entry }) => [from.number, entry]));
  const [brought, keptEntries] = [entriesOf('source'), entriesOf('kept')];
  const withEntry = (entries: ReadonlyMap<number, TableEntry>) => (part: Part) => {
    const entry = entries.get(part.number);
    if (entry === undefined) return [];
    return [entry === part.entry ? part : { ...part, entry, number: entry.number }];
  };
  const copied = source.parts.flatMap(withEntry(brought)).map(asNamedBySource(source));
  if (copied.length === 0) {
    throw nothingLeft('copied', source);
  }
  const staying = merged.parts.filter((part) => !fromSource(part)).map(({ entry }) => entry);
  const taken = IntervalSet.of(
    { offset: 0, length: sectorSize },
    ...merged.table.ownRanges,
    ...staying.map((entry) => entryRange(entry, sectorSize)),
  );
  return {
    copied,
    kept: target.parts.flatMap(withEntry(keptEntries)),
    removed: target.parts.filter(
      (part) => part.kind !== 'profile' && !keptEntries.has(part.number) && !copied.some((other) => other.number === part.number),
    ),
    loaders: loaders.subtract(taken),
    staying,
  };
}

/** By its files a part is known under the id that it has on the source. */
function asNamedBySource({ parts }: PartitionedDisk): (part: Part) => Part {
  return (part) => {
    const guid = parts.find(({ range }) => range.offset === part.range.offset)?.entry?.guid;
    const { entry } = part;
    return guid === undefined || entry === undefined || entry.guid === guid ? part : { ...part, entry: { ...entry, guid } };
  };
}

/** The target's regions, or a new one where the run writes a profile and there is none. */
function placeIdentity(
  { target, identity, stored }: LayoutRequest,
  merged: MergedTable,
  { staying, loaders }: Pick<Layout, 'staying' | 'loaders'>,
): Pick<Layout, 'staying' | 'regions' | 'newRegion'> & { readonly table: PartitionTable } {
  // A raw region of the target keeps its place; a partition keeps its range and may get another number.
  const regions = target.regions.map((region) => renamed(region, staying, merged.table.sectorSize));
  if (identity.writeReason === undefined) return { table: merged.table, staying, regions };
  if (regions.length > 0) {
    const offset = (stored?.region ?? (regions[0] as Region)).offset;
    const newRegion = regions.find((region) => region.offset === offset) as Region;
    return { table: merged.table, staying, regions, newRegion };
  }
  const { table, region } = placeRegion(merged.table, target.size, loaders, target.name);
  const added = table.entries.filter((entry) => !merged.table.entries.some((other) => other.number === entry.number));
  return { table, staying: [...staying, ...added], regions: [region], newRegion: region };
}

/** Boot loaders outside every partition are copied, or the plan is refused: a disk without its loader does not boot. */
function refuseHiddenLoaders(loaders: IntervalSet, regions: readonly Region[]): void {
  const hidden = loaders.intersect(IntervalSet.of(...regions));
  const [first] = hidden;
  if (first === undefined) return;
  throw new CloneRefusedError(
    'REGION_OVER_LOADER',
    `the source has ${hidden.bytes} bytes outside its partitions, from byte ${first.offset} on, where the target's profile region stands: a boot loader could be lost`,
    'Put the profile elsewhere: wipe the target (wipefs -a) and clone with --as FILE.yaml, which finds a free place, or make a plain copy onto a disk without a profile (--as none).',
    { ranges: [...hidden], regions },
  );
}

function renamed(region: Region, staying: readonly TableEntry[], sectorSize: number): Region {
  const own = staying.find((entry) => region.carrier === 'partition' && entryRange(entry, sectorSize).offset === region.offset);
  return own === undefined ? region : { ...region, name: `profile partition ${own.number}` };
}
