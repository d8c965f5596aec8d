/** What btrfs-progs say of an image, to compare the btrfs reader with, and a file system filled in every way that btrfs knows. */
import { mkdir, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import type { ByteRange } from '../../../../src/engine/image/contract.ts';
import { IntervalSet } from '../../../../src/engine/protect/intervals.ts';
import { fill, MiB } from './fixtures.ts';

/** Space in front with the first superblock, and the copy at 64 MiB. */
const superblocks = [
  { offset: 0, length: 69632 },
  { offset: 64 * MiB, length: 4096 },
];

/** Every extent that dump-tree lists, on the device, all copies of each. */
export async function usedByDumpTree(image: string): Promise<IntervalSet> {
  const dump = async (tree: string): Promise<string> =>
    (await execa('btrfs', ['inspect-internal', 'dump-tree', '-t', tree, image])).stdout;
  const nodeSize = Number(
    /^nodesize\s+(\d+)/m.exec((await execa('btrfs', ['inspect-internal', 'dump-super', image])).stdout)?.[1],
  );
  const chunks = [
    ...(await dump('chunk')).matchAll(/CHUNK_ITEM (\d+)\)[^\n]*\n\s+length (\d+)[^\n]*((?:\n(?!\s+item )[^\n]*)*)/g),
  ].map(([, logical, length, rest]) => ({
    logical: Number(logical),
    length: Number(length),
    stripes: [...(rest as string).matchAll(/stripe \d+ devid 1 offset (\d+)/g)].map((match) => Number(match[1])),
  }));
  const used: ByteRange[] = [];
  for (const [, start, type, size] of (await dump('extent')).matchAll(/key \((\d+) (EXTENT|METADATA)_ITEM (\d+)\)/g)) {
    const offset = Number(start);
    const chunk = chunks.find((one) => one.logical <= offset && offset < one.logical + one.length);
    if (chunk === undefined) throw new Error(`no chunk for ${start}`);
    for (const stripe of chunk.stripes) {
      used.push({ offset: stripe + offset - chunk.logical, length: type === 'METADATA' ? nodeSize : Number(size) });
    }
  }
  return IntervalSet.of(...superblocks, ...used);
}

/** Files of many sizes, snapshots, clones, compressed and unchecked files, reserved space, holes; and some of it deleted. */
export async function fillBtrfs(root: string): Promise<void> {
  const at = (name: string): string => join(root, name);
  await execa('btrfs', ['-q', 'subvolume', 'create', at('volume')]);
  await mkdir(at('packed'));
  await execa('btrfs', ['property', 'set', at('packed'), 'compression', 'zstd']);
  await mkdir(at('nocow'));
  await execa('chattr', ['+C', at('nocow')]);
  await fill(at('volume'), { files: 60, largest: 2 * MiB });
  await fill(at('packed'), { files: 30, largest: 2 * MiB });
  await fill(at('nocow'), { files: 30, largest: MiB });
  await writeFile(at('cloned'), Buffer.alloc(3 * MiB, 'cloned '));
  await execa('cp', ['--reflink=always', at('cloned'), at('clone')]);
  await execa('fallocate', ['-l', `${4 * MiB}`, at('reserved')]);
  await writeFile(at('holes'), 'start');
  await truncate(at('holes'), 5 * MiB);
  await execa('setfattr', ['-n', 'user.name', '-v', 'value', at('holes')]);
  for (const name of ['kept', 'dropped']) {
    await execa('btrfs', ['-q', 'subvolume', 'snapshot', at('volume'), at(name)]);
    await fill(join(at('volume'), name), { files: 20, largest: MiB });
  }
  await execa('btrfs', ['-q', 'subvolume', 'delete', '-c', at('dropped')]);
  await execa('btrfs', ['subvolume', 'sync', root]);
}
