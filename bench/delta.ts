/** Bringing a clone of a machine up to date with the machine as it is a month later. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { forget, hold } from './contest.ts';
import { doppel, doppelVersion } from './doppel.ts';
import { commandsRun, report } from './report.ts';
import type { BenchOptions } from './run.ts';

export async function benchDelta({ image, later, folder, rounds, say }: BenchOptions): Promise<string> {
  const target = join(folder, 'clone.img');
  const before = async (): Promise<void> => {
    execFileSync('cp', ['--sparse=always', image, target]);
    forget(target);
  };
  const source = later();
  const contestants = [
    {
      name: 'doppel clone --delta --no-verify',
      command: `${doppel} clone ${source} ${target} --delta --as none --no-verify --yes --progress none --json >/dev/null`,
      version: doppelVersion,
    },
    {
      name: 'doppel clone --delta',
      command: `${doppel} clone ${source} ${target} --delta --as none --yes --progress none --json >/dev/null`,
      version: doppelVersion,
    },
    {
      name: 'rsync --inplace --no-whole-file',
      command: `rsync --inplace --no-whole-file ${source} ${target}; sync ${target}`,
      version: ['rsync', '--version'],
      check: async () => void execFileSync('cmp', [source, target]),
    },
    {
      name: 'qemu-img convert, all of it',
      command: `qemu-img convert -n -W -m 8 -f raw -O raw ${source} ${target}; sync ${target}`,
      version: ['qemu-img', '--version'],
    },
  ];
  const title = 'Delta, the clone not in the page cache';
  const scores = await hold({ title, rounds, folder, sources: [source], before, contestants, say });
  return `${report(title, scores)}\n${commandsRun(contestants)}`;
}
