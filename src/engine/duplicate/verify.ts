/** Compares a target with what a clone of the source would be. Writes nothing, anywhere. */
import type { ArchiveAccess } from '../archive/access.ts';
import { ignoreEvents, type OnEvent, type RunOptions } from '../events.ts';
import { ImageInUseError } from '../image/errors.ts';
import { imageIdentity } from '../image/identity.ts';
import type { OpenImage } from '../image/open-image.ts';
import { imageUsers, sharesStorage } from '../image/users.ts';
import type { ReadErrorPolicy } from '../lanes/source-reader.ts';
import type { PartKind } from '../layout/contract.ts';
import { openSource } from '../layout/part-of-disk.ts';
import type { Bundle } from '../profile/model.ts';
import { IntervalSet } from '../protect/intervals.ts';
import { allocationOf } from './contents.ts';
import { type Disk, surveyDisk } from './disk.ts';
import type { IdentityChoice } from './plan.ts';
import type { Layout } from './plan-layout.ts';
import { needsRoot, sameStorage } from './plan-refusals.ts';
import type { KindChoice } from './plan-table.ts';
import { readerFor } from './reader.ts';
import type { CopyRequest } from './request.ts';
import { type Source, withSource } from './source.ts';
import { readOnlyWindows, systemParts } from './system.ts';
import { bootSectorLabel, lostBootSector } from './table-loss.ts';
import { type ExpectedChanges, expectChanges } from './verify-changes.ts';
import { expectLayout } from './verify-expect.ts';
import { expectIdentity } from './verify-identity.ts';
import { type DiskPair, skippedPart } from './verify-part.ts';
import { compareParts } from './verify-parts.ts';
import { type Replayed, replayBeside } from './verify-replay.ts';
import type { DiskDifference, VerifyResult } from './verify-result.ts';
import { type ComparedTables, compareTables } from './verify-table.ts';
import { wantedWork } from './verify-work.ts';

export { describePart, differenceError, type VerifyResult } from './verify-result.ts';

/** The fields that `clone` has too mean the same: a target is compared with what a clone with them makes. */
export interface VerifyRequest {
  /** As of a clone: files, block devices, URIs, or parts of one of them. */
  readonly source: string;
  /** How to open it, if it is an archive. */
  readonly access?: ArchiveAccess;
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
  /** Parts of the source, by number or label, that are as large on the target as there is room. */
  readonly grow?: readonly string[];
  /** Ids of disk and parts are others than the source's. */
  readonly newGuids?: boolean;
  /** Default: fail. */
  readonly readErrors?: ReadErrorPolicy;
  /** A ddrescue map of the source: what it calls unfinished counts as unreadable. */
  readonly sourceMap?: string;
}

/**
 * Differences are no error: see `differenceError`.
 * @throws ImageInUseError when either disk may change meanwhile; CloneRefusedError, CorruptInputError, ImageIoError and the
 * errors of what is looked at; the signal's reason
 */
export async function verifyClone(request: VerifyRequest, options: RunOptions = {}): Promise<VerifyResult> {
  await refuseInUse(request.source, 'source');
  await refuseInUse(request.target, 'target');
  if (await sharesStorage(request.source, request.target)) throw sameStorage('the source', request.source, request.target);
  const compare = async (source: Source): Promise<VerifyResult> => {
    const { image } = await openSource(request.target);
    try {
      return await new Verification(request, source, image, options).run();
    } finally {
      await image.close();
    }
  };
  // A plain copy of everything is compared without knowing whose system it is.
  const lookInside = request.as !== 'none' || choosesKinds(request);
  return withSource(copyRequest(request), compare, { lookInside, ...options });
}

function choosesKinds({ kinds }: VerifyRequest): boolean {
  return kinds.only !== undefined || kinds.skip !== undefined;
}

