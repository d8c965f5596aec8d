/** Carries a plan out: fence, copy, read back, persona, commit. Killed at any instant, the same command finishes it. */
import { RegionChangedError } from '../errors.ts';
import { ignoreEvents, type OnEvent, type RunOptions } from '../events.ts';
import { BlockImage } from '../image/block.ts';
import type { CacheBypass, GuardedTarget, ImageSource } from '../image/contract.ts';
import { openSource, openTarget } from '../image/open.ts';
import type { OpenImage } from '../image/open-image.ts';
import { chunksOf } from '../lanes/chunks.ts';
import { type CopyResult, copyChunks } from '../lanes/copy.ts';
import { encodeBundle } from '../profile/bundle.ts';
import { regionWriter, writeContainer } from '../profile/container-write.ts';
import type { Bundle } from '../profile/model.ts';
import { guard } from '../protect/guard.ts';
import { checkRegions, hashRegions } from '../protect/hash.ts';
import type { Region } from '../protect/region.ts';
import { personalizeTarget } from './apply-persona.ts';
import type { ClonePlan } from './plan.ts';
import { recheck } from './preconditions.ts';
import { readBackCopy } from './read-back.ts';
import { commitTable, confirm, raiseFence } from './table-writes.ts';
import { tasksOf } from './tasks.ts';

export interface CloneResult {
  readonly runId: string;
  /** Bytes of the target. */
  readonly written: number;
  readonly zeroed: number;
  readonly discarded: number;
  /** How the read-back got past the cache; `skipped` with --no-verify. */
  readonly verified: CacheBypass | 'skipped';
  /** Files that the persona changed. */
  readonly filesChanged: number;
  /** The protected regions and the SHA-256 (hex) that they had before and after. */
  readonly regions: readonly { readonly name: string; readonly sha256: string }[];
  readonly seconds: number;
}

/**
 * Nothing is written before the plan's preconditions were checked again.
 * @throws RegionChangedError over every other error when a protected byte changed; CloneRefusedError when a disk is not what
 * the plan was made for; ImageIoError; TargetDiffersError; the signal's reason
 */
export async function executeClone(plan: ClonePlan, options: RunOptions = {}): Promise<CloneResult> {
  const { image: source } = await openSource(plan.source.path, { allowInconsistent: plan.inconsistent });
  try {
    const target = await openTarget(plan.target.path);
    try {
      await recheck(plan.preconditions, source, target);
      return await new CloneRun(plan, source, target, options).run();
    } finally {
      await target.close();
    }
  } finally {
    await source.close();
  }
}

class CloneRun {
  readonly #plan: ClonePlan;
  readonly #source: ImageSource;
  readonly #disk: OpenImage;
  readonly #target: GuardedTarget;
  readonly #signal: AbortSignal | undefined;
  readonly #onEvent: OnEvent;

  constructor(plan: ClonePlan, source: ImageSource, disk: OpenImage, options: RunOptions) {
    this.#plan = plan;
    this.#source = source;
    this.#disk = disk;
    this.#target = guard(disk, plan.regions);
    this.#signal = options.signal;
    this.#onEvent = options.onEvent ?? ignoreEvents;
  }

