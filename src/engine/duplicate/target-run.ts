/** One target's way through a run: fence, profile, copy, read back, persona, commit. Killed at any instant, it can be finished. */
import { DoppelError, RegionChangedError } from '../errors.ts';
import type { OnEvent } from '../events.ts';
import { type ByteRange, type CacheBypass, end, type GuardedTarget, type ImageSource } from '../image/contract.ts';
import { createImage } from '../image/create.ts';
import type { OpenImage } from '../image/open-image.ts';
import type { Task } from '../lanes/blocks.ts';
import type { DigestLog } from '../lanes/digests.ts';
import { Sink } from '../lanes/sink.ts';
import type { SourceReader } from '../lanes/source-reader.ts';
import { openTarget } from '../layout/part-of-disk.ts';
import { encodeBundle } from '../profile/bundle.ts';
import { regionWriter, writeContainer } from '../profile/container-write.ts';
import type { Bundle } from '../profile/model.ts';
import { ProtectedRegionError } from '../protect/errors.ts';
import { guard } from '../protect/guard.ts';
import { checkRegions, hashRegions } from '../protect/hash.ts';
import { IntervalSet } from '../protect/intervals.ts';
import type { Region } from '../protect/region.ts';
import { personalizeTarget } from './apply-persona.ts';
import { Checkpoints } from './checkpoints.ts';
import { allocationOf } from './contents.ts';
import { damageOf, damageWords, lostOf } from './damage.ts';
import { DamagedCopyError, TargetDiffersError } from './errors.ts';
import { growFileSystems } from './grow.ts';
import { JournalError } from './journal.ts';
import type { ClonePlan } from './plan.ts';
import { recheckOne } from './preconditions.ts';
import { readBackCopy } from './read-back.ts';
import { type CloneResult, type Damage, noDamage } from './result.ts';
import { openJournal, type Resumption } from './resume.ts';
import { rewriteIds } from './rewrite-ids.ts';
import { commitTable, confirm, raiseFence } from './table-writes.ts';
import { tasksOf } from './tasks.ts';

export interface TargetRunOptions {
  readonly source: ImageSource;
  /** Reads it as the plan says what becomes of errors. */
  readonly reader: SourceReader;
  readonly signal: AbortSignal | undefined;
  readonly onEvent: OnEvent;
  /** Several targets: phases say whose they are. */
  readonly several: boolean;
  /** Milliseconds between two checkpoints. */
  readonly checkpointEvery?: number | undefined;
}

/** Smaller pieces find their place by themselves. */
const WORTH_RESERVING = 1 << 16;

/**
 * Opens the target, checks that the plan still holds, and fences it. Afterwards `close` must be called.
 * @throws CloneRefusedError, ImageIoError, RegionChangedError
 */
export async function startTarget(plan: ClonePlan, options: TargetRunOptions): Promise<TargetRun> {
  if (plan.create !== undefined) await createImage(plan.target.path, plan.create.size);
  const disk = await openTarget(plan.target.path);
  const run = new TargetRun(plan, disk, options);
  try {
    await recheckOne('target', plan.preconditions.target, disk);
    await run.begin();
    return run;
  } catch (error) {
    return run.closeAfter(error);
  }
}

export class TargetRun {
  readonly plan: ClonePlan;
  readonly #disk: OpenImage;
  readonly #target: GuardedTarget;
  readonly #options: TargetRunOptions;
  readonly #begun = performance.now();
  #hashed: { readonly regions: readonly Region[]; readonly before: readonly string[] } = { regions: [], before: [] };
  #resumption: Resumption | undefined;
  #checkpoints: Checkpoints;
  #sink: Sink | undefined;
  /** What read as zeros before the copy. */
  #holes = IntervalSet.empty;
  #oldHead: Uint8Array | undefined;
  #durable: DigestLog | undefined;
  #sets: Pick<ClonePlan, 'copy' | 'zero' | 'discard'>;

  constructor(plan: ClonePlan, disk: OpenImage, options: TargetRunOptions) {
    this.plan = plan;
    this.#disk = disk;
    this.#options = options;
    this.#target = guard(disk, plan.regions);
    this.#sets = plan;
    this.#checkpoints = this.#checkpointsFor(undefined);
  }

