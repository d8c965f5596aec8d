/** Stops the program in the middle by a real signal, right before the Nth call that changes something. */
import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { tempDir } from '../fixtures/temp.ts';
import { type Ended, launcher } from './run-doppel.ts';

const hook = join(dirname(fileURLToPath(import.meta.url)), 'kill-hook.cjs');

export interface KillPoint {
  /** Of all calls, from 1. Lanes run side by side, so that it is not the same call in every run. */
  readonly count: number;
  readonly phase: string;
  readonly call: string;
}

/** Where the program keeps what it needs for a while. */
export interface Place {
  readonly temp: string;
}

/** Every point of a run of the command, which needs `--progress json`, in the order of time; the command runs to its end. */
export async function killPointsOf(args: readonly string[], { temp }: Place = { temp: tmpdir() }): Promise<KillPoint[]> {
  const log = join(tempDir('points'), 'log');
  await execa(process.execPath, ['--require', hook, launcher, ...args], {
    env: { NO_COLOR: '1', DOPPEL_KILL_LOG: log, TMPDIR: temp },
    stdin: 'ignore',
  });
  const lines = readFileSync(log, 'utf8').trimEnd().split('\n');
  return lines.map((line, index) => {
    const [phase = '', call = ''] = line.split(' ');
    return { count: index + 1, phase, call };
  });
}

/** Runs the command until that point. */
export async function runUntil(
  point: Pick<KillPoint, 'count'>,
  signalName: 'SIGKILL' | 'SIGTERM' | 'SIGINT',
  args: readonly string[],
  { temp }: Place = { temp: tmpdir() },
): Promise<Ended> {
  const { exitCode, signal, stdout, stderr } = await execa(process.execPath, ['--require', hook, launcher, ...args], {
    env: { NO_COLOR: '1', TMPDIR: temp, DOPPEL_KILL_AT: String(point.count), DOPPEL_KILL_SIGNAL: signalName },
    stdin: 'ignore',
    reject: false,
  });
  return { exitCode, signal, stdout, stderr };
}

/** Of a long phase, as many as here are tried in the whole sweep of scenes that are not the plain one. */
const perPhase = 16;

export interface Choice {
  /** Points of CI by phase. */
  readonly some: Readonly<Record<string, number>>;
  /** Whether the whole sweep takes every point of the long phases. */
  readonly every: boolean;
  readonly share: number;
  readonly shares: number;
}

/**
 * Some points, evenly spread over each phase. With KILL_POINTS=all every one, with KILL_POINTS=fence,commit all of these phases.
 * `share` of `shares`, so that files divide the work.
 */
export function chosen(points: readonly KillPoint[], { some, every, share, shares }: Choice): KillPoint[] {
  const asked = process.env.KILL_POINTS;
  const phases = [...new Set(points.map(({ phase }) => phase))];
  const wanted =
    asked === undefined
      ? Object.entries(some).flatMap(([phase, count]) => spread(points, phase, count))
      : phases
          .filter((phase) => asked === 'all' || asked.split(',').includes(phase))
          .flatMap((phase) => spread(points, phase, every ? Number.POSITIVE_INFINITY : perPhase));
  return wanted.filter((_, index) => index % shares === share);
}

function spread(points: readonly KillPoint[], phase: string, count: number): KillPoint[] {
  const all = points.filter((point) => point.phase === phase);
  const take = Math.min(count, all.length);
  return Array.from({ length: take }, (_, index) => all[Math.floor(((index + 0.5) * all.length) / take)] as KillPoint);
}

/** Waits for what the kernel undoes by itself after a kill. @throws when it still stands after ten seconds */
export async function eventuallyEmpty(what: () => readonly string[]): Promise<void> {
  for (let attempt = 0; attempt < 100; attempt++) {
    if (what().length === 0) return;
    await setTimeout(100);
  }
  throw new Error(`left behind: ${what().join(', ')}`);
}
