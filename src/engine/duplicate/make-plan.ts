/** Makes the plan of a clone: looks at both disks, decides, and refuses whatever could lose something. Writes nothing. */
import { randomUUID } from 'node:crypto';
import { ignoreEvents, type RunOptions } from '../events.ts';
import { type ByteRange, end } from '../image/contract.ts';
import { imageIdentity } from '../image/identity.ts';
import { openSource, openTarget } from '../image/open.ts';
import type { OpenImage } from '../image/open-image.ts';
import { type ImageUser, sharesStorage } from '../image/users.ts';
import type { PartKind } from '../layout/contract.ts';
import { entryRange, unpartitionedRanges } from '../layout/table-space.ts';
import { IntervalSet } from '../protect/intervals.ts';
import { type Allocation, allocationOf, type Contents, contentsOf } from './contents.ts';
import { type Disk, surveyDisk } from './disk.ts';
import { checkExpectations, type Expectation } from './expect.ts';
import { type ChosenIdentity, chooseIdentity, type IdentityRequest } from './identity.ts';
import { keptIdentity } from './kept.ts';
import { loadersOn } from './loaders.ts';
import type { ClonePlan, UnusedMode } from './plan.ts';
import { type Layout, layOut } from './plan-layout.ts';
import { previewPersona, type SeenPersona } from './plan-persona.ts';
import { needsRoot, refuseSource, refuseUnknownParts, sameStorage } from './plan-refusals.ts';
import { fenceFor, type KindChoice } from './plan-table.ts';
import { plannedParts } from './planned-parts.ts';
import { sighting } from './preconditions.ts';
import { isUnclean } from './replay.ts';
import { sampleRate } from './sample-rate.ts';
import { readReplaceableProfile, readStoredProfile, type StoredProfile } from './stored-profile.ts';
import { readOnlyWindows, systemParts } from './system.ts';

export interface CloneRequest {
  /** Paths of raw images or block devices. */
  readonly source: string;
  readonly target: string;
  readonly identity: IdentityRequest;
  readonly kinds: KindChoice;
  /** Kinds of source parts by number, over everything else. */
  readonly kindOverrides: ReadonlyMap<number, PartKind>;
  readonly unused: UnusedMode;
  readonly exact: boolean;
  readonly verify: boolean;
  readonly allowInconsistent: boolean;
  readonly expect: readonly Expectation[];
}

/** @throws CloneRefusedError and the errors of everything that is looked at; nothing has been written then. */
export async function planClone(request: CloneRequest, { onEvent = ignoreEvents, signal }: RunOptions = {}): Promise<ClonePlan> {
  if (request.identity.choice !== 'none' && process.getuid?.() !== 0) throw needsRoot();
  onEvent({ type: 'phase', phase: 'plan', title: 'Looking at both disks' });
  const { image: source, writers } = await openSource(request.source, { allowInconsistent: request.allowInconsistent });
  try {
    if (await sharesStorage(request.source, request.target)) throw sameStorage(request.source, request.target);
    const target = await openTarget(request.target);
    try {
      signal?.throwIfAborted();
      return await assemble(request, await look(request, { source, target, writers }));
    } finally {
      await target.close();
    }
  } finally {
    await source.close();
  }
}

interface Images {
  readonly source: OpenImage;
  readonly target: OpenImage;
  /** Who may write to the source meanwhile. */
  readonly writers: readonly ImageUser[];
}

/** All that the plan is made of. */
interface Found extends Images {
  readonly sourceDisk: Disk;
  readonly targetDisk: Disk;
  readonly stored: StoredProfile | undefined;
  /** Why the target's profile, which is replaced, cannot be read. */
  readonly damage: string | undefined;
  readonly identity: ChosenIdentity;
  readonly layout: Layout;
  readonly allocation: Allocation;
  /** By part number of the source. */
  readonly contents: ReadonlyMap<number, Contents>;
  readonly persona: SeenPersona | undefined;
}

