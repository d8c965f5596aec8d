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
import { once } from 'node:events';
import { access, mkdir, mkdtemp, open, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { execa } from 'execa';
import { openForInspection } from '../src/engine/image/open.ts';
import { usedBlocks } from '../src/engine/layout/filesystems.ts';
import { dropCache } from '../src/engine/native/libc.ts';

const size = 2 ** 40;
const block = 4096;
const usedTarget = 10_000_000;
/** Holes are punched by this many programs at once, each into a file of its own. */
const writers = 2;

interface Kind {
  readonly mkfs: readonly string[];
  /** Pieces that take a few minutes to make. */
  readonly pieces: number;
  /** btrfs frees an extent only whole, so it gets one for each piece and hole; elsewhere one for all is enough. */
  readonly extentPerPiece: boolean;
}

const kinds: Readonly<Record<string, Kind>> = {
  ext4: { mkfs: ['mke2fs', '-q', '-F', '-t', 'ext4'], pieces: 5_000_000, extentPerPiece: false },
  xfs: { mkfs: ['mkfs.xfs', '-q', '-f'], pieces: 1_000_000, extentPerPiece: false },
  btrfs: { mkfs: ['mkfs.btrfs', '-q', '-f'], pieces: 5_000_000, extentPerPiece: true },
};

interface Measured {
  readonly seconds: number;
  readonly cpuSeconds: number;
  /** Bytes. */
  readonly peak: number;
  readonly before: number;
  readonly used: number;
  readonly ranges: number;
}

/** Makes the image, unless it is there. `pieces` used ranges with a hole of equal length behind each. */
async function makeImage(path: string, kind: Kind, pieces: number): Promise<void> {
  const exists = await access(path).then(
    () => true,
    () => false,
  );
  if (exists) return;
  const making = `${path}.making`;
  await writeFile(making, '');
  await truncate(making, size);
  const [tool, ...args] = kind.mkfs as [string, ...string[]];
  await execa(tool, [...args, making]);
  const root = await mkdtemp(join(tmpdir(), 'used-map-'));
  try {
    await execa('mount', ['-o', 'loop', making, root]);
    try {
      await Promise.all(
        Array.from({ length: writers }, (_, i) => fragment(join(root, `dir${i}`), kind, Math.ceil(pieces / writers))),
      );
    } finally {
      await execa('umount', [root]);
    }
  } finally {
    await rm(root, { recursive: true });
  }
  await execa('mv', [making, path]);
}

/** One file of `pieces` pieces, in a directory of its own, so that the file system spreads them. */
async function fragment(directory: string, kind: Kind, pieces: number): Promise<void> {
  const piece = Math.round(usedTarget / writers / pieces) * block;
  await mkdir(directory);
  const io = execa('xfs_io', ['-f', join(directory, 'file')], { buffer: false, stdout: 'ignore', stderr: 'inherit' });
  const send = async (lines: string[]): Promise<void> => {
    if (!io.stdin.write(`${lines.join('\n')}\n`)) await once(io.stdin, 'drain');
  };
  const batch = 1000;
  if (!kind.extentPerPiece) await send([`falloc 0 ${2 * pieces * piece}`]);
  else {
    for (let i = 0; i < 2 * pieces; i += batch) {
      await send(Array.from({ length: Math.min(batch, 2 * pieces - i) }, (_, j) => `falloc ${(i + j) * piece} ${piece}`));
    }
  }
  for (let i = 0; i < pieces; i += batch) {
    await send(Array.from({ length: Math.min(batch, pieces - i) }, (_, j) => `fpunch ${(2 * (i + j) + 1) * piece} ${piece}`));
  }
  io.stdin.end();
  await io;
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
      await makeImage(path, kind, pieces);
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
