/** Runs targets in worker threads, and ends a case that takes too long or too much memory. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import type { FuzzTarget } from './target.ts';
import type { Done, Find, Job, Message } from './worker.ts';

export interface Limits {
  /** For one case. */
  readonly caseSeconds: number;
  /** Bytes that the process may have beyond what it had when the target began. */
  readonly memory: number;
}

export interface Budget {
  /** The first case of every target. */
  readonly seed: number;
  /** At most so many cases of a target; default: its share of CI. */
  readonly runs?: number;
  /** At most so long for a target; default: no limit. */
  readonly milliseconds?: number;
}

export interface Report extends Done {
  /** Bytes beyond what the process had when the worker began. */
  readonly peakMemory: number;
  readonly finds: readonly Find[];
}

const pollMs = 50;
const heapMiB = 400;

/** The samples are made in `folder` unless they are there. */
export async function prepare(target: FuzzTarget, folder: string): Promise<string> {
  const own = join(folder, target.name.replace(/\W/g, '-'));
  try {
    mkdirSync(own);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return own;
    throw error;
  }
  try {
    await target.prepare?.(own);
  } catch (error) {
    rmSync(own, { recursive: true });
    throw error;
  }
  return own;
}

/**
 * The reports of all targets, which share a worker thread. After a case that had to be ended a new one goes on with the next.
 * `module` is the one that exports the targets.
 */
export async function fuzz(
  targets: readonly FuzzTarget[],
  folder: string,
  budget: Budget,
  limits: Limits,
  module = new URL('./targets/all.ts', import.meta.url),
): Promise<Report[]> {
  const tasks: Job['tasks'][number][] = [];
  for (const target of targets) {
    tasks.push({
      target: target.name,
      folder: await prepare(target, folder),
      seed: budget.seed,
      runs: budget.runs ?? target.share,
    });
  }
  const run = new Run(limits);
  const slots = new SharedArrayBuffer(4 * Float64Array.BYTES_PER_ELEMENT);
  const state = new Float64Array(slots);
  while (tasks.length > 0) {
    const before = run.done.length;
    const ended = await run.worker(
      { module: module.href, tasks, slots, milliseconds: budget.milliseconds ?? Number.MAX_SAFE_INTEGER },
      state,
    );
    tasks.splice(0, run.done.length - before);
    const [task] = tasks;
    if (ended === undefined || task === undefined) break;
    const bad = state[0] as number;
    run.finds.push({ target: task.target, seed: bad, what: ended, changes: '' });
    run.lost.set(task.target, (run.lost.get(task.target) ?? 0) + bad + 1 - task.seed);
    tasks[0] = { ...task, seed: bad + 1, runs: task.runs - (bad + 1 - task.seed) };
    if (run.finds.length > mostEnded) tasks.shift();
  }
  return run.done.map((done) => ({
    ...done,
    executions: done.executions + (run.lost.get(done.target) ?? 0),
    peakMemory: run.peaks.get(done.target) ?? 0,
    finds: run.finds.filter(({ target }) => target === done.target),
  }));
}

/** Enough to know that something is wrong with a target as a whole. */
const mostEnded = 50;

class Run {
  readonly done: Done[] = [];
  readonly finds: Find[] = [];
  /** Cases of workers that were ended. */
  readonly lost = new Map<string, number>();
  /** Bytes, by target. */
  readonly peaks = new Map<string, number>();
  readonly #limits: Limits;

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  /** Why the worker had to be ended; undefined when it did all its tasks. */
  async worker(job: Job, state: Float64Array): Promise<string | undefined> {
    state.fill(0);
    const before = process.memoryUsage.rss();
    const worker = new Worker(new URL('./worker.mjs', import.meta.url), {
      workerData: job,
      resourceLimits: { maxOldGenerationSizeMb: heapMiB },
    });
    let ended: string | undefined;
    let failure: unknown;
    let gone = false;
    worker.on('message', (message: Message) => {
      if ('find' in message) this.finds.push(message.find);
      else this.done.push(message.done);
    });
    worker.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ERR_WORKER_OUT_OF_MEMORY') ended = `more than ${heapMiB} MiB of heap`;
      else if (state[1] === 0) failure = error;
      else ended = `outside of the case: ${error.stack}`;
    });
    const exited = new Promise<void>((resolve) => worker.once('exit', () => resolve())).then(() => {
      gone = true;
    });
    try {
      while (!gone && ended === undefined) {
        await Promise.race([exited, setTimeout(pollMs)]);
        const target = job.tasks[state[3] as number]?.target ?? '';
        const taken = process.memoryUsage.rss() - before;
        this.peaks.set(target, Math.max(this.peaks.get(target) ?? 0, taken));
        if (state[1] === 0) continue;
        const seconds = (Date.now() - (state[1] as number)) / 1000;
        if (seconds > this.#limits.caseSeconds) ended ??= `took longer than ${this.#limits.caseSeconds} s`;
        if (taken > this.#limits.memory) ended ??= `took ${Math.round(taken / 1e6)} MB of memory`;
      }
    } finally {
      await worker.terminate();
      await exited;
    }
    if (failure !== undefined) throw failure;
    return ended;
  }
}

/** The command that runs one case again: on the same samples where they are kept, else on such that are made alike. */
export function again({ target, seed }: Pick<Find, 'target' | 'seed'>, samples?: string): string {
  return `npm run test:fuzz -- --target '${target}' --seed ${seed} --runs 1${samples === undefined ? '' : ` --samples ${samples}`}`;
}

/** One line for each target, and its finds with all that is needed to see them again. */
export function render(report: Report, samples?: string): string {
  const { executions, seconds, slowest, peakMemory } = report;
  const outcomes = Object.entries(report.outcomes).sort((a, b) => b[1] - a[1]);
  const numbers = [
    `${executions} executions`,
    `${Math.round(executions / seconds)}/s`,
    `slowest ${Math.round(slowest.ms)} ms (seed ${slowest.seed})`,
    `+${Math.round(peakMemory / 1e6)} MB`,
    `${report.finds.length} finds`,
  ];
  const lines = [
    `${report.target}: ${numbers.join(', ')}`,
    `    ${outcomes.map(([name, times]) => `${times} ${name}`).join('; ')}`,
  ];
  if (report.missing.length > 0) lines.push(`    never: ${report.missing.join(', ')}`);
  for (const find of report.finds) {
    lines.push(
      `  FIND ${find.what.split('\n').slice(0, 8).join('\n    ')}`,
      `    ${find.changes.slice(0, 2000).replaceAll('\n', '\n    ')}`,
      `    again: ${again(find, samples)}`,
    );
  }
  return lines.join('\n');
}

/** Keeps what was found for people, beside the samples that it was found in. */
export function keep(report: Report, samples: string): void {
  if (report.finds.length > 0)
    writeFileSync(join(samples, `finds-${report.target.replace(/\W/g, '-')}.txt`), `${render(report, samples)}\n`);
}