  async run(): Promise<CloneResult> {
    const begun = performance.now();
    const { regions, identity } = this.#plan;
    const standing = regions.filter((region) => region.name !== identity.write?.region.name);
    const standingBefore = await hashRegions(this.#disk, standing);
    const done = await this.#holding(standing, standingBefore, async () => {
      this.#signal?.throwIfAborted();
      this.#phase('fence', 'Fencing the target: from here on it does not boot until everything is done');
      this.#onEvent({ type: 'target', state: 'fenced' });
      await raiseFence(this.#target, this.#plan);
      if (identity.write !== undefined) await this.#writeProfile(identity.write.region, identity.bundle as Bundle);
      const before = await hashRegions(this.#disk, regions);
      const outcome = await this.#holding(regions, before, () => this.#duplicate());
      return { ...outcome, regions: regions.map(({ name }, index) => ({ name, sha256: before[index] as string })) };
    });
    this.#onEvent({ type: 'target', state: 'committed' });
    await this.#reread();
    return { runId: this.#plan.runId, ...done, seconds: (performance.now() - begun) / 1000 };
  }

  /** A changed region outranks whatever else went wrong. */
  async #holding<T>(regions: readonly Region[], before: readonly string[], action: () => Promise<T>): Promise<T> {
    let outcome: { readonly value: T } | { readonly error: unknown };
    try {
      outcome = { value: await action() };
    } catch (error) {
      if (error instanceof RegionChangedError) throw error;
      outcome = { error };
    }
    try {
      await checkRegions(this.#disk, regions, before);
    } catch (error) {
      // An unreadable medium says nothing about the region; the first error tells why.
      if (error instanceof RegionChangedError || 'value' in outcome) throw error;
    }
    if ('error' in outcome) throw outcome.error;
    return outcome.value;
  }

  async #writeProfile(region: Region, bundle: Bundle): Promise<void> {
    // The plan has made sure that what is there may be replaced, damaged or not.
    const options = { targetId: bundle.targetId, replaceTarget: true, replaceDamaged: true };
    await writeContainer(regionWriter(this.#disk, region), region, encodeBundle(bundle), options);
  }

  async #duplicate(): Promise<Omit<CloneResult, 'runId' | 'regions' | 'seconds'>> {
    const copied = await this.#copy();
    const verified = this.#plan.verify ? await this.#verify(copied) : 'skipped';
    const filesChanged = await this.#persona();
    await this.#commit();
    const { written, zeroed, discarded } = copied;
    return { written, zeroed, discarded, verified, filesChanged };
  }

  async #copy(): Promise<CopyResult> {
    const { copy, zero, discard, kept } = this.#plan;
    this.#phase('copy', 'Copying');
    const progress = this.#progress('copy', copy.bytes + zero.bytes + discard.bytes);
    const keptRegions = [...kept].map(
      (range): Region => ({ ...range, carrier: 'partition', name: `the part at byte ${range.offset}, which stays` }),
    );
    const target = guard(this.#target, keptRegions);
    const result = await copyChunks(chunksOf(this.#source, tasksOf({ copy, zero, discard })), target, this.#lanes(progress));
    this.#phase('flush', 'Waiting until everything is on stable storage');
    await this.#target.flush();
    return result;
  }

  async #verify({ digests }: CopyResult): Promise<CacheBypass> {
    this.#phase('verify', 'Reading back');
    const progress = this.#progress('verify', this.#plan.copy.bytes + this.#plan.zero.bytes);
    const bypass = await readBackCopy({
      plan: this.#plan,
      source: this.#source,
      target: this.#target,
      digests,
      ...this.#lanes(progress),
    });
    if (bypass === 'none') {
      this.#onEvent({
        type: 'warning',
        message:
          'not verified past the cache: the kernel would not let go of its cached pages, so the read-back may have come from memory',
      });
    }
    return bypass;
  }

  async #persona(): Promise<number> {
    const { identity, table, personaParts, replay } = this.#plan;
    if (identity.bundle === undefined || table === undefined) return 0;
    const { bundle } = identity;
    this.#phase('persona', `Making it ${bundle.resolved.host}`);
    const signal = this.#signal === undefined ? {} : { signal: this.#signal };
    const changed = await personalizeTarget(this.#target, { table, bundle, writable: personaParts, replay, ...signal });
    await this.#target.flush();
    return changed;
  }

  async #commit(): Promise<void> {
    this.#signal?.throwIfAborted();
    this.#phase('commit', 'Committing');
    await this.#releaseWithheld();
    await commitTable(this.#target, this.#plan);
  }

  async #releaseWithheld(): Promise<void> {
    if (this.#plan.withheld === 0) return;
    const bytes = new Uint8Array(this.#plan.withheld);
    await this.#source.read(bytes, 0);
    await this.#target.write(bytes, 0);
    await this.#target.flush();
    await confirm(this.#target, [{ offset: 0, bytes }]);
  }

  async #reread(): Promise<void> {
    if (!(this.#disk instanceof BlockImage) || (await this.#disk.rereadTable())) return;
    this.#onEvent({
      type: 'warning',
      message: `the kernel still knows the old partitions of ${this.#disk.name}: run "partprobe ${this.#disk.name}" or reboot before using them`,
    });
  }

  #phase(phase: string, title: string): void {
    this.#onEvent({ type: 'phase', phase, title });
  }

  #progress(phase: string, total: number): (bytes: number) => void {
    let done = 0;
    return (bytes) => {
      done += bytes;
      this.#onEvent({ type: 'progress', phase, done, total });
    };
  }

  #lanes(onChunk: (bytes: number) => void) {
    return { onChunk, ...(this.#signal === undefined ? {} : { signal: this.#signal }) };
  }
}
