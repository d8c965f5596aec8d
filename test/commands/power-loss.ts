/**
 * Lets the power fail anywhere in a clone, with any part of the unflushed writes lost, and holds each disk to the promise: regions
 * intact; old, fenced or done; and the same clone, run again, finishes it.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { executeClone } from '../../src/engine/duplicate/execute.ts';
import { journalPath } from '../../src/engine/duplicate/journal.ts';
import { planClone } from '../../src/engine/duplicate/make-plan.ts';
import type { ClonePlan } from '../../src/engine/duplicate/plan.ts';
import type { Bundle } from '../../src/engine/profile/model.ts';
import { hashOf } from '../engine/duplicate/disk-facts.ts';
import { requestOf, type Wishes } from '../engine/duplicate/requests.ts';
import { copyDisk } from '../engine/duplicate/small-disk.ts';
import { randomFor, reportSweep } from './clone-killed.ts';
import { endState, type KillTarget, type Shape } from './kill-scenes.ts';
import { checkRegions, type State, same, stateOf, storedIdentity } from './kill-state.ts';
import { applyCrash, type Crash, crashAt, type Fate, recorded, WriteLog } from './write-log.ts';

export interface PowerScene {
  readonly name: string;
  readonly folder: string;
  readonly source: string;
  readonly before: string;
  readonly wishes: Wishes;
  readonly shape: Shape;
  /** Hosts of which one must be readable from the profile at every instant; empty: there need not be any. */
  readonly hosts: readonly string[];
  /** Whether the region keeps its bytes. */
  readonly regionStays: boolean;
}

export interface Effort {
  /** Crashes of CI by phase. */
  readonly some: Readonly<Record<string, number>>;
  /** Disks of one crash that are made and looked at. */
  readonly fates: number;
  /** Of the disks that are not as they were before, the part that is finished in CI; the whole sweep finishes half. */
  readonly finished: number;
}

/** Answers how many disks were looked at, and how many of them were finished. */
export async function failPower(scene: PowerScene, effort: Effort): Promise<{ readonly disks: number; readonly runs: number }> {
  const { name, folder, before, wishes, shape } = scene;
  const path = join(folder, 'target.img');
  const stateDir = join(folder, 'power-state');
  const run = async (log?: WriteLog): Promise<ClonePlan> => {
    const plan = await planClone(requestOf(scene.source, path, { stateDir: { path: stateDir, required: true }, ...wishes }));
    // Recorded, every piece goes into the journal by itself.
    const often = log === undefined ? {} : { checkpointEvery: 0 };
    await executeClone(plan, { ...often, onEvent: (event) => event.type === 'phase' && log?.phase(event.phase) });
    return plan;
  };
  const log = new WriteLog();
  copyDisk(before, path);
  const plan = await recorded(path, log, () => run(log));
  const regions = scene.regionStays ? plan.regions : [];
  const target: KillTarget = { path, before, regions, wanted: endState(path, shape) };
  const identity = scene.regionStays ? 'same' : 'drawn';

  const states = new Map<string, number>();
  const seen = new Set<string>();
  let runs = 0;
  // Grows by the part to be finished with every disk: one is due at each whole number, whatever the order of writes was.
  let due = 0;
  for (const crash of crashesOf(log, effort)) {
    const random = randomFor(`${name} ${crash.position}`);
    for (const fates of fatesOf(crash, effort.fates, random)) {
      const where = `${name}: power lost in ${crash.phase} at ${crash.position} of ${log.entries.length}, ${fates.join(' ').slice(0, 200)}`;
      try {
        copyDisk(before, path);
        applyCrash(path, crash, fates, random);
        const hash = hashOf(path);
        if (seen.has(hash)) continue;
        seen.add(hash);
        const state = await looked(scene, target);
        states.set(`${crash.phase}: ${state}`, (states.get(`${crash.phase}: ${state}`) ?? 0) + 1);
        const finished = process.env.KILL_POINTS === undefined ? effort.finished : 0.5;
        due += state === 'untouched' ? finished / 4 : finished;
        if (due < runs + 1) continue;
        leaveJournal(stateDir, plan.runId, crash, random);
        await run();
        runs++;
        checkRegions(target);
        same(endState(path, shape), target.wanted, where, identity);
      } catch (error) {
        if (error instanceof Error) error.message = `${where}: ${error.message}`;
        throw error;
      }
    }
  }
  reportSweep(
    `power loss, ${name}: ${seen.size} disks, ${runs} finished; ${[...states].map((each) => each.join(' ')).join(', ')}`,
  );
  return { disks: seen.size, runs };
}

async function looked({ hosts, shape }: PowerScene, target: KillTarget): Promise<State> {
  checkRegions(target);
  const state = await stateOf(target, shape);
  if (hosts.length > 0) {
    const bundle = (await storedIdentity(target.path)) as Bundle | undefined;
    assert.ok(hosts.includes(bundle?.resolved.host ?? 'nobody'), 'the profile that was there is lost');
  }
  return state;
}

/** The journal is on another disk, which lost its power too: what was made durable there is there, unless its name is not. */
function leaveJournal(stateDir: string, runId: string, { journal }: Crash, random: () => number): void {
  rmSync(stateDir, { recursive: true, force: true });
  if (journal === undefined || random() < 0.3) return;
  mkdirSync(stateDir);
  writeFileSync(journalPath(stateDir, runId), journal);
}

/** All of the phases in which tables and profiles are written, and some of the others. */
function crashesOf({ entries }: WriteLog, { some }: Effort): Crash[] {
  const positions = new Map<string, number[]>();
  let phase = 'plan';
  for (const [index, entry] of entries.entries()) {
    if (entry.at === 'phase') ({ phase } = entry);
    // Nothing else adds to what is pending.
    if (entry.at === 'begin') positions.set(phase, [...(positions.get(phase) ?? []), index + 1]);
  }
  const sweeping = process.env.KILL_POINTS !== undefined;
  return [...positions].flatMap(([name, here]) => {
    const whole = name === 'fence' || name === 'commit' ? here.length : 40;
    const take = Math.min(sweeping ? whole : (some[name] ?? 0), here.length);
    return Array.from({ length: take }, (_, index) =>
      crashAt(entries, here[Math.floor(((index + 0.5) * here.length) / take)] as number),
    );
  });
}

/** Every subset of few writes, and some of many; and some with writes that are there in part. */
function fatesOf({ pending }: Crash, most: number, random: () => number): Fate[][] {
  const any = (fates: readonly Fate[]) => pending.map(() => fates[Math.floor(random() * fates.length)] as Fate);
  const torn = Array.from({ length: 2 }, () => any(['torn', 'torn', 'whole', 'lost']));
  if (2 ** pending.length > most) return [...Array.from({ length: most }, () => any(['whole', 'lost'])), ...torn];
  const subsets = Array.from({ length: 2 ** pending.length }, (_, bits) =>
    pending.map((_, index): Fate => ((bits >> index) & 1 ? 'whole' : 'lost')),
  );
  return [...subsets, ...torn];
}