async function refuseInUse(path: string, role: 'source' | 'target'): Promise<void> {
  const writers = (await imageUsers(path)).filter(({ writes }) => writes).map(({ what }) => what);
  if (writers.length > 0)
    throw new ImageInUseError(path, role, writers, 'It could change while it is compared. Unmount it, or shut the machine down.');
}

/** The source is looked at as a clone looks at it. */
function copyRequest(request: VerifyRequest): CopyRequest {
  const { source, access, kinds, kindOverrides, exact, readErrors, sourceMap } = request;
  return {
    source,
    ...(access === undefined ? {} : { access }),
    kinds,
    kindOverrides: kindOverrides ?? new Map(),
    unused: 'skip',
    exact,
    verify: true,
    allowInconsistent: false,
    ...(readErrors === undefined ? {} : { readErrors }),
    ...(sourceMap === undefined ? {} : { sourceMap }),
  };
}

type Compared = Pick<VerifyResult, 'parts' | 'bypass' | 'unreadable'>;
type Findings = Pick<VerifyResult, 'differences' | 'parts' | 'bypass' | 'grown' | 'renames' | 'unreadable' | 'host'>;

class Verification {
  readonly #request: VerifyRequest;
  readonly #source: Source;
  readonly #target: OpenImage;
  readonly #signal: AbortSignal | undefined;
  readonly #onEvent: OnEvent;
  readonly #notes: string[] = [];
  readonly #begun = performance.now();

  constructor(request: VerifyRequest, source: Source, target: OpenImage, { onEvent = ignoreEvents, signal }: RunOptions) {
    this.#request = request;
    this.#source = source;
    this.#target = target;
    this.#signal = signal;
    this.#onEvent = onEvent;
  }

