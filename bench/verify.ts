/** Comparing a clone with its source, both reading the clone from the medium: doppel does so whatever the page cache holds. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { forget, hold } from './contest.ts';
import { doppel, doppelVersion } from './doppel.ts';
import { commandsRun, report } from './report.ts';
import type { BenchOptions } from './run.ts';

export async function benchVerify({ image, folder, rounds, say }: BenchOptions): Promise<string> {
  const target = join(folder, 'clone.img');
  execFileSync('cp', ['--sparse=always', image, target]);
  execFileSync('sync', [target]);
  const contestants = [
    {
      name: 'doppel verify --as none',
      command: `${doppel} verify ${image} ${target} --as none --progress none >/dev/null`,
      version: doppelVersion,
    },
    {
      name: 'qemu-img compare',
      command: `qemu-img compare -f raw -F raw ${image} ${target} >/dev/null`,
      version: ['qemu-img', '--version'],
    },
  ];
  const title = 'Verify, the clone not in the page cache';
  const before = async (): Promise<void> => forget(target);
  const scores = await hold({ title, rounds, folder, sources: [image], before, contestants, say });
  return `${report(title, scores)}\n${commandsRun(contestants)}`;
}
