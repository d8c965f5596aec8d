/**
 * What a clone would make of the target's table and parts. The code that plans clones works it out, from the source and from what
 * the target keeps: so that a clone and its verification cannot drift apart. Reads only.
 */
import { RefusedError } from '../errors.ts';
import type { PartitionTable } from '../layout/contract.ts';
import { mbrDiskIdOffset, mbrEntryOffset, mbrPartUuid } from '../layout/mbr.ts';
import { IntervalSet } from '../protect/intervals.ts';
import { type PartitionedDisk, renamesOf, sectorSizeAfter } from './adapt-source.ts';
import type { Disk } from './disk.ts';
import { partFacts } from './part-facts.ts';
import { type Layout, type LayoutRequest, layOut } from './plan-layout.ts';
import type { KindChoice } from './plan-table.ts';
import type { Source } from './source.ts';
import type { DiskDifference } from './verify-result.ts';

export interface ExpectRequest {
  readonly source: Source;
  readonly target: Disk;
  /** The target's sector size was told by the device. */
  readonly sectorSizeKnown: boolean;
  readonly kinds: KindChoice;
  readonly grow: readonly string[];
  readonly newGuids: boolean;
}

export interface Expected {
  /** With the ids that the target has, where new ones were to be drawn and it has some. */
  readonly layout: Layout;
  /** Why no clone can have made the target what it is; then the layout is that of a blank one. */
  readonly differences: readonly DiskDifference[];
  readonly notes: readonly string[];
}

/** Refusals that are about what was asked, whatever is on the target. */
const aboutRequest: ReadonlySet<string> = new Set([
  'GROW_NO_SUCH_PART',
  'GROW_AMBIGUOUS',
  'NEW_GUIDS_WINDOWS',
  'NOTHING_TO_COPY',
  'NO_TABLE',
]);

/** @throws CloneRefusedError for a request that can never be met */
export async function expectLayout(request: ExpectRequest): Promise<Expected> {
  const { source, target } = request;
  const { table } = source.disk;
  const asFound = table === undefined ? { ...target, regions: [] } : target;
  const differences: DiskDifference[] = [];
  const differ = (message: string): void => void differences.push({ what: 'table', message });
  if (table === undefined && target.table !== undefined) differ('it has a partition table, and the source has none');
  const found = await layOutOn(request, asFound);
  if (!('refusal' in found)) return expected(request, found.layout, differences);
  if (table !== undefined && target.table === undefined) {
    // Nothing there keeps a clone from standing on it: it is too small.
    differ(found.refusal.message);
    return expected(request, asItIs(source.disk, table), differences);
  }
  differ(`no clone could be made onto it as it is: ${found.refusal.message}`);
  const { table: _, ...bare } = target;
  const blank = await layOutOn(request, { ...bare, parts: [], regions: [] });
  return expected(request, 'refusal' in blank ? asItIs(source.disk, table) : blank.layout, differences);
}

async function layOutOn(
  { source, sectorSizeKnown, kinds, grow, newGuids }: ExpectRequest,
  target: Disk,
): Promise<{ readonly layout: Layout } | { readonly refusal: RefusedError }> {
  const sectorSize = sectorSizeAfter(source.disk, target, sectorSizeKnown);
  try {
    const layoutRequest: LayoutRequest = {
      source: source.disk,
      target,
      kinds,
      sectorSizeKnown,
      grow,
      newGuids,
      identity: {},
      stored: undefined,
      loaders: source.loaders.subtract(IntervalSet.of(...target.regions)),
      facts: await partFacts(source.image, source.disk, source.allocation, { size: target.size, sectorSize }),
      attached: false,
    };
    return { layout: layOut(layoutRequest) };
  } catch (error) {
    if (!(error instanceof RefusedError) || aboutRequest.has(error.code)) throw error;
    return { refusal: error };
  }
}

/** The source's own parts, where nothing better can be said. */
function asItIs(source: Disk, table: PartitionTable | undefined): Layout {
  return {
    ...(table === undefined ? {} : { table }),
    staying: [],
    copied: source.parts.filter(({ kind }) => kind !== 'profile'),
    kept: [],
    removed: [],
    regions: [],
    loaders: IntervalSet.empty,
    withheld: 0,
    grow: [],
    renames: [],
    notes: [],
    warnings: [],
  };
}

function expected({ source, target, newGuids }: ExpectRequest, layout: Layout, differences: readonly DiskDifference[]): Expected {
  const notes = [...layout.notes, ...layout.warnings];
  const { disk } = source;
  if (!newGuids || layout.table === undefined || disk.table === undefined || target.table === undefined)
    return { layout, differences, notes };
  const table = withIdsOf(
    target.table,
    layout.table,
    disk.table,
    layout.copied.map(({ number }) => number),
  );
  const before: PartitionedDisk = { ...disk, table: disk.table };
  return { layout: { ...layout, table, renames: renamesOf(before, table, layout.copied) }, differences, notes };
}

/** Ids that were drawn are the target's, whatever they are, as long as they are not the source's and no two are the same. */
function withIdsOf(
  target: PartitionTable,
  wanted: PartitionTable,
  source: PartitionTable,
  copied: readonly number[],
): PartitionTable {
  const diskId = target.diskId === source.diskId ? wanted.diskId : target.diskId;
  if (wanted.kind === 'mbr') {
    const entries = wanted.entries.map((entry) => ({ ...entry, guid: mbrPartUuid(diskId, entry.number) }));
    return { ...wanted, diskId, entries };
  }
  const old = new Set(source.entries.map(({ guid }) => guid));
  const entries = wanted.entries.map((entry) => {
    const guid = copied.includes(entry.number) ? target.entries.find(({ number }) => number === entry.number)?.guid : undefined;
    const fresh = guid !== undefined && !old.has(guid) && target.entries.filter((each) => each.guid === guid).length === 1;
    return fresh ? { ...entry, guid } : entry;
  });
  const mbr = wanted.mbr.slice();
  const signature = (sector: Uint8Array) => Buffer.from(sector.subarray(mbrDiskIdOffset, mbrEntryOffset));
  if (wanted.hybrid && !signature(target.mbr).equals(signature(source.mbr))) mbr.set(signature(target.mbr), mbrDiskIdOffset);
  return { ...wanted, diskId, entries, mbr };
}
