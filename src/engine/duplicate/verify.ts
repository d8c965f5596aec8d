/** Compares a target with what a clone of the source would be. Writes nothing, anywhere. */
import { ignoreEvents, type OnEvent } from '../events.ts';
import type { CacheBypass } from '../image/contract.ts';
import { ImageInUseError } from '../image/errors.ts';
import type { OpenImage } from '../image/open-image.ts';
import { imageUsers, sharesStorage } from '../image/users.ts';
import type { CopyOptions } from '../lanes/copy.ts';
import type { PartitionTable, PartKind } from '../layout/contract.ts';
import { openSource } from '../layout/part-of-disk.ts';
import { entryRange, unpartitionedRanges } from '../layout/table-space.ts';
import { entryLabel } from '../layout/table-text.ts';
import { profilePartitionType } from '../layout/types.ts';
import type { Bundle } from '../profile/model.ts';
import { IntervalSet } from '../protect/intervals.ts';
import { allocationOf, type Contents, contentsOf } from './contents.ts';
import { type Disk, type Part, surveyDisk } from './disk.ts';
import { CloneRefusedError } from './errors.ts';
import { chooseIdentity } from './identity.ts';
import { loadersOn } from './loaders.ts';
import type { IdentityChoice } from './plan.ts';
import type { KindChoice } from './plan-table.ts';
import { readStoredProfile } from './stored-profile.ts';
import { readOnlyWindows } from './system.ts';
import { compareByBlocks, compareByFiles, compareOutside, type DiskPair, skippedPart, uncomparable } from './verify-part.ts';
import { type ExpectedPersona, expectPersona } from './verify-persona.ts';
import type { DiskDifference, VerifiedPart, VerifyResult } from './verify-result.ts';
import { broughtIn, compareTables } from './verify-table.ts';

export { describePart, differenceError, type VerifyResult } from './verify-result.ts';

export interface VerifyRequest {
  /** Paths of raw images or block devices. */
  readonly source: string;
  readonly target: string;
  /** Whom the target shall be. `target`: whom its own region says. */
  readonly as: IdentityChoice;
  /** YAML file, for `file`. */
  readonly file?: string;
  /** Directories to find bases of profiles in. */
  readonly profiles: readonly string[];
  readonly kinds: KindChoice;
  /** Kinds of source parts by number, over everything else. */
  readonly kindOverrides?: ReadonlyMap<number, PartKind>;
  /** Every byte, also the unused ones and those outside every partition. */
  readonly exact: boolean;
}

export interface VerifyOptions {
  readonly signal?: AbortSignal;
  readonly onEvent?: OnEvent;
}

/**
 * Differences are no error: see `differenceError`.
 * @throws ImageInUseError when either disk may change meanwhile; CloneRefusedError, CorruptInputError, ImageIoError and the
 * errors of what is looked at; the signal's reason
 */
export async function verifyClone(request: VerifyRequest, options: VerifyOptions = {}): Promise<VerifyResult> {
  const source = await openAtRest(request.source, 'source');
  try {
    if (await sharesStorage(request.source, request.target)) {
      throw new CloneRefusedError(
        'SAME_STORAGE',
        `the source ${request.source} and the target ${request.target} are the same disk, or one stands on the other`,
        'Name another target.',
        { source: request.source, target: request.target },
      );
    }
    const target = await openAtRest(request.target, 'target');
    try {
      return await new Verification(request, source, target, options).run();
    } finally {
      await target.close();
    }
  } finally {
    await source.close();
  }
}

async function openAtRest(path: string, role: 'source' | 'target'): Promise<OpenImage> {
  const writers = (await imageUsers(path)).filter(({ writes }) => writes).map(({ what }) => what);
  if (writers.length > 0)
    throw new ImageInUseError(path, role, writers, 'It could change while it is compared. Unmount it, or shut the machine down.');
  return (await openSource(path)).image;
}

interface Identity {
  readonly bundle?: Bundle;
  readonly differences: readonly DiskDifference[];
  readonly notes: readonly string[];
}

class Verification {
  readonly #request: VerifyRequest;
  readonly #source: OpenImage;
  readonly #target: OpenImage;
  readonly #options: VerifyOptions;
  readonly #onEvent: OnEvent;
  readonly #notes: string[] = [];
  readonly #begun = performance.now();

