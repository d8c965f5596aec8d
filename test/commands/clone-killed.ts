/**
 * Kills a clone at many points and holds each to the promise: regions intact; targets untouched, fenced or done; nothing left behind;
 * and the same command finishes it, also when it is killed once more, and when its journal was lost or damaged meanwhile.
 */
import {
  appendFileSync,
  cpSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { copyDisk } from '../engine/duplicate/small-disk.ts';
import { type Choice, chosen, type KillPoint, runUntil } from './kill-points.ts';
import { endState, makeScene, reset, type Scene, type SceneName } from './kill-scenes.ts';
import { checkRegions, litter, nothingRuns, type State, same, stateOf, storedIdentity } from './kill-state.ts';
import { doppelWith, type Ended } from './run-doppel.ts';

interface Outcome {
  readonly phase: string;
  readonly states: readonly State[];
  readonly runs: number;
}

/** What is done between a kill and the next run. */
const journalFates = ['kept', 'kept', 'kept', 'lost', 'torn', 'flipped'] as const;
type JournalFate = (typeof journalFates)[number];

/** Kills at the chosen points, one after another. */
export async function sweep(name: SceneName, choice: Choice): Promise<readonly Outcome[]> {
  const scene = await makeScene(name);
  const outcomes: Outcome[] = [];
  for (const point of chosen(scene.points, choice)) {
    const where = `${name}: killed at ${point.call} ${point.count} in ${point.phase}`;
    try {
      outcomes.push(await killAndFinish(scene, point, where));
      if (process.env.KILL_POINTS !== undefined)
        console.error(`${new Date().toISOString()} ${where}: ${outcomes.at(-1)?.states}`);
    } catch (error) {
      if (error instanceof Error) error.message = `${where}: ${error.message}`;
      throw error;
    }
  }
  reportSweep(summary(name, outcomes));
  return outcomes;
}

async function killAndFinish(scene: Scene, point: KillPoint, where: string): Promise<Outcome> {
  const random = randomFor(where);
  for (const { path, before } of scene.targets) reset(path, before);
  rmSync(scene.stateDir, { recursive: true, force: true });
  const { phase, states } = await killed(scene, point);
  let runs = 1;
  // What is as it was before would only run as an undisturbed run does.
  const asBefore = states.every((state) => state === 'untouched') && !existsSync(scene.stateDir);
  if (asBefore && random() < 0.9) return { phase, states, runs };

  if (random() < 0.3) {
    const count = 1 + Math.floor(random() * scene.points.length);
    await killed(scene, { count });
    runs++;
  }
  const journal = journalFates[Math.floor(random() * journalFates.length)] as JournalFate;
  harmJournal(scene.stateDir, journal, random);
  const twice = random() < 0.15;
  if (twice) keep(scene);
  const drawn = await Promise.all(scene.targets.map(({ path }) => storedIdentity(path)));
  runs += await finish(scene, journal);
  for (const [index, { path }] of scene.targets.entries()) {
    const identity = drawn[index];
    if (identity !== undefined) assert.equal(await storedIdentity(path), identity, 'another identity was drawn');
  }
  if (twice) {
    const found = scene.targets.map(({ path }) => endState(path, scene.shape));
    putBack(scene);
    runs += await finish(scene, journal);
    for (const [index, { path }] of scene.targets.entries()) {
      const wanted = found[index];
      if (wanted !== undefined) same(endState(path, scene.shape), wanted, 'finished twice', drawn[index] ? 'same' : 'drawn');
    }
  }
  return { phase, states, runs };
}

/** Runs up to the kill, and looks at what is there then. */
async function killed(
  scene: Scene,
  point: Pick<KillPoint, 'count'>,
): Promise<{ readonly phase: string; readonly states: readonly State[] }> {
  const { signal, exitCode, stderr } = await runUntil(point, 'SIGKILL', scene.command, scene);
  const phase = lastPhase(stderr);
  // A run that has less to do than the first one may be done before it makes that many calls.
  if (signal !== 'SIGKILL')
    assert.ok(exitCode === 0 || isDone(scene, { exitCode, stderr }), `it was not killed, but ended: ${stderr}`);
  await nothingRuns(scene);
  const states: State[] = [];
  for (const target of scene.targets) {
    checkRegions(target);
    states.push(await stateOf(target, scene.shape));
  }
  return { phase, states };
}

/** Answers the number of runs that it took. */
async function finish(scene: Scene, journal: JournalFate): Promise<number> {
  let runs = 1;
  let ended = await doppelIn(scene);
  // Only a journal that was changed behind the program's back can say that something is durable that is not. That is noticed when it is read back.
  if (ended.exitCode === 8 && (journal === 'torn' || journal === 'flipped')) {
    runs++;
    ended = await doppelIn(scene);
  }
  assert.ok(
    ended.exitCode === 0 || isDone(scene, ended),
    `journal ${journal}, run again: exit ${ended.exitCode} ${ended.stderr}`,
  );
  await nothingRuns(scene);
  for (const target of scene.targets) {
    checkRegions(target);
    const drawn = target.regions.length === 0;
    same(endState(target.path, scene.shape), target.wanted, 'done', drawn ? 'drawn' : 'same');
  }
  // A header that was flipped may name disks that are nobody's; and a run that leaves a finished disk alone leaves its journal, too.
  const mayStay = journal === 'flipped' || isDone(scene, ended);
  const left = litter(scene).filter((name) => !mayStay || !name.endsWith('.journal'));
  assert.equal(left, [], `nothing is left behind (journal ${journal})`);
  return runs;
}

/** A disk that the run makes itself, and has finished: it says so, and leaves it alone. */
function isDone({ targets }: Scene, { exitCode, stderr }: Pick<Ended, 'exitCode' | 'stderr'>): boolean {
  return targets.every(({ before }) => before === undefined) && exitCode === 4 && /exists/.test(stderr);
}

async function doppelIn({ command, temp }: Scene): Promise<Ended> {
  return doppelWith({ TMPDIR: temp }, ...command);
}

function lastPhase(stderr: string): string {
  const phases = [...stderr.matchAll(/"type":"phase","phase":"(\w+)"/g)].map(([, phase]) => phase as string);
  return phases.at(-1) ?? 'start';
}

function harmJournal(stateDir: string, fate: JournalFate, random: () => number): void {
  if (!existsSync(stateDir)) return;
  for (const name of readdirSync(stateDir)) {
    const path = join(stateDir, name);
    if (fate === 'lost') rmSync(path);
    const bytes = fate === 'torn' || fate === 'flipped' ? readFileSync(path) : Buffer.alloc(0);
    const at = Math.floor(random() * bytes.length);
    if (fate === 'torn') truncateSync(path, at);
    if (fate === 'flipped' && bytes.length > 0) {
      bytes[at] = (bytes[at] as number) ^ (1 << Math.floor(random() * 8));
      // In place: the same file, as a medium would do it.
      writeFileSync(path, bytes, { flag: 'r+' });
    }
  }
}

const kept = (path: string): string => `${path}.killed`;

function keep({ targets, stateDir }: Scene): void {
  for (const { path } of targets) {
    rmSync(kept(path), { force: true });
    if (existsSync(path)) copyDisk(path, kept(path));
  }
  rmSync(kept(stateDir), { recursive: true, force: true });
  if (existsSync(stateDir)) cpSync(stateDir, kept(stateDir), { recursive: true });
}

function putBack({ targets, stateDir }: Scene): void {
  for (const { path } of targets) {
    rmSync(path, { force: true });
    if (existsSync(kept(path))) renameSync(kept(path), path);
  }
  rmSync(stateDir, { recursive: true, force: true });
  if (existsSync(kept(stateDir))) renameSync(kept(stateDir), stateDir);
}

/** The same numbers in every run: mulberry32 from a hash of the text. */
export function randomFor(text: string): () => number {
  let state = [...text].reduce((hash, letter) => Math.imul(hash ^ letter.charCodeAt(0), 16_777_619), 2_166_136_261);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** What a whole sweep has tried goes to the file that KILL_REPORT names. */
export function reportSweep(text: string): void {
  if (process.env.KILL_REPORT !== undefined) appendFileSync(process.env.KILL_REPORT, `${text}\n`);
}

function summary(name: string, outcomes: readonly Outcome[]): string {
  const counts = new Map<string, number>();
  for (const { phase, states } of outcomes) {
    const key = `${phase}: ${states.join('+')}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  const runs = outcomes.reduce((sum, outcome) => sum + outcome.runs, 0);
  return `${name}: ${outcomes.length} points, ${runs} runs; ${[...counts].map(([key, count]) => `${key} ${count}`).join(', ')}`;
}