  /** From here on the target does not boot until the commit. */
  async begin(): Promise<void> {
    const { plan } = this;
    const { regions, identity } = plan;
    const standing = regions.filter((region) => region.name !== identity.write?.region.name);
    this.#checkWork();
    await this.#remember(standing);
    await this.#openJournal();
    if (!plan.delta) await this.#reserve();
    await this.#keepHead();
    this.#options.signal?.throwIfAborted();
    this.#phase('fence', 'Fencing the target: from here on it does not boot until everything is done');
    this.#tell('fenced');
    await raiseFence(this.#target, plan);
    if (identity.write !== undefined) {
      await this.#writeProfile(identity.write.region, identity.bundle as Bundle);
      await this.#checkRegions();
      await this.#remember(regions);
    }
    // After the fence, which writes where the copy will go.
    this.#holes = (await allocationOf(this.#disk)).zero;
    this.#sets = { copy: plan.copy, zero: plan.zero.subtract(this.#holes), discard: plan.discard };
  }

  /** The guard stops what would be written wrongly; a plan that asks for it is not even begun. @throws ProtectedRegionError */
  #checkWork(): void {
    const { copy, zero, discard } = this.plan;
    for (const region of [...this.plan.regions, ...this.#keptRegions]) {
      const [range] = copy.union(zero).union(discard).intersect(IntervalSet.of(region));
      if (range !== undefined) throw new ProtectedRegionError(this.#disk.name, 'the plan', range, region);
    }
  }

  get #keptRegions(): Region[] {
    return [...this.plan.kept].map((range) => ({
      ...range,
      carrier: 'partition',
      name: `the part at byte ${range.offset}, which stays`,
    }));
  }

  /** Space that is set aside before is found in one piece, and missing space is noticed before anything is written. */
  async #reserve(): Promise<void> {
    if (this.#target.reserve === undefined) return;
    const holes = (await allocationOf(this.#disk)).zero;
    const reserved: ByteRange[] = [];
    try {
      for (const range of this.plan.copy.intersect(holes)) {
        if (range.length < WORTH_RESERVING) continue;
        reserved.push(range);
        await this.#target.reserve(range.offset, range.length);
      }
    } catch (error) {
      // A target that is not begun does not fill the disk below it.
      for (const { offset, length } of reserved) await this.#target.zero(offset, length);
      throw error;
    }
  }

  /** Gives back what was set aside and turned out to be zeros. */
  async #giveBack(): Promise<void> {
    const fresh = this.plan.copy.intersect(this.#holes);
    for (const range of fresh.intersect((await allocationOf(this.#disk)).zero)) {
      if (range.length >= WORTH_RESERVING) await this.#target.zero(range.offset, range.length);
    }
  }

  /** What is to be done, in the order of the disk. */
  get tasks(): Iterable<Task> {
    return tasksOf(this.#sets);
  }

  /** Bytes of all tasks. */
  get work(): number {
    const { copy, zero, discard } = this.#sets;
    return copy.bytes + zero.bytes + discard.bytes;
  }

  /** Where the copy goes. */
  get sink(): Sink {
    this.#sink ??= this.#makeSink();
    return this.#sink;
  }

  /** What of an unfinished copy has reached stable storage; known after `closeAfter`. */
  get durable(): DigestLog | undefined {
    return this.#durable;
  }

  /** When everything was copied: read back, persona, commit. */
  async finish(): Promise<CloneResult> {
    const { plan } = this;
    this.#phase('flush', 'Waiting until everything is on stable storage');
    await this.#giveBack();
    await this.#checkpoints.finish();
    const { sums } = this.sink;
    const verified = plan.verify || sums.resumed > 0 ? await this.#verify() : 'skipped';
    const head = await this.#readWithheld();
    // Before anybody writes to the copied file systems: then the bytes are still those of the files that they are of on the source.
    // Nobody writes to a disk without a table, and it shows its files only when its head is there.
    const early = plan.withheld === 0 ? await this.#damage() : undefined;
    const filesChanged = await this.#makeItself().catch((error: unknown) => {
      // The kernel finds the damage when it writes there; trying again would find it again.
      if (early === undefined || early.bytes === 0 || !(error instanceof DoppelError) || error instanceof RegionChangedError)
        throw error;
      throw new DamagedCopyError(plan, early, error);
    });
    await this.#commit(head);
    const unreadable = early ?? (await this.#damage());
    return {
      runId: plan.runId,
      ...sums,
      verified,
      filesChanged,
      unreadable,
      regions: this.#hashed.regions.map(({ name }, index) => ({ name, sha256: this.#hashed.before[index] as string })),
      seconds: (performance.now() - this.#begun) / 1000,
    };
  }

  /** After the commit: the regions are as they were, and the kernel is told of the new table. */
  async close(): Promise<void> {
    try {
      await this.#checkRegions();
      await this.#removeJournal();
      this.#tell('committed');
      await this.#reread();
    } finally {
      await this.#disk.close();
    }
  }

  /** After an error: throws it, or that a region changed, which outranks all others. */
  async closeAfter(error: unknown): Promise<never> {
    if (await this.#checkpoints.rescue()) this.#durable = this.sink.digests;
    try {
      if (!(error instanceof RegionChangedError)) await this.#checkRegions();
    } catch (worse) {
      // An unreadable medium says nothing about the region; the first error tells why.
      if (worse instanceof RegionChangedError) throw worse;
    } finally {
      // What was read back wrong must not be resumed from.
      if (error instanceof TargetDiffersError || error instanceof RegionChangedError) await this.#removeJournal();
      await this.#resumption?.journal.close();
      await this.#disk.close();
    }
    throw error;
  }

  /** What cannot be removed is told, and does no harm: a journal counts only for a target with its run's fence. */
  async #removeJournal(): Promise<void> {
    try {
      await this.#resumption?.journal.remove();
    } catch (error) {
      if (!(error instanceof JournalError)) throw error;
      this.#warn(`${error.message}; it is not needed any more: remove it`);
    }
  }

  async #remember(regions: readonly Region[]): Promise<void> {
    this.#hashed = { regions, before: await hashRegions(this.#disk, regions) };
  }

  async #checkRegions(): Promise<void> {
    await checkRegions(this.#disk, this.#hashed.regions, this.#hashed.before);
  }

  async #writeProfile(region: Region, bundle: Bundle): Promise<void> {
    // The plan has made sure that what is there may be replaced, damaged or not.
    const options = { targetId: bundle.targetId, replaceTarget: true, replaceDamaged: true };
    await writeContainer(regionWriter(this.#disk, region), region, encodeBundle(bundle), options);
  }

  async #openJournal(): Promise<void> {
    const { plan } = this;
    if (plan.journal === undefined) return;
    try {
      this.#resumption = await openJournal(plan.runId, plan.journal);
    } catch (error) {
      if (!(error instanceof JournalError) || plan.journal.required) throw error;
      this.#warn(`${error.message}: a run that is killed will have to copy everything again`);
    }
    this.#checkpoints = this.#checkpointsFor(this.#resumption);
  }

  #checkpointsFor(resumption: Resumption | undefined): Checkpoints {
    const onLost = (error: JournalError): void =>
      this.#warn(`${error.message}: the copy goes on, but if it is killed it will have to copy everything again`);
    return new Checkpoints(this.#target, resumption?.journal, onLost, this.#options.checkpointEvery);
  }

  #makeSink(): Sink {
    const { plan } = this;
    const resumption = this.#resumption;
    return new Sink(guard(this.#target, this.#keptRegions), {
      ...(resumption?.durable === undefined ? {} : { durable: resumption.durable }),
      compares: (range) => plan.delta || resumption?.isDirty(range) === true,
      isHole: (range) => this.#holes.covers(range),
      skipBad: plan.readErrors === 'skip',
      onPiece: (record) => this.#checkpoints.add(record),
    });
  }

  async #verify(): Promise<CacheBypass> {
    this.#phase('verify', 'Reading back');
    const { digests } = this.sink;
    let done = 0;
    const total = [...digests].reduce((sum, { length }) => sum + length, 0);
    const bypass = await readBackCopy({
      plan: this.plan,
      source: this.#options.source,
      target: this.#target,
      digests,
      onChunk: (bytes) => {
        done += bytes;
        this.#options.onEvent({ type: 'progress', phase: 'verify', done, total });
      },
      ...this.#signal,
    });
    if (bypass === 'none') {
      this.#warn(
        'not verified past the cache: the kernel would not let go of its cached pages, so the read-back may have come from memory',
      );
    }
    return bypass;
  }

  /** What is changed on the copied file systems; answers the number of files that the persona changed. */
  async #makeItself(): Promise<number> {
    await this.#grow();
    await this.#rewriteIds();
    return this.#persona();
  }

  async #grow(): Promise<void> {
    const { grow, parts } = this.plan;
    if (grow.length === 0) return;
    this.#phase('grow', `Growing ${grow.map(({ label }) => label).join(' and ')}`);
    await this.#checkpoints.markDirty(parts.filter(({ fate }) => fate === 'copied').map(({ range }) => range));
    await growFileSystems(this.#target, { growths: grow }, this.#signal);
  }

  async #rewriteIds(): Promise<void> {
    const { table, renames, parts } = this.plan;
    if (table === undefined || renames.length === 0) return;
    this.#phase('ids', 'Replacing old PARTUUIDs in the files of the copied system');
    await this.#checkpoints.markDirty(parts.filter(({ fate }) => fate === 'copied').map(({ range }) => range));
    await rewriteIds(this.#target, { table, renames, ...this.#signal });
  }

  async #persona(): Promise<number> {
    const { identity, table, personaParts, replay } = this.plan;
    if (identity.bundle === undefined || table === undefined) return 0;
    const { bundle } = identity;
    this.#phase('persona', `Making it ${bundle.resolved.host}`);
    await this.#checkpoints.markDirty(this.plan.parts.filter(({ fate }) => fate === 'copied').map(({ range }) => range));
    const changed = await personalizeTarget(this.#target, { table, bundle, writable: personaParts, replay, ...this.#signal });
    await this.#target.flush();
    return changed;
  }

  async #damage(): Promise<Damage> {
    const hit = lostOf(this.plan, this.#options.reader.bad);
    if (hit.count === 0) return noDamage;
    this.#phase('damage', 'Looking whose the bytes were that could not be read');
    const damage = await damageOf(this.#target, this.plan, hit);
    // Told at once: what comes now may fail because of it.
    this.#warn(damageWords(this.plan, damage));
    return damage;
  }

  /** With `skip`, sectors that cannot be read keep what the target has there, also where the fence erases it. */
  async #keepHead(): Promise<void> {
    if (this.plan.readErrors !== 'skip') return;
    this.#oldHead = new Uint8Array(this.plan.withheld);
    await this.#disk.read(this.#oldHead, 0);
  }

  /** The first bytes of a disk without a table. */
  async #readWithheld(): Promise<Uint8Array> {
    const bytes = new Uint8Array(this.plan.withheld);
    if (bytes.length === 0) return bytes;
    const bad = await this.#options.reader.read(bytes, 0, [{ offset: 0, length: bytes.length }]);
    for (const range of bad) bytes.set(this.#oldHead?.subarray(range.offset, end(range)) ?? [], range.offset);
    return bytes;
  }

  async #commit(head: Uint8Array): Promise<void> {
    this.#phase('commit', 'Committing');
    this.#options.signal?.throwIfAborted();
    await this.#releaseWithheld(head);
    await commitTable(this.#target, this.plan);
  }

  async #releaseWithheld(bytes: Uint8Array): Promise<void> {
    if (bytes.length === 0) return;
    await this.#target.write(bytes, 0);
    await this.#target.flush();
    await confirm(this.#target, [{ offset: 0, bytes }]);
  }

  async #reread(): Promise<void> {
    if ((await this.#disk.rereadTable?.()) !== false) return;
    const { name } = this.#disk;
    this.#warn(`the kernel still knows the old partitions of ${name}: run "partprobe ${name}" or reboot before using them`);
  }

  #phase(phase: string, title: string): void {
    const whose = this.#options.several ? `${this.plan.target.path}: ` : '';
    this.#options.onEvent({ type: 'phase', phase, title: `${whose}${title}` });
  }

  #tell(state: 'fenced' | 'committed'): void {
    this.#options.onEvent({ type: 'target', name: this.plan.target.path, state });
  }

  #warn(message: string): void {
    this.#options.onEvent({ type: 'warning', message });
  }

  get #signal(): { readonly signal?: AbortSignal } {
    return this.#options.signal === undefined ? {} : { signal: this.#options.signal };
  }
}
