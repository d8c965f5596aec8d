/** Bringing a clone of a machine up to date with the machine as it is a month later. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { type Contest, type Contestant, forget, hold } from './contest.ts';
import { doppel, doppelVersion } from './doppel.ts';
import { commandsRun, report } from './report.ts';
import type { BenchOptions } from './run.ts';

export async function benchDelta(options: BenchOptions): Promise<string> {
  const source = options.later();
  const target = join(options.folder, 'clone.img');
  const copy = async (): Promise<void> => {
    execFileSync('cp', ['--sparse=always', options.image, target]);
    execFileSync('sync', [target]);
  };
  const cold = async (): Promise<void> => {
    await copy();
    forget(target);
  };
  const all = contestantsFor(source, target);
  const quick = all.filter(({ name }) => !name.startsWith('rsync'));
  return [
    await contest('Delta', options, { source, before: cold, contestants: all }),
    await contest('Delta, the clone in the page cache', options, { source, before: copy, contestants: quick }),
  ].join('\n');
}

async function contest(
  title: string,
  { folder, rounds, say }: BenchOptions,
  { source, ...rest }: { source: string } & Pick<Contest, 'before' | 'contestants'>,
): Promise<string> {
  const scores = await hold({ title, rounds, folder, sources: [source], say, ...rest });
  return `${report(title, scores)}\n${commandsRun(rest.contestants)}`;
}

function contestantsFor(source: string, target: string): Contestant[] {
  const qemu = (flags: string) => `qemu-img convert -n -W -m 8 ${flags}-f raw -O raw ${source} ${target}; sync ${target}`;
  return [
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
    { name: 'qemu-img convert, all of it', command: qemu(''), version: ['qemu-img', '--version'] },
    { name: 'qemu-img convert -t none, all of it', command: qemu('-t none '), version: ['qemu-img', '--version'] },
  ];
}