async function look(request: CloneRequest, images: Images): Promise<Found> {
  const { source, target, writers } = images;
  const windows = (image: OpenImage) => (process.getuid?.() === 0 ? { openWindow: readOnlyWindows(image) } : {});
  const sourceDisk = await surveyDisk(source, { ...windows(source), kinds: request.kindOverrides });
  const targetDisk = await surveyDisk(target, windows(target));
  refuseSource(sourceDisk);
  refuseUnknownParts(sourceDisk, request.kindOverrides);
  checkExpectations(
    request.expect,
    await imageIdentity(request.target, target.size, target.sectorSize),
    targetDisk.system?.hostname,
  );

  const { stored, damage } =
    request.identity.choice === 'none'
      ? { stored: undefined }
      : await readReplaceableProfile(
          target,
          targetDisk.regions,
          request.identity.replaceProfile && request.identity.choice !== 'target',
        );
  const identity = await chooseIdentity(request.identity, {
    source: sourceDisk,
    target: targetDisk,
    sourceProfile: () => readStoredProfile(source, sourceDisk.regions),
    targetProfile: stored,
    targetKept: () => keptIdentity(systemParts(targetDisk.parts, readOnlyWindows(target))),
  });
  const allocation = await allocationOf(source);
  const { table } = sourceDisk;
  const layout = layOut({
    source: sourceDisk,
    target: targetDisk,
    kinds: request.kinds,
    identity,
    stored,
    sectorSizeKnown: !target.sectorSizeAssumed,
    loaders: table === undefined ? IntervalSet.empty : await loadersOn(source, { ...sourceDisk, table }, allocation),
  });
  const contents = new Map<number, Contents>();
  for (const part of layout.copied) {
    const options = { exact: request.exact, inconsistent: writers.length > 0 };
    contents.set(part.number, await contentsOf(source, part, allocation, options));
  }
  const persona =
    identity.bundle &&
    (await previewPersona(
      [...systemParts(layout.copied, readOnlyWindows(source)), ...systemParts(layout.kept, readOnlyWindows(target))],
      identity.bundle,
      request.identity.choice === 'source' ? undefined : sourceDisk.system?.machineId,
    ));
  return { ...images, sourceDisk, targetDisk, stored, damage, identity, layout, allocation, contents, persona };
}

async function assemble(request: CloneRequest, found: Found): Promise<ClonePlan> {
  const { source, target, sourceDisk, targetDisk, stored, identity, layout, contents, persona } = found;
  const runId = randomUUID().toUpperCase();
  const work = workOf(request, found);
  const rate = await sampleRate(source, work.copy);
  return {
    runId,
    source: await imageIdentity(request.source, sourceDisk.size, sourceDisk.sectorSize),
    target: await imageIdentity(request.target, targetDisk.size, targetDisk.sectorSize),
    ...(sourceDisk.system === undefined ? {} : { sourceSystem: sourceDisk.system }),
    ...(targetDisk.system === undefined ? {} : { targetSystem: targetDisk.system }),
    ...(layout.table === undefined
      ? {}
      : {
          table: layout.table,
          fence: fenceFor({ table: layout.table, staying: layout.staying }, targetDisk, {
            runId,
            overwritten: hull(work.copy.union(work.zero).union(work.discard)),
            regions: layout.regions.filter(({ carrier }) => carrier === 'raw'),
          }),
        }),
    ...(targetDisk.table === undefined ? {} : { before: targetDisk.table }),
    parts: plannedParts(layout, contents, targetDisk),
    regions: layout.regions,
    identity: {
      choice: request.identity.choice,
      ...(identity.bundle === undefined ? {} : { bundle: identity.bundle }),
      ...(identity.writeReason === undefined || layout.newRegion === undefined
        ? {}
        : { write: { region: layout.newRegion, reason: identity.writeReason } }),
      ...(stored === undefined ? {} : { generation: stored.generation }),
    },
    ...(persona?.plan === undefined ? {} : { persona: persona.plan }),
    personaParts: persona?.parts ?? new Set(),
    replay: new Set(layout.copied.filter(isUnclean).map(({ number }) => number)),
    ...work,
    withheld: layout.withheld,
    kept: IntervalSet.of(...layout.kept.map(({ range }) => range)),
    inconsistent: request.allowInconsistent,
    verify: request.verify,
    ...(rate === undefined ? {} : { expectedSeconds: (work.copy.bytes / rate) * (request.verify ? 2 : 1) }),
    ...remarks(found),
    preconditions: {
      source: await sighting(source, sourceDisk.table, []),
      target: await sighting(target, targetDisk.table, targetDisk.regions),
    },
  };
}

