/** Carries plans out: one read of the source goes to all targets. What fails on one target does not keep the others. */
import { ArchivedDisk } from '../archive/archived-disk.ts';
import { DoppelError } from '../errors.ts';
import { type EngineEvent, ignoreEvents, type OnEvent, type RunOptions } from '../events.ts';
import type { ImageIdentity } from '../image/identity.ts';
import { blocksOf } from '../lanes/blocks.ts';
import { copyBlocks } from '../lanes/copy.ts';
import type { SourceReader } from '../lanes/source-reader.ts';
import { IntervalSet } from '../protect/intervals.ts';
import { type OpenedSource, openPlannedSource, type PlannedSource } from './open-source.ts';
import type { ClonePlan } from './plan.ts';
import { readerFor } from './reader.ts';
import { mapOf, writeRescueMap } from './rescue-map.ts';
import type { CloneOutcome, CloneResult } from './result.ts';
import { startTarget, type TargetRun } from './target-run.ts';
import { readHead } from './withheld.ts';

export interface ExecuteOptions extends RunOptions {
  /** Milliseconds between two entries of the journal; 5000 when absent. */
  readonly checkpointEvery?: number;
}

/** One plan; what goes wrong is thrown. @throws as `executeClones` tells */
export async function executeClone(plan: ClonePlan, options: ExecuteOptions = {}): Promise<CloneResult> {
  const [outcome] = await executeClones([plan], options);
  if (outcome === undefined || 'error' in outcome) throw outcome?.error;
  return outcome.result;
}

/**
 * Plans of one source, for targets of their own. Nothing is written to a target before its plan's preconditions were checked
 * again. An outcome's error is a RegionChangedError over every other error when a protected byte changed; CloneRefusedError
 * when a disk is not what the plan was made for; ImageIoError; SourceGoneError; TargetDiffersError; the signal's reason.
 * @throws CloneRefusedError, ImageIoError when the source cannot be opened or has changed; no target is touched then
 */
export async function executeClones(
  plans: readonly ClonePlan[],
  options: ExecuteOptions = {},
): Promise<readonly CloneOutcome<ClonePlan>[]> {
  const [first] = plans;
  if (first === undefined) return [];
  const opened = await openPlannedSource(sourceOf(first));
  const { image: source } = opened;
  try {
    const { source: identity, knownBad, readErrors: policy } = first;
    const { onEvent = ignoreEvents } = options;
    const onAgain = (places: number, tried: boolean): void => onEvent(again(identity, places, tried));
    const reader = readerFor(source, { identity, knownBad, policy, onAgain });
    try {
      return await new Run(plans, first, opened, reader, options).outcomes();
    } finally {
      await reader.close();
    }
  } finally {
    await source.close();
  }
}

function sourceOf(plan: ClonePlan): PlannedSource {
  return { ...plan, sighting: plan.preconditions.source };
}

/** What could not be read is tried once more, or there is too much of it. */
function again({ path }: ImageIdentity, places: number, tried: boolean): EngineEvent {
  if (tried) return { type: 'phase', phase: 'again', title: 'Trying once more what could not be read' };
  return { type: 'warning', message: `${path} could not be read at ${places} places: too many to try them once more` };
}

class Run {
  readonly #plans: readonly ClonePlan[];
  readonly #first: ClonePlan;
  readonly #source: OpenedSource;
  readonly #reader: SourceReader;
  readonly #options: ExecuteOptions;
  readonly #onEvent: OnEvent;
  readonly #errors = new Map<ClonePlan, unknown>();
  readonly #results = new Map<ClonePlan, CloneResult>();

  constructor(
    plans: readonly ClonePlan[],
    first: ClonePlan,
    source: OpenedSource,
    reader: SourceReader,
    options: ExecuteOptions,
  ) {
    this.#plans = plans;
    this.#first = first;
    this.#source = source;
    this.#reader = reader;
    this.#options = options;
    this.#onEvent = options.onEvent ?? ignoreEvents;
  }

