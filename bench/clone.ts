/** Copying a whole disk to a file and to a loop device, against what people use for that. */
import { execFileSync } from 'node:child_process';
import { rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { attachLoop } from '../test/fixtures/loop.ts';
import type { Contestant } from './contest.ts';
import { hold } from './contest.ts';
import { doppel, doppelVersion } from './doppel.ts';
import { partsOf } from './parts.ts';
import { commandsRun, report } from './report.ts';
import type { BenchOptions } from './run.ts';

export async function benchClone({ image, folder, rounds, say }: BenchOptions): Promise<string> {
  const source = statSync(image).size;
  const file = join(folder, 'target.img');
  const fresh = async (): Promise<void> => {
    rmSync(file, { force: true });
    writeFileSync(file, '');
    truncateSync(file, source);
    execFileSync('sync', ['-f', folder]);
  };
  const texts: string[] = [];
  for (const kind of ['file', 'loop device'] as const) {
    await fresh();
    let loop: ReturnType<typeof attachLoop> | undefined;
    const link = join(folder, 'target');
    const before = async (): Promise<void> => {
      loop?.detach();
      await fresh();
      if (kind === 'file') return;
      loop = attachLoop(file);
      rmSync(link, { force: true });
      execFileSync('ln', ['-s', loop.device, link]);
    };
    const contestants = await contestantsFor(image, kind === 'file' ? file : link, kind);
    try {
      const title = `Clone to a ${kind}`;
      texts.push(
        report(title, await hold({ title, rounds, folder, sources: [image], before, contestants, say })),
        commandsRun(contestants),
      );
    } finally {
      loop?.detach();
    }
  }
  return texts.join('\n');
}

async function contestantsFor(source: string, target: string, kind: 'file' | 'loop device'): Promise<Contestant[]> {
  const parts = partsOf(source);
  const perPart = parts
    .map(({ type, offset, size }) => {
      const range = (path: string, writable: boolean) =>
        `$(losetup --show -f ${writable ? '' : '-r '}--offset ${offset} --sizelimit ${size} ${path})`;
      // FAT, ext and XFS have their partclone; swap has nothing to copy.
      return type === 'swap'
        ? undefined
        : `s=${range(source, false)}; t=${range(target, true)}; partclone.${type} -b -q -L /dev/null -s $s -O $t; sync $t; losetup -d $s $t`;
    })
    .filter((command) => command !== undefined)
    .join('; ');
  const same = `cmp ${source} ${target}`;
  return [
    {
      name: 'doppel clone --as none --no-verify',
      command: `${doppel} clone ${source} ${target} --as none --no-verify --yes --progress none --json >/dev/null`,
      version: doppelVersion,
    },
    {
      name: 'doppel clone --as none',
      command: `${doppel} clone ${source} ${target} --as none --yes --progress none --json >/dev/null`,
      version: doppelVersion,
    },
    {
      name: 'nbdcopy',
      command: `nbdcopy --flush --destination-is-zero ${source} ${target}`,
      version: ['nbdcopy', '--version'],
      check: async () => void execFileSync('bash', ['-c', same]),
    },
    {
      name: 'qemu-img convert',
      command: `qemu-img convert -n -W -m 8 --target-is-zero -f raw -O raw ${source} ${target}; sync ${target}`,
      version: ['qemu-img', '--version'],
    },
    ...(kind === 'file'
      ? [
          {
            name: 'cp --sparse=always',
            command: `cp --sparse=always ${source} ${target}; sync ${target}`,
            version: ['cp', '--version'],
          },
        ]
      : []),
    { name: 'partclone, each part', command: `${perPart}; sync ${target}`, version: ['partclone.ext4', '--version'] },
    { name: 'dd', command: `dd if=${source} of=${target} bs=4M conv=fsync,notrunc status=none`, version: ['dd', '--version'] },
  ];
}