/** What happens to which bytes; the three sets are disjoint. */
function workOf(
  { unused, exact }: CloneRequest,
  { sourceDisk, target, layout, contents, allocation }: Found,
): Pick<ClonePlan, 'copy' | 'zero' | 'discard'> {
  const unite = (pick: (each: Contents) => IntervalSet) =>
    [...contents.values()].reduce((sum, each) => sum.union(pick(each)), IntervalSet.empty);
  const free = unite((each) => each.unused);
  const gaps = exact ? gapsOf(sourceDisk, layout, target.size) : IntervalSet.empty;
  const withheld = IntervalSet.of({ offset: 0, length: layout.withheld });
  const copy = unite((each) => each.data)
    .union(layout.loaders)
    .union(gaps.intersect(allocation.data))
    .subtract(withheld);
  const zero = unite((each) => each.zero)
    .union(gaps.intersect(allocation.zero))
    .union(unused === 'zero' ? free : IntervalSet.empty)
    .subtract(withheld)
    .subtract(copy);
  return { copy, zero, discard: unused === 'discard' ? free : IntervalSet.empty };
}

/** The space between partitions that belongs to nobody on either disk. */
function gapsOf(source: Disk, { table, regions }: Layout, targetSize: number): IntervalSet {
  if (source.table === undefined || table === undefined) return IntervalSet.empty;
  const owned = IntervalSet.of(
    { offset: 0, length: table.sectorSize },
    ...table.ownRanges,
    ...table.entries.map((entry) => entryRange(entry, table.sectorSize)),
    ...regions,
    ...source.regions,
  );
  return unpartitionedRanges(source.table, source.size)
    .intersect(IntervalSet.of({ offset: 0, length: targetSize }))
    .subtract(owned);
}

function remarks({
  writers,
  sourceDisk,
  targetDisk,
  stored,
  damage,
  layout,
  contents,
  persona,
}: Found): Pick<ClonePlan, 'notes' | 'warnings'> {
  const whole = layout.copied.filter((part) => part.fs !== undefined && contents.get(part.number)?.whole === true);
  return {
    notes: [
      ...sourceDisk.notes.map((note) => `source: ${note}`),
      ...targetDisk.notes.map((note) => `target: ${note}`),
      ...layout.notes,
      ...whole.map((part) => `${part.label} is copied whole: ${contents.get(part.number)?.how}`),
    ],
    warnings: [
      ...writers.map(({ what }) => `the source is in use and may change while it is copied: ${what}`),
      ...(stored?.problems ?? []).map((problem) => `the target's profile was read, but ${problem}`),
      ...(damage === undefined ? [] : [`the target's profile is replaced without having been read: ${damage}`]),
      ...missingMounts(sourceDisk, layout),
      ...(persona?.warnings ?? []),
    ],
  };
}

/** Parts that the copied system mounts and that the target will not have. */
function missingMounts(source: Disk, { copied, kept }: Layout): string[] {
  if (!copied.some(({ mountPoint }) => mountPoint === '/')) return [];
  return source.parts
    .filter((part) => part.mountPoint !== undefined && part.kind !== 'profile' && !copied.includes(part))
    .filter((part) => !kept.some(({ kind, mountPoint }) => kind === part.kind || mountPoint === part.mountPoint))
    .map(
      (part) =>
        `${part.label} is not copied, and the target has none of its kind (${part.kind}): the system will miss ${part.mountPoint}`,
    );
}

function hull(set: IntervalSet): ByteRange {
  const ranges = [...set];
  const [first, last] = [ranges[0], ranges.at(-1)];
  if (first === undefined || last === undefined) return { offset: 0, length: 0 };
  return { offset: first.offset, length: end(last) - first.offset };
}
