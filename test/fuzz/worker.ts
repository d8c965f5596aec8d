/** Runs the cases of one target after the other; what takes too long or too much memory is ended by watch.ts, from outside. */
import { parentPort, workerData } from 'node:worker_threads';
import { Random } from './random.ts';
import type { FuzzTarget } from './target.ts';

/** What a worker is told to do. */
export interface Job {
  /** URL of the module that exports the targets. */
  readonly module: string;
  /** One after the other. `seed` is the first case, the others follow; `runs` is how many at most. */
  readonly tasks: readonly { readonly target: string; readonly folder: string; readonly seed: number; readonly runs: number }[];
  /** For each target. */
  readonly milliseconds: number;
  /** Float64: the seed of the case that runs, when it began (ms), cases of the target done, and which of the tasks it is. */
  readonly slots: SharedArrayBuffer;
}

export interface Find {
  readonly target: string;
  readonly seed: number;
  readonly what: string;
  readonly changes: string;
}

/** What a worker tells in the end, and each kind of find once, when it is met. */
export type Message = { readonly find: Find } | { readonly done: Done };

export interface Done {
  readonly target: string;
  readonly executions: number;
  readonly seconds: number;
  readonly outcomes: Readonly<Record<string, number>>;
  readonly missing: readonly string[];
  readonly slowest: { readonly ms: number; readonly seed: number };
}

/** Different finds of one target that are told. */
const mostFinds = 20;

async function work(job: Job): Promise<void> {
  const slots = new Float64Array(job.slots);
  const { targets } = (await import(job.module)) as { targets: readonly FuzzTarget[] };
  for (const [index, task] of job.tasks.entries()) {
    slots[3] = index;
    slots[2] = 0;
    const target = targets.find(({ name }) => name === task.target);
    if (target === undefined) throw new Error(`there is no target ${task.target}`);
    await one(target, task, job.milliseconds, slots);
  }
}

async function one(
  target: FuzzTarget,
  { folder, seed: first, runs }: Job['tasks'][number],
  milliseconds: number,
  slots: Float64Array,
): Promise<void> {
  const port = parentPort as NonNullable<typeof parentPort>;
  const body = await target.open(folder);
  const outcomes: Record<string, number> = {};
  const kinds = new Set<string>();
  let slowest = { ms: 0, seed: 0 };
  const began = performance.now();
  let executions = 0;
  for (; executions < runs && performance.now() - began < milliseconds; executions++) {
    const seed = first + executions;
    slots[0] = seed;
    slots[1] = Date.now();
    const start = performance.now();
    try {
      const outcome = await body.run(new Random(seed));
      outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
    } catch (error) {
      outcomes.find = (outcomes.find ?? 0) + 1;
      const { what, kind } = describe(error);
      if (!kinds.has(kind) && kinds.size < mostFinds)
        port.postMessage({ find: { target: target.name, seed, what, changes: body.changes() } });
      kinds.add(kind);
    }
    const ms = performance.now() - start;
    if (ms > slowest.ms) slowest = { ms, seed };
    slots[2] = executions + 1;
  }
  slots[1] = 0;
  const seconds = (performance.now() - began) / 1000;
  const missing = body.reaches.filter(
    (outcome) => !Object.keys(outcomes).some((each) => each === outcome || each.startsWith(`${outcome},`)),
  );
  port.postMessage({ done: { target: target.name, executions, seconds, outcomes, missing, slowest } });
}

/** Finds of one kind have the same message but for numbers, and come from the same line of ours. */
function describe(error: unknown): { what: string; kind: string } {
  const what = error instanceof Error ? (error.stack ?? error.message) : String(error);
  const line = /\/src\/[^)\n]*/.exec(what)?.[0] ?? '';
  const message = error instanceof Error ? `${error.name}: ${error.message}` : what;
  return { what, kind: `${message.replace(/\d+/g, 'N').slice(0, 120)} ${line}` };
}

await work(workerData as Job);
