/** Bringing a target up to date that holds a machine as it was a month ago, from an archive of the machine as it is. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { archiversFor, casync, quietly, same } from './archivers.ts';
import { type Contestant, forget, hold } from './contest.ts';
import { doppel, doppelVersion } from './doppel.ts';
import { commandsRun, report } from './report.ts';
import type { BenchOptions } from './run.ts';

export async function benchDeltaRestore({ image, later, folder, rounds, say }: BenchOptions): Promise<string> {
  const source = later();
  const target = join(folder, 'target.img');
  const archives = join(folder, 'archives');
  const [ours, theirs] = [join(archives, 'doppel'), join(archives, 'casync')];
  const [tar] = archiversFor(source);
  /** Nobody has a disk in the page cache that ran for a month. */
  const before = async (): Promise<void> => {
    rmSync(target, { force: true });
    execFileSync('cp', ['--sparse=always', image, target]);
    forget(target);
  };
  try {
    for (const [archiver, place] of [
      [tar, ours],
      [casync, theirs],
    ] as const) {
      mkdirSync(place, { recursive: true });
      say(`Delta restore: making the archive of ${archiver?.name}`);
      const command = archiver?.make(source, place) ?? '';
      execFileSync('bash', ['-euo', 'pipefail', '-c', command], { stdio: ['ignore', 'ignore', 'inherit'] });
    }
    const contestants = contestantsFor(source, { ours, theirs }, target);
    const title = 'Delta restore';
    const scores = await hold({ title, rounds, folder, sources: [ours, theirs, source], before, contestants, say });
    return `${report(title, scores)}\n${commandsRun(contestants)}`;
  } finally {
    rmSync(archives, { recursive: true, force: true });
    rmSync(target, { force: true });
  }
}

function contestantsFor(source: string, archives: Readonly<Record<'ours' | 'theirs', string>>, target: string): Contestant[] {
  const restore = `${doppel} restore ${archives.ours}/disk.tar ${target} --delta --as none`;
  const [store, index] = [`--store=${archives.theirs}/disk.castr`, `${archives.theirs}/disk.caibx`];
  const check = async (): Promise<void> => same(source, target);
  return [
    { name: 'doppel restore --delta', command: `${restore} --yes ${quietly}`, version: doppelVersion },
    { name: 'doppel restore --delta --no-verify', command: `${restore} --no-verify --yes ${quietly}`, version: doppelVersion },
    {
      name: 'casync extract --seed',
      command: `casync extract ${store} --seed=${target} ${index} ${target}.new; mv ${target}.new ${target}; sync ${target}`,
      version: casync.version,
      check,
    },
    {
      name: 'rsync --inplace --no-whole-file of the raw image',
      command: `rsync --inplace --no-whole-file ${source} ${target}; sync ${target}`,
      version: ['rsync', '--version'],
      check,
    },
  ];
}
