/**
 * Several programs do the same job in turns, round after round, each on a fresh target and with its source in the page cache;
 * ratios are taken within a round, and every round has another order, as each suffers from what the one before left.
 */
import { execFileSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { type Measured, measure } from './measure.ts';

/** Milliseconds in which the machine finishes what the run before and its removal have left. */
const SETTLE = 1000;

export interface Contestant {
  readonly name: string;
  /** For bash; must end with everything on stable storage. Not measured: what `before` does. */
  readonly command: string;
  /** Program and arguments that print its version; the first line counts. */
  readonly version: readonly string[];
  /** The file or folder that it makes, where its size counts. */
  readonly makes?: string;
  /** Whether the result is what was asked for. Throws when it is not. */
  readonly check?: () => Promise<void>;
}

export interface Contest {
  readonly title: string;
  readonly rounds: number;
  readonly folder: string;
  /** What they read, files and folders: in the page cache before every run. */
  readonly sources: readonly string[];
  /** Makes the fresh target before every run. */
  readonly before: () => Promise<void>;
  /** The first is ours; ratios are ours to theirs. */
  readonly contestants: readonly Contestant[];
  readonly say: (text: string) => void;
}

export interface Score {
  readonly name: string;
  readonly command: string;
  readonly median: Measured;
  /** Bytes of what it makes. */
  readonly stored?: number;
  /** Median over the rounds of our time through theirs; below 1 we are faster. */
  readonly ratio: number;
}

export async function hold({ title, rounds, folder, sources, before, contestants, say }: Contest): Promise<readonly Score[]> {
  const runs = new Map<string, Measured[]>(contestants.map(({ name }) => [name, []]));
  const stored = new Map<string, number>();
  for (let round = 0; round <= rounds; round++) {
    for (const { name, command, makes, check } of shuffled(contestants, round)) {
      await before();
      execFileSync('sync');
      await setTimeout(SETTLE);
      for (const source of sources) warm(source);
      const measured = await measure(command, folder);
      if (round === 0) await check?.();
      else runs.get(name)?.push(measured);
      if (makes !== undefined) stored.set(name, sizeOf(makes));
      say(`${title}, ${round === 0 ? 'warm-up' : `round ${round} of ${rounds}`}: ${name} ${measured.seconds.toFixed(2)} s`);
    }
  }
  const ours = runs.get(contestants[0]?.name ?? '') ?? [];
  return contestants.map(({ name, command }) => {
    const all = runs.get(name) ?? [];
    const of = (what: keyof Measured): number => median(all.map((each) => each[what]));
    const size = stored.get(name);
    return {
      name,
      command,
      median: { seconds: of('seconds'), cpu: of('cpu'), written: of('written'), read: of('read'), memory: of('memory') },
      ...(size === undefined ? {} : { stored: size }),
      ratio: median(all.map(({ seconds }, index) => (ours[index]?.seconds ?? Number.NaN) / seconds)),
    };
  });
}

function warm(path: string): void {
  if (statSync(path).isFile()) execFileSync('nbdcopy', [path, 'null:']);
  else execFileSync('find', [path, '-type', 'f', '-exec', 'cat', '{}', '+'], { stdio: ['ignore', 'ignore', 'inherit'] });
}

/** Bytes of a file, or of all files in a folder. */
function sizeOf(path: string): number {
  return Number(execFileSync('du', ['-sb', path], { encoding: 'utf8' }).split('\t')[0]);
}

/** Writes the file out and drops it from the page cache: nobody has a disk in there that lay about for a month. */
export function forget(path: string): void {
  execFileSync('dd', [`of=${path}`, 'oflag=nocache', 'conv=notrunc,fdatasync', 'count=0', 'status=none']);
}

/** Another one first in every round, and others behind each other: steps of a width that meets all of the list. */
function shuffled<T>(list: readonly T[], round: number): T[] {
  const widths = list.map((_, width) => width).filter((width) => greatestDivisor(width, list.length) === 1);
  const width = widths[round % widths.length] ?? 1;
  return list.map((_, index) => list[(round + index * width) % list.length] as T);
}

function greatestDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestDivisor(b, a % b);
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? (sorted[middle] as number) : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
}
