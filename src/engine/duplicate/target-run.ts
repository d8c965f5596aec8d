/** One target's way through a run: fence, profile, copy, read back, persona, commit. Killed at any instant, it can be finished. */
import { ArchivedDisk } from '../archive/archived-disk.ts';
import { DoppelError, RegionChangedError } from '../errors.ts';
import type { OnEvent } from '../events.ts';
import type { ByteRange, CacheBypass, GuardedTarget, ImageSource, ReadBack } from '../image/contract.ts';
import { createImage } from '../image/create.ts';
import type { OpenImage } from '../image/open-image.ts';
import { refuseShrunk } from '../image/shrunk.ts';
import type { Task } from '../lanes/blocks.ts';
import type { DigestLog } from '../lanes/digests.ts';
import { Sink } from '../lanes/sink.ts';
import type { SourceReader } from '../lanes/source-reader.ts';
import { openTarget } from '../layout/part-of-disk.ts';
import { regionWriter, writeContainer } from '../profile/container-write.ts';
import type { Bundle } from '../profile/model.ts';
import { guard } from '../protect/guard.ts';
import { IntervalSet } from '../protect/intervals.ts';
import type { Region } from '../protect/region.ts';
import { checkWork, keptRegions } from './check-work.ts';
import { Checkpoints } from './checkpoints.ts';
import { allocationOf } from './contents.ts';
import { damageOf, damageWords, lostOf } from './damage.ts';
import { DamagedCopyError, TargetDiffersError } from './errors.ts';
import type { JournalError } from './journal.ts';
import { makeItself } from './make-itself.ts';
import type { ClonePlan } from './plan.ts';
import { recheckOne } from './preconditions.ts';
import { verifyCopy } from './read-back.ts';
import { type CloneResult, type Damage, noDamage } from './result.ts';
import type { Resumption } from './resume.ts';
import { openRunJournal, removeRunJournal } from './run-journal.ts';
import { SetAside } from './set-aside.ts';
import { commitTable, raiseFence } from './table-writes.ts';
import { TargetEvents } from './target-events.ts';
import { tasksOf } from './tasks.ts';
import { WatchedRegions } from './watched-regions.ts';
import { type Head, headFor, keepOldHead, releaseHead } from './withheld.ts';

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
  readonly #events: TargetEvents;
  readonly #regions: WatchedRegions;
  readonly #setAside: SetAside;
  readonly #options: TargetRunOptions;
  readonly #begun = performance.now();
  #resumption: Resumption | undefined;
  #checkpoints: Checkpoints;
  #sink: Sink | undefined;
  /** What it holds already, where that is compared. */
  #medium: ReadBack | undefined;
  /** What read as zeros before the copy. */
  #holes = IntervalSet.empty;
  #oldHead: Uint8Array | undefined;
  #head: Uint8Array = new Uint8Array(0);
  #durable: DigestLog | undefined;
  #sets: Pick<ClonePlan, 'copy' | 'zero' | 'discard'>;
  /** Bytes of the copy that were found on the target without asking the source for them. */
  #same = 0;

  constructor(plan: ClonePlan, disk: OpenImage, options: TargetRunOptions) {
    this.plan = plan;
    this.#disk = disk;
    this.#options = options;
    this.#events = new TargetEvents(plan.target.path, options.several, options.onEvent);
    this.#regions = new WatchedRegions(disk);
    this.#target = guard(disk, plan.regions);
    this.#setAside = new SetAside(this.#target);
    this.#sets = plan;
    this.#checkpoints = this.#checkpointsFor(undefined);
  }

  /** From here on the target does not boot until the commit. */
  async begin(): Promise<void> {
    const { plan } = this;
    const { regions, identity } = plan;
    const standing = regions.filter((region) => region.name !== identity.write?.region.name);
    checkWork(this.#disk.name, plan);
    await this.#regions.watch(standing);
    this.#resumption = await openRunJournal(plan, this.#events);
    this.#checkpoints = this.#checkpointsFor(this.#resumption);
    // It writes where an earlier run may have noted something, and notes nothing itself: whoever comes after it compares, too.
    if (plan.delta) await this.#checkpoints.markDirty([{ offset: 0, length: this.#disk.size }]);
    if (!plan.delta && this.#disk.reserve !== undefined) await this.#setAside.reserve(plan.copy);
    this.#oldHead = await keepOldHead(this.#disk, plan);
    this.#options.signal?.throwIfAborted();
    this.#events.phase('fence', 'Fencing the target: from here on it does not boot until everything is done');
    this.#events.state('fenced');
    await raiseFence(this.#target, plan);
    if (identity.write !== undefined) {
      await this.#writeProfile(identity.write.region, identity.bundle as Bundle);
      await this.#regions.check();
      await this.#regions.watch(regions);
    }
    if (plan.delta || this.#resumption?.durable !== undefined) this.#medium = await this.#target.readBack();
    // After the fence, which writes where the copy will go.
    this.#holes = (await allocationOf(this.#disk)).zero;
    const held = await this.#held();
    this.#sets = { copy: plan.copy.subtract(held), zero: plan.zero.subtract(this.#holes), discard: plan.discard };
    this.#same = held.intersect(plan.copy).bytes;
  }

  /** What is to be done, in the order of the disk. */
  get tasks(): Iterable<Task> {
    return tasksOf(this.#sets);
  }

  /** What of the source it needs. */
  get copied(): IntervalSet {
    return this.#sets.copy;
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

  /** The first bytes of the source, as far as they are withheld: written last, but of the same state of the source as the rest. */
  takeHead(head: Head): void {
    this.#head = headFor(this.plan, head, this.#oldHead);
  }

  /** When everything was copied, the head was taken, and the source is still what it was: read back, persona, commit. */
  async finish(): Promise<CloneResult> {
    const { plan } = this;
    await this.#medium?.close();
    this.#events.phase('flush', 'Waiting until everything is on stable storage');
    await this.#setAside.giveBack();
    await this.#checkpoints.finish();
    const { sums } = this.sink;
    const verified = plan.verify || sums.resumed > 0 ? await this.#verify() : 'skipped';
    // Before anybody writes to the copied file systems: then the bytes are still those of the files that they are of on the source.
    // Nobody writes to a disk without a table, and it shows its files only when its head is there.
    const early = plan.withheld === 0 ? await this.#damage() : undefined;
    const filesChanged = await this.#makeItself().catch((error: unknown) => {
      // The kernel finds the damage when it writes there; trying again would find it again.
      // What is lost outside every part, boot code too, has nothing to do with it.
      const inParts = early?.parts.some(({ number }) => number > 0) === true;
      if (early === undefined || !inParts || !(error instanceof DoppelError) || error instanceof RegionChangedError) throw error;
      throw new DamagedCopyError(plan, early, error);
    });
    await this.#commit();
    const unreadable = early ?? (await this.#damage());
    return {
      runId: plan.runId,
      ...sums,
      same: sums.same + this.#same,
      verified,
      filesChanged,
      unreadable,
      regions: this.#regions.hashes,
      seconds: (performance.now() - this.#begun) / 1000,
    };
  }

  /** After the commit: the regions are as they were, and the kernel is told of the new table. */
  async close(): Promise<void> {
    try {
      await this.#regions.check();
      await removeRunJournal(this.#resumption, this.#events);
      this.#events.state('committed');
      await this.#reread();
    } finally {
      await this.#disk.close();
    }
  }

  /** After an error: throws it, or that a region changed, which outranks all others. */
  async closeAfter(error: unknown): Promise<never> {
    if (await this.#checkpoints.rescue()) this.#durable = this.sink.digests;
    try {
      if (!(error instanceof RegionChangedError)) await this.#regions.check();
    } catch (worse) {
      // An unreadable medium says nothing about the region; the first error tells why.
      if (worse instanceof RegionChangedError) throw worse;
    } finally {
      // What was read back wrong must not be resumed from.
      if (error instanceof TargetDiffersError || error instanceof RegionChangedError)
        await removeRunJournal(this.#resumption, this.#events);
      await this.#resumption?.journal.close();
      await this.#medium?.close();
      await this.#closeDisk();
    }
    throw error;
  }

  /** Something went wrong already: that closing fails as well is told, but not instead. */
  async #closeDisk(): Promise<void> {
    try {
      await this.#disk.close();
    } catch (error) {
      if (!(error instanceof DoppelError)) throw error;
      this.#events.warning(error.message);
    }
  }

  async #writeProfile(region: Region, bundle: Bundle): Promise<void> {
    // The plan has made sure that what is there may be replaced, damaged or not.
    const options = { targetId: bundle.targetId, replaceTarget: true, replaceDamaged: true };
    const { encodeBundle } = await import('../profile/bundle.ts');
    await writeContainer(regionWriter(this.#disk, region), region, encodeBundle(bundle), options);
  }

  /** What an archive need not even be asked for. */
  async #held(): Promise<IntervalSet> {
    const { plan } = this;
    const { source, signal } = this.#options;
    const medium = this.#medium;
    if (!plan.delta || medium === undefined || !(source instanceof ArchivedDisk)) return IntervalSet.empty;
    this.#events.phase('compare', 'Comparing what the target holds with the archive');
    return source.heldBy((into, offset) => medium.read(into, offset), plan.copy, signal);
  }

  #checkpointsFor(resumption: Resumption | undefined): Checkpoints {
    const onLost = (error: JournalError): void =>
      this.#events.warning(`${error.message}: the copy goes on, but if it is killed it will have to copy everything again`);
    return new Checkpoints(this.#target, resumption?.journal, onLost, this.#options.checkpointEvery);
  }

  #makeSink(): Sink {
    const { plan } = this;
    const [resumption, medium] = [this.#resumption, this.#medium];
    const has = (range: ByteRange): boolean => plan.delta || resumption?.isDirty(range) === true;
    return new Sink(guard(this.#target, keptRegions(plan)), {
      ...(resumption?.durable === undefined ? {} : { durable: resumption.durable }),
      ...(medium === undefined ? {} : { compared: { has, medium } }),
      isHole: (range) => this.#holes.covers(range),
      onUnwritten: this.#setAside.unwritten,
      skipBad: plan.readErrors === 'skip',
      ...(plan.delta ? {} : { onPiece: (record) => this.#checkpoints.add(record) }),
    });
  }

  #verify(): Promise<CacheBypass> {
    return verifyCopy({
      plan: this.plan,
      source: this.#options.source,
      target: this.#target,
      digests: this.sink.digests,
      events: this.#events,
      signal: this.#options.signal,
    });
  }

  #makeItself(): Promise<number> {
    return makeItself({
      plan: this.plan,
      target: this.#target,
      checkpoints: this.#checkpoints,
      events: this.#events,
      signal: this.#options.signal,
    });
  }

  async #damage(): Promise<Damage> {
    const hit = lostOf(this.plan, this.#options.reader.bad);
    if (hit.count === 0) return noDamage;
    this.#events.phase('damage', 'Looking whose the bytes were that could not be read');
    const damage = await damageOf(this.#target, this.plan, hit);
    // Told at once: what comes now may fail because of it.
    this.#events.warning(damageWords(this.plan, damage));
    return damage;
  }

  async #commit(): Promise<void> {
    this.#events.phase('commit', 'Committing');
    this.#options.signal?.throwIfAborted();
    await refuseShrunk(this.plan.target.path);
    await releaseHead(this.#target, this.#head);
    await commitTable(this.#target, this.plan);
  }

  async #reread(): Promise<void> {
    if ((await this.#disk.rereadTable?.()) !== false) return;
    const { name } = this.#disk;
    this.#events.warning(
      `the kernel still knows the old partitions of ${name}: run "partprobe ${name}" or reboot before using them`,
    );
  }
}