  async outcomes(): Promise<readonly CloneOutcome<ClonePlan>[]> {
    const runs: TargetRun[] = [];
    for (const plan of this.#plans) {
      await this.#guarded(plan, async () => {
        runs.push(await startTarget(plan, this.#targetOptions()));
      });
      if (this.#plans.length > 1 && this.#errors.has(plan)) this.#warnDropped(plan, this.#errors.get(plan));
    }
    if (runs.length > 0) await this.#duplicate(runs);
    const mapProblem = runs.length === 0 ? undefined : await this.#writeMap(runs);
    return this.#plans.map((plan) => {
      const result = this.#results.get(plan);
      return result === undefined ? { plan, error: this.#errors.get(plan) } : { plan, result: { ...result, ...mapProblem } };
    });
  }

  #targetOptions() {
    const { signal, checkpointEvery } = this.#options;
    return {
      source: this.#source.image,
      reader: this.#reader,
      signal,
      onEvent: this.#onEvent,
      several: this.#plans.length > 1,
      checkpointEvery,
    };
  }

  async #duplicate(runs: readonly TargetRun[]): Promise<void> {
    let failure: { readonly error: unknown } | undefined;
    try {
      await this.#copy(runs);
      const head = await readHead(this.#reader, Math.max(...runs.map(({ plan }) => plan.withheld)));
      for (const run of runs) run.takeHead(head);
      this.#tellRecovered();
      await this.#reader.settle();
      await this.#source.settle();
      this.#reader.noteLost(this.#source.lost());
    } catch (error) {
      failure = { error };
    }
    for (const run of runs) {
      const error = run.sink.error ?? failure?.error;
      await this.#guarded(run.plan, async () => {
        if (error !== undefined) return run.closeAfter(error);
        const result = await run.finish().catch((reason: unknown) => run.closeAfter(reason));
        await run.close();
        this.#results.set(run.plan, result);
      });
    }
  }

  async #copy(runs: readonly TargetRun[]): Promise<void> {
    this.#onEvent({ type: 'phase', phase: 'copy', title: 'Copying' });
    const total = runs.reduce((sum, run) => sum + run.work, 0);
    let done = 0;
    const dropped = new Set<TargetRun>();
    const onChunk = (bytes: number): void => {
      done += bytes;
      this.#onEvent({ type: 'progress', phase: 'copy', done, total });
      for (const run of runs) if (run.sink.error !== undefined && runs.length > 1) this.#tellDropped(run, dropped);
    };
    if (this.#source instanceof ArchivedDisk)
      this.#source.expect(runs.reduce((sum, { copied }) => sum.union(copied), IntervalSet.empty));
    const { signal } = this.#options;
    await copyBlocks(
      blocksOf(runs.map((run) => run.tasks)),
      this.#reader,
      runs.map((run) => run.sink),
      { onChunk, ...(signal === undefined ? {} : { signal }) },
    );
  }

  #tellRecovered(): void {
    const { recovered } = this.#reader;
    if (recovered === 0) return;
    const message = `${recovered} bytes of ${this.#first.source.path} could not be read at first, and then could`;
    this.#onEvent({ type: 'warning', message });
  }

  #tellDropped(run: TargetRun, told: Set<TargetRun>): void {
    if (told.has(run)) return;
    told.add(run);
    this.#warnDropped(run.plan, run.sink.error);
  }

  #warnDropped({ target }: ClonePlan, error: unknown): void {
    const reason = error instanceof Error ? error.message : String(error);
    this.#onEvent({ type: 'warning', message: `${target.path} is dropped, the others go on: ${reason}` });
  }

  /** What goes wrong with one target is kept for its outcome; bugs come through. */
  async #guarded(plan: ClonePlan, step: () => Promise<void>): Promise<void> {
    try {
      await step();
    } catch (error) {
      if (this.#plans.length > 1 && !(error instanceof DoppelError)) throw error;
      this.#errors.set(plan, error);
    }
  }

  /** The targets are what they are, with a map or without. */
  async #writeMap(runs: readonly TargetRun[]): Promise<Pick<CloneResult, 'mapProblem'>> {
    const { mapFile } = this.#first;
    if (mapFile === undefined) return {};
    const states = this.#plans.map((plan) => {
      const run = runs.find((each) => each.plan === plan);
      return { plan, done: this.#results.has(plan), durable: run?.durable };
    });
    try {
      await writeRescueMap(mapFile, this.#source.image.size, mapOf(states, this.#reader.bad));
      return {};
    } catch (error) {
      if (!(error instanceof DoppelError)) throw error;
      this.#onEvent({ type: 'warning', message: error.message });
      return { mapProblem: error.message };
    }
  }
}