  constructor(request: VerifyRequest, source: OpenImage, target: OpenImage, options: VerifyOptions) {
    this.#request = request;
    this.#source = source;
    this.#target = target;
    this.#options = options;
    this.#onEvent = options.onEvent ?? ignoreEvents;
  }

  async run(): Promise<VerifyResult> {
    this.#onEvent({ type: 'phase', phase: 'plan', title: 'Looking at both disks' });
    const source = await surveyDisk(this.#source, this.#surveyOptions(this.#source, this.#request.kindOverrides));
    const target = await surveyDisk(this.#target, this.#surveyOptions(this.#target));
    refuseSource(source);
    this.#notes.push(...source.notes.map((note) => `source: ${note}`), ...target.notes.map((note) => `target: ${note}`));
    if (target.incomplete !== undefined) return this.#unfinished(source, target, target.incomplete);

    const identity = await this.#identity(source, target);
    this.#notes.push(...identity.notes);
    const { differences, comparable, copied, kept } = this.#match(source, target);
    const persona = await this.#persona(copied, kept, identity.bundle);
    const medium = await this.#target.readBack();
    try {
      const pair: DiskPair = {
        source: this.#source,
        target: this.#target,
        medium,
        allocation: await allocationOf(this.#source),
        holes: (await allocationOf(this.#target)).zero,
        exact: this.#request.exact,
      };
      const { parts, lost } = await this.#compare(pair, { source, target, copied, comparable, persona });
      return this.#result(target, {
        differences: [...differences, ...identity.differences, ...lost],
        parts,
        bypass: medium.bypass,
        ...(identity.bundle === undefined ? {} : { host: identity.bundle.resolved.host }),
      });
    } finally {
      await medium.close();
    }
  }

  #surveyOptions(image: OpenImage, kinds?: ReadonlyMap<number, PartKind>) {
    return {
      ...(process.getuid?.() === 0 ? { openWindow: readOnlyWindows(image) } : {}),
      ...(kinds === undefined ? {} : { kinds }),
    };
  }

  #unfinished(source: Disk, target: Disk, runId: string): VerifyResult {
    const reason = 'the duplication onto the target has not finished';
    return this.#result(target, {
      differences: [{ what: 'unfinished', message: `a duplication onto it has not finished (run ${runId})` }],
      parts: source.parts.filter(({ kind }) => kind !== 'profile').map((part) => skippedPart(part, reason)),
      bypass: 'none',
    });
  }

  async #identity(source: Disk, target: Disk): Promise<Identity> {
    const { as, file, profiles } = this.#request;
    if (as === 'none') return { differences: [], notes: [] };
    const stored = await readStoredProfile(this.#target, target.regions);
    const notes = (stored?.problems ?? []).map((problem) => `the target's profile was read, but ${problem}`);
    if (as === 'target') {
      if (stored === undefined) {
        throw new CloneRefusedError(
          'NO_PROFILE',
          `${target.name} has no profile that says whom it shall be`,
          'Add --as none to compare it as a plain copy; if it should have a profile, that is lost.',
          { target: target.name },
        );
      }
      return { bundle: stored.bundle, differences: [], notes };
    }
    const { bundle, writeReason } = await chooseIdentity(
      { choice: as, profiles, replaceProfile: true, ...(file === undefined ? {} : { file }) },
      {
        source,
        target,
        sourceProfile: () => readStoredProfile(this.#source, source.regions),
        targetProfile: stored,
        targetKept: async () => ({}),
      },
    );
    if (writeReason === undefined) return { differences: [], notes, ...(bundle === undefined ? {} : { bundle }) };
    const found = stored === undefined ? 'none' : `that of ${stored.bundle.resolved.host}`;
    const message = `the profile in its region is ${found}, not that of ${bundle?.resolved.host}`;
    return { differences: [{ what: 'profile', message }], notes, ...(stored === undefined ? {} : { bundle: stored.bundle }) };
  }

  /** Which parts can be compared, and what differs in the tables. */
  #match(source: Disk, target: Disk): Matched {
    if (!isPartitioned(source)) {
      const fits = target.table === undefined && source.parts.every(({ range }) => range.length <= target.size);
      const message =
        target.table === undefined ? 'it is smaller than the source' : 'it has a partition table, and the source has none';
      return {
        differences: fits ? [] : [{ what: 'table', message }],
        comparable: new Set(fits ? source.parts.map(({ number }) => number) : []),
        copied: source.parts,
        kept: [],
      };
    }
    const { kinds } = this.#request;
    const { brought, rest } = broughtIn(source, kinds);
    for (const entry of rest) {
      const reason = entry.type === profilePartitionType ? "it is the source's own profile" : 'its kind is skipped';
      this.#notes.push(`${entryLabel(entry)} of the source is not compared: ${reason}`);
    }
    const numbers = new Set(brought.map(({ number }) => number));
    return {
      ...compareTables(source, target, kinds),
      copied: source.parts.filter(({ number }) => numbers.has(number)),
      kept: target.parts.filter(({ number, kind }) => !numbers.has(number) && kind !== 'profile'),
    };
  }

  async #persona(copied: readonly Part[], kept: readonly Part[], bundle: Bundle | undefined): Promise<ExpectedPersona> {
    if (bundle === undefined) return { parts: new Map(), notes: [] };
    if (process.getuid?.() !== 0) {
      throw new CloneRefusedError(
        'NEEDS_ROOT',
        'comparing the files that the persona changed means opening file systems, and that needs root',
        'Run it with sudo, or compare it as a plain copy (--as none).',
      );
    }
    const parts = [
      ...copied.map((part) => ({ ...part, openWindow: readOnlyWindows(this.#source) })),
      ...kept.map((part) => ({ ...part, openWindow: readOnlyWindows(this.#target) })),
    ];
    const persona = await expectPersona(parts, bundle);
    this.#notes.push(...persona.notes);
    for (const part of kept) {
      const count = persona.parts.get(part.number)?.changes.size ?? 0;
      if (count > 0)
        this.#notes.push(
          `${part.label} stays as it is on the target: ${count} files that the persona writes there are not compared`,
        );
    }
    return persona;
  }

  async #compare(pair: DiskPair, found: Found): Promise<{ parts: VerifiedPart[]; lost: DiskDifference[] }> {
    const { target, copied, comparable, persona } = found;
    const protectedBytes = IntervalSet.of(...target.regions);
    const ready = copied.filter(({ number }) => comparable.has(number));
    const contents = new Map<number, Contents>();
    for (const part of ready) contents.set(part.number, await this.#contents(pair, part, protectedBytes));
    const outside = isPartitioned(found.source) ? await this.#outside(pair, found.source, target) : undefined;
    const sets = [...contents.values(), ...(outside ? [outside] : [])];
    this.#onEvent({ type: 'phase', phase: 'verify', title: 'Comparing' });
    const step = this.#progress(sets.reduce((sum, set) => sum + sizeOf(set), 0));

    const parts: VerifiedPart[] = [];
    if (outside !== undefined && sizeOf(outside) > 0)
      parts.push(await step(sizeOf(outside), (options) => compareOutside(pair, outside, options)));
    for (const part of copied) {
      this.#options.signal?.throwIfAborted();
      const set = contents.get(part.number);
      if (set === undefined) {
        parts.push(skippedPart(part, 'the target has no such part at its place'));
        continue;
      }
      const changes = persona.parts.get(part.number);
      const there = target.parts.find(({ number }) => number === part.number);
      const refusal = changes && uncomparable(part, there);
      parts.push(
        await step(sizeOf(set), async (options) => {
          if (refusal !== undefined) return skippedPart(part, refusal);
          if (changes === undefined) return compareByBlocks(pair, part, set, options);
          if (pair.exact)
            this.#notes.push(`${part.label} is compared by files, as the persona changed some; its free space is not compared`);
          return compareByFiles(pair, part, changes, options);
        }),
      );
    }
    const lost = hiddenLoader(outside?.hidden ?? 0);
    return { parts, lost };
  }

  async #contents({ allocation, exact }: DiskPair, part: Part, without: IntervalSet): Promise<Contents> {
    const found = await contentsOf(this.#source, part, allocation, { exact, inconsistent: false });
    if (found.whole && part.fs !== undefined) this.#notes.push(`${part.label} is compared whole: ${found.how}`);
    return { ...found, data: found.data.subtract(without), zero: found.zero.subtract(without) };
  }

  /** As the clone chooses it: loaders before the first partition, with `exact` all that no part and no table has. */
  async #outside({ allocation, exact }: DiskPair, source: Partitioned, target: Disk) {
    const table = target.table ?? source.table;
    const untouched = IntervalSet.of(
      { offset: 0, length: table.sectorSize },
      ...table.ownRanges,
      ...table.entries.map((entry) => entryRange(entry, table.sectorSize)),
      ...target.regions,
      ...source.regions,
    );
    const inside = IntervalSet.of({ offset: 0, length: target.size });
    const found = await loadersOn(this.#source, source, allocation);
    const loaders = found.subtract(untouched).intersect(inside);
    const hidden = found.intersect(IntervalSet.of(...target.regions)).bytes;
    const gaps = exact ? unpartitionedRanges(source.table, source.size).intersect(inside).subtract(untouched) : IntervalSet.empty;
    const data = loaders.union(gaps.intersect(allocation.data));
    return { hidden, loaders, data, zero: gaps.intersect(allocation.zero).subtract(data) };
  }

  /** Progress over parts of known sizes: whatever is left of a part counts as done with it. */
  #progress(total: number) {
    let [before, done] = [0, 0];
    const { signal } = this.#options;
    const report = (now: number) => {
      done = now;
      this.#onEvent({ type: 'progress', phase: 'verify', done, total });
    };
    return async <T>(size: number, compare: (options: CopyOptions) => Promise<T>): Promise<T> => {
      const onChunk = (bytes: number) => report(Math.min(before + size, done + bytes));
      const result = await compare({ onChunk, ...(signal === undefined ? {} : { signal }) });
      before += size;
      report(before);
      return result;
    };
  }

  #result(
    target: Disk,
    found: { differences: readonly DiskDifference[]; parts: readonly VerifiedPart[]; bypass: CacheBypass; host?: string },
  ): VerifyResult {
    return {
      source: this.#request.source,
      target: this.#request.target,
      equal: found.differences.length === 0 && found.parts.every(({ equal }) => equal),
      ...found,
      regions: target.regions.map(({ name, offset, length }) => ({ name, range: { offset, length } })),
      notes: this.#notes,
      seconds: (performance.now() - this.#begun) / 1000,
    };
  }
}

type Partitioned = Disk & { readonly table: PartitionTable };

function sizeOf({ data, zero }: Pick<Contents, 'data' | 'zero'>): number {
  return data.bytes + zero.bytes;
}

function isPartitioned(disk: Disk): disk is Partitioned {
  return disk.table !== undefined;
}

interface Matched {
  readonly differences: readonly DiskDifference[];
  /** Numbers of the parts that stand on the target where the source has them. */
  readonly comparable: ReadonlySet<number>;
  /** Parts of the source that a clone brings in. */
  readonly copied: readonly Part[];
  /** Parts of the target that stay. */
  readonly kept: readonly Part[];
}

interface Found extends Pick<Matched, 'copied' | 'comparable'> {
  readonly source: Disk;
  readonly target: Disk;
  readonly persona: ExpectedPersona;
}

function hiddenLoader(bytes: number): DiskDifference[] {
  if (bytes === 0) return [];
  return [{ what: 'boot code', message: `its profile stands where the source has ${bytes} bytes of a boot loader` }];
}

function refuseSource({ name, incomplete, parts }: Disk): void {
  if (incomplete !== undefined) {
    throw new CloneRefusedError(
      'SOURCE_INCOMPLETE',
      `the source ${name} is the unfinished target of another duplication (run ${incomplete})`,
      'Finish that one first: run its command again.',
      { source: name, runId: incomplete },
    );
  }
  if (parts.length === 0) {
    throw new CloneRefusedError(
      'SOURCE_EMPTY',
      `nothing was recognised on the source ${name}: neither a partition table nor a file system`,
      'Check that this is the disk you mean.',
      { source: name },
    );
  }
}