  async run(): Promise<VerifyResult> {
    this.#onEvent({ type: 'phase', phase: 'plan', title: 'Looking at both disks' });
    // What is inside the target's parts tells which kinds they are, and that matters only where it keeps some.
    const { kinds, grow = [], newGuids = false } = this.#request;
    const looksInside = process.getuid?.() === 0 && choosesKinds(this.#request);
    const target = await surveyDisk(this.#target, looksInside ? { openWindow: readOnlyWindows(this.#target) } : {});
    const { disk } = this.#source;
    this.#notes.push(...disk.notes.map((note) => `source: ${note}`), ...target.notes.map((note) => `target: ${note}`));
    if (target.incomplete !== undefined) return this.#unfinished(target, target.incomplete);

    const { as, file, profiles } = this.#request;
    const identity = await expectIdentity({
      as,
      profiles,
      ...(file === undefined ? {} : { file }),
      source: this.#source,
      target: { image: this.#target, disk: target },
    });
    const sectorSizeKnown = this.#target.sectorSizeAssumed !== true;
    const expected = await expectLayout({ source: this.#source, target, sectorSizeKnown, kinds, grow, newGuids });
    const { layout } = expected;
    this.#notes.push(...identity.notes, ...expected.notes);
    const tables = this.#compareTables(target, layout, expected.differences);
    const root = process.getuid?.() === 0;
    const replayed = await replayBeside(this.#request.source, root ? layout.copied : [], target);
    let compared: Compared;
    try {
      const changes = await this.#changes(layout, identity.bundle, replayed);
      compared = await this.#compare(target, layout, tables.comparable, { changes, replayed });
    } finally {
      await replayed.close();
    }
    return this.#result(target, {
      ...compared,
      differences: [...expected.differences, ...tables.differences, ...identity.differences, ...this.#hiddenLoader(target)],
      grown: layout.grow.map(({ number, label, before, after }) => ({
        number,
        label,
        before: before.length,
        after: after.length,
      })),
      renames: layout.renames,
      ...(identity.bundle === undefined ? {} : { host: identity.bundle.resolved.host }),
    });
  }

  #unfinished(target: Disk, runId: string): VerifyResult {
    const reason = 'the duplication onto the target has not finished';
    const parts = this.#source.disk.parts.filter(({ kind }) => kind !== 'profile').map((part) => skippedPart(part, reason));
    const message = `a duplication onto it has not finished (run ${runId})`;
    const differences: DiskDifference[] = [{ what: 'unfinished', message }];
    return this.#result(target, { differences, parts, bypass: 'none', grown: [], renames: [], unreadable: 0 });
  }

  #compareTables(target: Disk, layout: Layout, differences: readonly DiskDifference[]): ComparedTables {
    const { table } = this.#source.disk;
    const copied = new Set(layout.copied.map(({ number }) => number));
    if (table === undefined || layout.table === undefined)
      return { differences: [], comparable: differences.length === 0 ? copied : new Set() };
    const { kinds, readErrors } = this.#request;
    // With skip the boot code is the target's own.
    const ownBootCode = readErrors === 'skip' && lostBootSector(this.#source.disk).count > 0;
    return compareTables({ source: table, expected: layout.table, copied, target, kinds, ownBootCode });
  }

  async #changes({ copied, kept, renames }: Layout, bundle: Bundle | undefined, { windows }: Replayed): Promise<ExpectedChanges> {
    if (bundle === undefined && renames.length === 0) return { parts: new Map(), notes: [] };
    if (process.getuid?.() !== 0) throw needsRoot();
    const parts = [
      ...systemParts(copied, readOnlyWindows(this.#source.image)).map((part) => {
        const openWindow = windows.get(part.number);
        return openWindow === undefined ? part : { ...part, openWindow };
      }),
      ...systemParts(kept, readOnlyWindows(this.#target)),
    ];
    const changes = await expectChanges(parts, renames, bundle);
    this.#notes.push(...changes.notes);
    for (const part of kept) {
      const count = changes.parts.get(part.number)?.changes.size ?? 0;
      if (count > 0)
        this.#notes.push(`${part.label} stays as it is on the target: ${count} files that are written there are not compared`);
    }
    return changes;
  }

  async #compare(
    target: Disk,
    layout: Layout,
    comparable: ReadonlySet<number>,
    written: { readonly changes: ExpectedChanges; readonly replayed: Replayed },
  ): Promise<Compared> {
    const { image, disk, knownBad } = this.#source;
    const { source: path, exact, readErrors = 'fail' } = this.#request;
    const work = await wantedWork({ source: this.#source, target, layout, comparable, exact });
    this.#notes.push(...work.notes);
    const identity = await imageIdentity(path, disk.size, disk.sectorSize);
    const reader = readerFor(image, { identity, knownBad, policy: readErrors });
    const medium = await this.#target.readBack();
    try {
      const pair: DiskPair = {
        source: this.#source,
        reader,
        target: this.#target,
        medium,
        holes: (await allocationOf(this.#target)).zero,
        exact,
        readErrors,
      };
      const note = (sentence: string): void => void this.#notes.push(sentence);
      const options = { onEvent: this.#onEvent, signal: this.#signal, note };
      const parts = await compareParts(pair, { layout, target, work, ...written }, options);
      await reader.settle();
      const boot = lostBootSector(disk).bytes;
      const unreadable = reader.bad.reduce((sum, { length }) => sum + length, boot);
      if (unreadable > 0) {
        const how = readErrors === 'skip' ? 'they were not compared' : 'the target was to have zeros there';
        const where = boot === 0 ? '' : `, among them ${bootSectorLabel}`;
        this.#notes.push(`${unreadable} bytes of the source cannot be read${where}: ${how}`);
      }
      return { parts, bypass: medium.bypass, unreadable };
    } finally {
      await medium.close();
      await reader.close();
    }
  }

  #hiddenLoader(target: Disk): DiskDifference[] {
    const hidden = this.#source.loaders.intersect(IntervalSet.of(...target.regions)).bytes;
    if (hidden === 0 || this.#source.disk.table === undefined) return [];
    return [{ what: 'boot code', message: `its profile stands where the source has ${hidden} bytes of a boot loader` }];
  }

  #result(target: Disk, found: Findings): VerifyResult {
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
