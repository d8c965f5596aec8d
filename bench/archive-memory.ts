/**
 * How long archives of very large disks take, and how much memory: 1 TiB with a little data in every cell, the same with a million
 * ranges side by side, and a fragmented ext4 of 1 TiB with millions of used ranges. The images are sparse. Needs root.
 *
 *   npm run bench:archive-memory -- [--dir DIR] [--only cells,ranges,ext4] [--keep]
 *
 * With --keep the images stay in DIR and are used again by the next run. Memory is the peak of the largest process of a command.
 */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, open, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { noise } from '../scripts/demo-image/noise.ts';
import { doppel } from './doppel.ts';
import { type Kind, kinds, makeFragmented } from './fragmented.ts';
import { measure } from './measure.ts';
import { markdown } from './report.ts';

const TiB = 2 ** 40;
const KiB = 2 ** 10;
const MiB = 2 ** 20;

/** Makes the image in a file. */
const images: Readonly<Record<string, (path: string) => Promise<void>>> = {
  cells: (path) => scattered(path, { size: TiB, pieces: TiB / (8 * MiB), step: 8 * MiB }),
  ranges: (path) => scattered(path, { size: TiB, pieces: 1_000_000, step: 8 * KiB }),
  ext4: (path) => makeFragmented(path, kinds.ext4 as Kind, 5_000_000),
};

/** One partition with `pieces` pages of data, one every `step` bytes; nothing else. */
async function scattered(
  path: string,
  { size, pieces, step }: Readonly<Record<'size' | 'pieces' | 'step', number>>,
): Promise<void> {
  const file = await open(`${path}.making`, 'w');
  try {
    await file.truncate(size);
    const page = Buffer.from(noise('a page', 4 * KiB));
    for (let piece = 0; piece < pieces; piece++) {
      // Half of each page is not found in any other.
      for (let at = 0; at < 2 * KiB; at += 8)
        page.writeUInt32LE((Math.imul(piece + 1, 2654435761) ^ Math.imul(at + 1, 40503)) >>> 0, at);
      await file.write(page, 0, page.length, piece * step + 4 * MiB);
    }
  } finally {
    await file.close();
  }
  execFileSync('sfdisk', ['-q', `${path}.making`], { input: 'label: gpt\nstart=1MiB\n' });
  await rename(`${path}.making`, path);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      dir: { type: 'string', default: tmpdir() },
      only: { type: 'string', default: Object.keys(images).join() },
      keep: { type: 'boolean', default: false },
    },
  });
  await mkdir(values.dir, { recursive: true });
  const folder = await mkdtemp(join(values.dir, 'archive-memory-'));
  const rows: string[][] = [];
  try {
    for (const name of values.only.split(',')) {
      const make = images[name];
      if (make === undefined) throw new Error(`no such image here: ${name}`);
      const image = resolve(values.dir, `archive-memory-${name}.img`);
      if (!existsSync(image)) await make(image);
      const [tar, directory, target] = [join(folder, 'a.tar'), join(folder, 'a'), join(folder, 'target.img')];
      const restore = (from: string, flags = '') => `${doppel} restore ${from} ${target} --size 1T --as none --yes ${flags}`;
      for (const [what, command] of [
        ['capture to a tar', `${doppel} capture ${image} ${tar}`],
        ['capture to a directory', `${doppel} capture ${image} ${directory}`],
        ['inspect the tar', `${doppel} inspect ${tar}`],
        ['verify the tar', `${doppel} archive verify ${tar}`],
        ['verify the directory', `${doppel} archive verify ${directory}`],
        ['restore the tar', restore(tar)],
        ['restore the tar once more, --delta', restore(tar, '--delta').replace('--size 1T', '')],
        ['restore the directory', `rm ${target}; ${restore(directory)}`],
        ['restore from a pipe', `rm ${target}; cat ${tar} | ${restore('-')}`],
        ['is the image again', `${doppel} verify ${image} ${target} --as none`],
      ] as const) {
        const { seconds, cpu, memory } = await measure(`{ ${command}; } >/dev/null`, folder);
        rows.push([name, what, `${seconds.toFixed(1)} s`, `${cpu.toFixed(1)} s`, `${Math.round(memory / MiB)} MiB`]);
        console.error(rows.at(-1)?.join('  '));
      }
      for (const path of [tar, directory, target]) await rm(path, { recursive: true, force: true });
      if (!values.keep) await rm(image, { force: true });
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  console.log(markdown(['', '', 'Time', 'CPU', 'Peak memory'], rows));
}

await main();
