/** Makes the plan of a clone: looks at both disks, decides, and refuses whatever could lose something. Writes nothing. */
import { randomUUID } from 'node:crypto';
import { ignoreEvents, type RunOptions } from '../events.ts';
import { end, type ImageSource } from '../image/contract.ts';
import { type ImageIdentity, imageIdentity } from '../image/identity.ts';
import { attachLoop } from '../image/loop.ts';
import { openSource, openTarget } from '../image/open.ts';
import type { OpenImage } from '../image/open-image.ts';
import { type ImageUser, sharesStorage } from '../image/users.ts';
import type { PartitionTable, PartKind, TableEntry } from '../layout/contract.ts';
import { describeType } from '../layout/kinds.ts';
import { entryRange, unpartitionedRanges } from '../layout/table-space.ts';
import { PersonaProblemsError } from '../persona/errors.ts';
import { type PersonaPlan, planPersona } from '../persona/plan.ts';
import { IntervalSet } from '../protect/intervals.ts';
import type { Region } from '../protect/region.ts';
import { allocationOf, type Contents, contentsOf, dataIn } from './contents.ts';
import { type Disk, type Part, surveyDisk } from './disk.ts';
import { CloneRefusedError } from './errors.ts';
import { checkExpectations, type Expectation } from './expect.ts';
import { type ChosenIdentity, chooseIdentity, type IdentityRequest } from './identity.ts';
import { keptIdentity } from './kept.ts';
import type { ClonePlan, PlannedPart, UnusedMode } from './plan.ts';
import { fenceFor, type KindChoice, mergeDisks, placeRegion } from './plan-table.ts';
import { sighting } from './preconditions.ts';
import { sampleRate } from './sample-rate.ts';
import { readStoredProfile, type StoredProfile } from './stored-profile.ts';
import { nothingWritable, type OpenWindow, type SystemPart, touchedParts, withSystem } from './system.ts';

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

/** Of a disk without a table so much stays zero until the rest is verified: every file system has its superblock there. */
const WITHHELD = 1 << 20;

/** @throws CloneRefusedError and the errors of everything that is looked at; nothing has been written then. */
export async function planClone(request: CloneRequest, { onEvent = ignoreEvents }: RunOptions = {}): Promise<ClonePlan> {
  onEvent({ type: 'phase', phase: 'plan', title: 'Looking at both disks' });
  const { image: source, writers } = await openSource(request.source, { allowInconsistent: request.allowInconsistent });
  try {
    if (await sharesStorage(request.source, request.target)) throw sameStorage(request);
    const target = await openTarget(request.target);
    try {
      return await new Planner(request, source, target, writers).plan();
    } finally {
      await target.close();
    }
  } finally {
    await source.close();
  }
}

class Planner {
  readonly #request: CloneRequest;
  readonly #source: OpenImage;
  readonly #target: OpenImage;
  readonly #writers: readonly ImageUser[];
  readonly #notes: string[] = [];
  readonly #warnings: string[] = [];

  constructor(request: CloneRequest, source: OpenImage, target: OpenImage, writers: readonly ImageUser[]) {
    this.#request = request;
    this.#source = source;
    this.#target = target;
    this.#writers = writers;
  }

