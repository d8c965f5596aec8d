/** File systems of 1 TiB whose used blocks lie in pieces, made by the kernel: a large file of reserved space is punched full of holes. */
import { once } from 'node:events';
import { access, mkdir, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';

const size = 2 ** 40;
const block = 4096;
const usedTarget = 10_000_000;
/** Holes are punched by this many programs at once, each into a file of its own. */
const writers = 2;

export interface Kind {
  readonly mkfs: readonly string[];
  /** Pieces that take a few minutes to make. */
  readonly pieces: number;
  /** btrfs frees an extent only whole, so it gets one for each piece and hole; elsewhere one for all is enough. */
  readonly extentPerPiece: boolean;
}

export const kinds: Readonly<Record<string, Kind>> = {
  ext4: { mkfs: ['mke2fs', '-q', '-F', '-t', 'ext4'], pieces: 5_000_000, extentPerPiece: false },
  xfs: { mkfs: ['mkfs.xfs', '-q', '-f'], pieces: 1_000_000, extentPerPiece: false },
  btrfs: { mkfs: ['mkfs.btrfs', '-q', '-f'], pieces: 5_000_000, extentPerPiece: true },
};

/** Makes the image, unless it is there. `pieces` used ranges with a hole of equal length behind each. */
export async function makeFragmented(path: string, kind: Kind, pieces: number): Promise<void> {
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
