/**
 * How long it takes, and how much memory, to tell which blocks of a fragmented file system of 1 TiB are used: ext4, XFS and btrfs,
 * 10 million used blocks in as many pieces as can be made in a few minutes. The images are sparse (a few GB of metadata each) and
 * made by the kernel: a large file of reserved space is punched full of holes. Needs root.
 *
 *   node --import tsx bench/used-map.ts [--dir DIR] [--only ext4,xfs,btrfs] [--pieces N] [--keep]
 *
 * With --keep the images stay in DIR and are used again by the next run. Memory is the peak of a process that does nothing else;
 * beside it stands what such a process takes before it begins.
 */
import { open, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { execa } from 'execa';
import { openForInspection } from '../src/engine/image/open.ts';
import { usedBlocks } from '../src/engine/layout/filesystems.ts';
import { dropCache } from '../src/engine/native/libc.ts';
import { kinds, makeFragmented } from './fragmented.ts';

interface Measured {
  readonly seconds: number;
  readonly cpuSeconds: number;
  /** Bytes. */
  readonly peak: number;
  readonly before: number;
  readonly used: number;
  readonly ranges: number;
}

/** Runs in a process of its own: its peak memory is the reader's. */
async function measureHere(path: string): Promise<Measured> {
  const image = await openForInspection(path);
  try {
    const before = process.resourceUsage().maxRSS * 1024;
    const start = performance.now();
    const cpu = process.cpuUsage();
    const result = await usedBlocks(image);
    if (!result.known) throw new Error(`${path}: ${result.reason}`);
    const { user, system } = process.cpuUsage(cpu);
    const seconds = (performance.now() - start) / 1000;
    const peak = process.resourceUsage().maxRSS * 1024;
    return { seconds, cpuSeconds: (user + system) / 1e6, peak, before, used: result.used.bytes, ranges: result.used.count };
  } finally {
    await image.close();
  }
}

async function measure(path: string): Promise<Measured> {
  const file = await open(path, 'r');
  await file.sync();
  await dropCache(file.fd, 0, 0);
  await file.close();
  const script = fileURLToPath(import.meta.url);
  const { stdout } = await execa(process.execPath, [...process.execArgv, script, '--measure', path], { stderr: 'inherit' });
  return JSON.parse(stdout) as Measured;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      dir: { type: 'string', default: tmpdir() },
      only: { type: 'string', default: Object.keys(kinds).join() },
      pieces: { type: 'string' },
      keep: { type: 'boolean', default: false },
      measure: { type: 'string' },
    },
  });
  if (values.measure !== undefined) {
    process.stdout.write(JSON.stringify(await measureHere(values.measure)));
    return;
  }
  const columns = ['file system', 'used GB', 'ranges', 'metadata MB', 'seconds', 'CPU s', 'peak MB', 'of it at start'];
  process.stdout.write(`| ${columns.join(' | ')} |\n|${' --- |'.repeat(columns.length)}\n`);
  for (const name of values.only.split(',')) {
    const kind = kinds[name];
    if (kind === undefined) throw new Error(`no such file system here: ${name}`);
    const pieces = Number(values.pieces ?? kind.pieces);
    const path = resolve(values.dir, `used-map-${name}-${pieces}.img`);
    try {
      await makeFragmented(path, kind, pieces);
      const { seconds, cpuSeconds, peak, before, used, ranges } = await measure(path);
      const metadata = ((await stat(path)).blocks * 512) / 1e6;
      const row = [name, (used / 1e9).toFixed(1), ranges, metadata.toFixed(0), seconds.toFixed(1), cpuSeconds.toFixed(1)];
      process.stdout.write(`| ${[...row, (peak / 1e6).toFixed(0), (before / 1e6).toFixed(0)].join(' | ')} |\n`);
    } finally {
      if (!values.keep) await rm(path, { force: true });
      await rm(`${path}.making`, { force: true });
    }
  }
}

await main();