  async plan(): Promise<ClonePlan> {
    const { identity } = this.#request;
    if (identity.choice !== 'none' && process.getuid?.() !== 0) throw needsRoot();
    const source = await surveyDisk(this.#source, this.#surveyOptions(this.#source, this.#request.kindOverrides));
    const target = await surveyDisk(this.#target, this.#surveyOptions(this.#target));
    this.#refuseSource(source);
    const targetIdentity = await imageIdentity(this.#request.target, target.size, target.sectorSize);
    checkExpectations(this.#request.expect, targetIdentity, target.system?.hostname);

    const stored = identity.choice === 'none' ? undefined : await readStoredProfile(this.#target, target.regions);
    const chosen = await chooseIdentity(identity, {
      source,
      target,
      sourceProfile: () => readStoredProfile(this.#source, source.regions),
      targetProfile: stored,
      targetKept: () => keptIdentity(systemParts(target.parts, windowOn(this.#target))),
    });
    for (const problem of stored?.problems ?? []) this.#warnings.push(`the target's profile was read, but ${problem}`);
    const layout =
      source.table === undefined
        ? this.#wholeDisk(source, target, chosen)
        : await this.#partitioned({ ...source, table: source.table }, target, chosen, stored);
    const contents = await this.#contents(layout.copied);
    const persona = await this.#persona(layout, chosen, source);
    return this.#assemble({ source, target, targetIdentity, chosen, stored, layout, contents, persona });
  }

  #surveyOptions(image: OpenImage, kinds?: ReadonlyMap<number, PartKind>) {
    return { ...(process.getuid?.() === 0 ? { openWindow: windowOn(image) } : {}), ...(kinds === undefined ? {} : { kinds }) };
  }

  #refuseSource(source: Disk): void {
    const asleep = source.parts.find((part) => part.fs?.state === 'hibernated');
    if (asleep !== undefined) {
      throw new CloneRefusedError(
        'SOURCE_HIBERNATED',
        `the source is hibernated: ${asleep.label} of ${source.name} holds the memory of a system that is not shut down`,
        'Start it, shut it down properly, and clone it then.',
        { source: source.name, part: asleep.label },
      );
    }
    if (source.incomplete !== undefined) {
      throw new CloneRefusedError(
        'SOURCE_INCOMPLETE',
        `the source ${source.name} is the unfinished target of another duplication (run ${source.incomplete})`,
        'Finish that one first: run its command again.',
        { source: source.name, runId: source.incomplete },
      );
    }
    if (source.parts.length === 0) {
      throw new CloneRefusedError(
        'SOURCE_EMPTY',
        `nothing was recognised on the source ${source.name}: neither a partition table nor a file system`,
        'Check that this is the disk you mean.',
        { source: source.name },
      );
    }
    for (const writer of this.#writers)
      this.#warnings.push(`the source is in use and may change while it is copied: ${writer.what}`);
  }

  /** A file system that takes the whole disk: there is no place for a region beside it. */
  #wholeDisk(source: Disk, target: Disk, chosen: ChosenIdentity): Layout {
    if (chosen.bundle !== undefined || target.regions.length > 0) {
      throw new CloneRefusedError(
        'NO_TABLE',
        `${source.name} has no partition table, so there is no place for a profile beside its file system${target.regions.length > 0 ? `, but ${target.name} holds ${target.regions[0]?.name}` : ''}`,
        'Copy it onto a disk without a profile (--as none), or put it into a partition of a GPT disk first.',
        { source: source.name, regions: target.regions },
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
      copied: source.parts,
      kept: [],
      removed: target.parts,
      regions: [],
      loaders: IntervalSet.empty,
      withheld: Math.min(WITHHELD, source.size),
    };
  }

  async #partitioned(
    source: Disk & { readonly table: PartitionTable },
    target: Disk,
    chosen: ChosenIdentity,
    stored: StoredProfile | undefined,
  ): Promise<Layout> {
    const merged = mergeDisks(source, target, this.#request.kinds, this.#target.sectorSizeAssumed !== true);
    this.#notes.push(
      ...merged.notes,
      ...merged.leftOut.map(({ entry, reason }) => `partition ${entry.number} of the source is not copied: ${reason}`),
    );
    const staying = merged.parts.filter(({ origin }) => origin !== 'source');
    const taken = IntervalSet.of(
      { offset: 0, length: source.sectorSize },
      ...merged.table.ownRanges,
      ...staying.map(({ entry }) => entryRange(entry, source.sectorSize)),
    );
    const loaders = await this.#loaders(source, taken, target.regions);
    let { table } = merged;
    let stay = staying.map(({ entry }) => entry);
    // A raw region of the target keeps its place; a partition keeps its range and may get another number.
    let regions = target.regions.map((region) => renamed(region, staying, source.sectorSize));
    let newRegion: Region | undefined;
    if (chosen.writeReason !== undefined) {
      if (stored === undefined && regions.length === 0) {
        const placed = placeRegion(table, target.size, loaders, target.name);
        ({ table } = placed);
        newRegion = placed.region;
        regions = [placed.region];
        stay = [
          ...stay,
          ...table.entries.filter((entry) => !merged.table.entries.some((other) => other.number === entry.number)),
        ];
      } else {
        const region = stored?.region ?? (target.regions[0] as Region);
        newRegion = renamed(region, staying, source.sectorSize);
      }
    }
    const bySource = new Set(merged.parts.filter(({ origin }) => origin === 'source').map(({ from }) => from.number));
    const keptNumbers = new Map(
      merged.parts.filter(({ origin }) => origin === 'kept').map(({ from, entry }) => [from.number, entry]),
    );
    const kept = target.parts.flatMap((part) => {
      const entry = keptNumbers.get(part.number);
      return entry === undefined ? [] : [{ ...part, entry, number: entry.number }];
    });
    const removed = target.parts.filter((part) => !keptNumbers.has(part.number) && part.kind !== 'profile');
    return {
      table,
      stay,
      copied: source.parts.filter((part) => bySource.has(part.number)),
      kept,
      removed,
      regions,
      loaders,
      withheld: 0,
      ...(newRegion === undefined ? {} : { newRegion }),
    };
  }

  /** Boot loaders outside every partition. They are copied, or the plan is refused: a disk without its loader does not boot. */
  async #loaders(
    source: Disk & { readonly table: PartitionTable },
    taken: IntervalSet,
    regions: readonly Region[],
  ): Promise<IntervalSet> {
    const first = Math.min(source.size, ...source.table.entries.map((entry) => entryRange(entry, source.sectorSize).offset));
    const before = unpartitionedRanges(source.table, source.size)
      .intersect(IntervalSet.of({ offset: 0, length: first }))
      .subtract(IntervalSet.of(...source.regions));
    const found = await dataIn(this.#source, before, await allocationOf(this.#source));
    const hidden = found.intersect(IntervalSet.of(...regions));
    const [lost] = hidden;
    if (lost !== undefined) {
      throw new CloneRefusedError(
        'REGION_OVER_LOADER',
        `the source has ${hidden.bytes} bytes outside its partitions, from byte ${lost.offset} on, where the target's profile region stands: a boot loader could be lost`,
        'Put the profile elsewhere: wipe the target and run "doppel clone" with --as FILE.yaml, which finds a free place, or make a plain copy onto a disk without a profile (--as none).',
        { ranges: [...hidden], regions },
      );
    }
    return found.subtract(taken);
  }

  async #contents(parts: readonly Part[]): Promise<ReadonlyMap<number, Contents>> {
    const allocation = await allocationOf(this.#source);
    const contents = new Map<number, Contents>();
    for (const part of parts) {
      const found = await contentsOf(this.#source, part, allocation, {
        exact: this.#request.exact,
        inconsistent: this.#writers.length > 0,
      });
      if (found.whole && part.fs !== undefined) this.#notes.push(`${part.label} is copied whole: ${found.how}`);
      contents.set(part.number, found);
    }
    return contents;
  }

  /** What the persona will change, seen on the parts as they are now: the source's, and those of the target that stay. */
  async #persona(layout: Layout, { bundle }: ChosenIdentity, source: Disk): Promise<SeenPersona | undefined> {
    if (bundle === undefined) return undefined;
    const parts = [...systemParts(layout.copied, windowOn(this.#source)), ...systemParts(layout.kept, windowOn(this.#target))];
    const machineId = this.#request.identity.choice === 'source' ? undefined : source.system?.machineId;
    return withSystem(
      parts,
      nothingWritable,
      async (system) => {
        this.#warnings.push(...system.notes);
        const plan = await planPersona(system.tree, bundle, machineId === undefined ? {} : { sourceMachineId: machineId });
        if (plan.problems.length > 0) throw new PersonaProblemsError(plan.problems);
        this.#warnings.push(...plan.warnings);
        return { plan, parts: await touchedParts(system, plan.changes) };
      },
      async (reasons) => {
        throw new CloneRefusedError(
          'NO_SYSTEM',
          `${bundle.resolved.host} cannot be made itself: ${reasons.join('; ')}`,
          'Copy it without an identity (--as none), or copy the part with the system too.',
          { reasons },
        );
      },
    );
  }

  async #assemble(found: Found): Promise<ClonePlan> {
    const { source, target, targetIdentity, chosen, stored, layout, contents, persona } = found;
    const { unused, exact } = this.#request;
    const sets = [...contents.values()];
    const unite = (pick: (each: Contents) => IntervalSet) => sets.reduce((sum, each) => sum.union(pick(each)), IntervalSet.empty);
    const withheld = IntervalSet.of({ offset: 0, length: layout.withheld });
    const free = unite((each) => each.unused);
    const gaps =
      exact && source.table !== undefined
        ? unpartitionedRanges(source.table, source.size)
            .intersect(IntervalSet.of({ offset: 0, length: target.size }))
            .subtract(this.#untouchable(layout, source))
        : IntervalSet.empty;
    const allocation = await allocationOf(this.#source);
    const copy = unite((each) => each.data)
      .union(layout.loaders)
      .union(gaps.intersect(allocation.data))
      .subtract(withheld);
    const zero = unite((each) => each.zero)
      .union(gaps.intersect(allocation.zero))
      .union(unused === 'zero' ? free : IntervalSet.empty)
      .subtract(withheld)
      .subtract(copy);
    const discard = unused === 'discard' ? free : IntervalSet.empty;
    const runId = randomUUID().toUpperCase();
    const written = copy.union(zero).union(discard);
    const overwritten = hull(written);
    const rate = await sampleRate(this.#source, copy);
    return {
      runId,
      source: await imageIdentity(this.#request.source, source.size, source.sectorSize),
      target: targetIdentity,
      ...(source.system === undefined ? {} : { sourceSystem: source.system }),
      ...(target.system === undefined ? {} : { targetSystem: target.system }),
      ...(layout.table === undefined
        ? {}
        : {
            table: layout.table,
            fence: fenceFor({ table: layout.table, staying: layout.stay ?? [] }, target, {
              runId,
              overwritten,
              regions: layout.regions.filter(({ carrier }) => carrier === 'raw'),
            }),
          }),
      ...(target.table === undefined ? {} : { before: target.table }),
      parts: plannedParts(layout, contents, target),
      regions: layout.regions,
      identity: {
        choice: this.#request.identity.choice,
        ...(chosen.bundle === undefined ? {} : { bundle: chosen.bundle }),
        ...(chosen.writeReason === undefined || layout.newRegion === undefined
          ? {}
          : { write: { region: layout.newRegion, reason: chosen.writeReason } }),
        ...(stored === undefined ? {} : { generation: stored.generation }),
      },
      ...(persona === undefined ? {} : { persona: persona.plan }),
      personaParts: persona?.parts ?? new Set(),
      copy,
      zero,
      discard,
      withheld: layout.withheld,
      kept: IntervalSet.of(...layout.kept.map(({ range }) => range)),
      inconsistent: this.#request.allowInconsistent,
      verify: this.#request.verify,
      ...(rate === undefined ? {} : { expectedSeconds: (copy.bytes / rate) * (this.#request.verify ? 2 : 1) }),
      notes: [...source.notes.map((note) => `source: ${note}`), ...target.notes.map((note) => `target: ${note}`), ...this.#notes],
      warnings: this.#warnings,
      preconditions: {
        source: await sighting(this.#source, source.table, []),
        target: await sighting(this.#target, target.table, target.regions),
      },
    };
  }

  #untouchable(layout: Layout, source: Disk): IntervalSet {
    const table = layout.table as PartitionTable;
    return IntervalSet.of(
      { offset: 0, length: table.sectorSize },
      ...table.ownRanges,
      ...table.entries.map((entry) => entryRange(entry, table.sectorSize)),
      ...layout.regions,
      ...source.regions,
    );
  }
}

interface Layout {
  readonly table?: PartitionTable;
  /** Entries of `table` that the fence holds too. */
  readonly stay?: readonly TableEntry[];
  readonly copied: readonly Part[];
  /** Parts of the target that stay, with their numbers after the run. */
  readonly kept: readonly Part[];
  readonly removed: readonly Part[];
  readonly regions: readonly Region[];
  /** The region that the run writes a bundle to. */
  readonly newRegion?: Region;
  readonly loaders: IntervalSet;
  readonly withheld: number;
}

interface Found {
  readonly source: Disk;
  readonly target: Disk;
  readonly targetIdentity: ImageIdentity;
  readonly chosen: ChosenIdentity;
  readonly stored: StoredProfile | undefined;
  readonly layout: Layout;
  readonly contents: ReadonlyMap<number, Contents>;
  readonly persona: SeenPersona | undefined;
}

interface SeenPersona {
  readonly plan: PersonaPlan;
  readonly parts: ReadonlySet<number>;
}

function plannedParts(
  { copied, kept, removed, regions }: Layout,
  contents: ReadonlyMap<number, Contents>,
  target: Disk,
): PlannedPart[] {
  const plain = (part: Part) => ({
    number: part.number,
    label: part.label,
    range: part.range,
    kind: part.kind,
    holds: holdsOf(part, target.table?.kind ?? 'gpt'),
    ...(part.mountPoint === undefined ? {} : { mountPoint: part.mountPoint }),
  });
  const nothing = { copy: 0, zero: 0, unused: 0 };
  return [
    ...copied.map((part) => {
      const { data, zero, unused, how } = contents.get(part.number) as Contents;
      return { ...plain(part), fate: 'copied' as const, copy: data.bytes, zero: zero.bytes, unused: unused.bytes, how };
    }),
    ...kept.map((part) => ({ ...plain(part), ...nothing, fate: 'kept' as const, how: 'its kind is not copied' })),
    ...regions.map((region) => ({
      ...nothing,
      number: 0,
      label: region.name,
      range: region,
      kind: 'profile' as const,
      holds: 'profile',
      fate: 'protected' as const,
      how: 'never written',
    })),
    ...removed.map((part) => ({
      ...plain(part),
      ...nothing,
      fate: 'removed' as const,
      how: 'the source does not have it, or overwrites it',
    })),
  ];
}

function holdsOf(part: Part, kind: 'gpt' | 'mbr'): string {
  return part.fs?.type ?? (part.entry === undefined ? 'unknown' : describeType(kind, part.entry.type));
}

function renamed(region: Region, staying: readonly { readonly entry: TableEntry }[], sectorSize: number): Region {
  const own = staying.find(
    ({ entry }) => region.carrier === 'partition' && entryRange(entry, sectorSize).offset === region.offset,
  );
  return own === undefined ? region : { ...region, name: `profile partition ${own.entry.number}` };
}

function systemParts(parts: readonly Part[], openWindow: OpenWindow): SystemPart[] {
  return parts.map((part) => ({ ...part, openWindow }));
}

/** Read-only, whatever is asked for: a plan writes nothing. */
function windowOn(image: ImageSource & { readonly path: string }): OpenWindow {
  return (range) => attachLoop(image.path, range, { readOnly: true });
}

function hull(set: IntervalSet): { offset: number; length: number } {
  const ranges = [...set];
  const first = ranges[0];
  const last = ranges.at(-1);
  return first === undefined || last === undefined
    ? { offset: 0, length: 0 }
    : { offset: first.offset, length: end(last) - first.offset };
}

function needsRoot(): CloneRefusedError {
  return new CloneRefusedError(
    'NEEDS_ROOT',
    'making the target itself means opening its file systems, and that needs root',
    'Run it with sudo, or make a plain copy (--as none).',
  );
}

function sameStorage({ source, target }: CloneRequest): CloneRefusedError {
  return new CloneRefusedError(
    'SAME_STORAGE',
    `the source ${source} and the target ${target} are the same disk, or one stands on the other`,
    'Name another target.',
    { source, target },
  );
}
