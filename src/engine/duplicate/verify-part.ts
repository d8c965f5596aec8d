/** Compares one part of two disks, by blocks or by files. */
import type { ByteRange, ReadBack, Window } from '../image/contract.ts';
import type { OpenImage } from '../image/open-image.ts';
import type { CopyOptions } from '../lanes/copy.ts';
import { ToolFailedError } from '../persona/errors.ts';
import { type MountedTree, openMountedSystem } from '../persona/trees/mounted.ts';
import { IntervalSet } from '../protect/intervals.ts';
import { type Allocation, type Contents, contentsOf } from './contents.ts';
import type { Part } from './disk.ts';
import type { PartChanges } from './persona-parts.ts';
import { firstDifferingBytes } from './verify-blocks.ts';
import { compareFat } from './verify-fat.ts';
import { compareTrees, type TreeDifferences } from './verify-files.ts';
import type { BlockDifference, VerifiedPart } from './verify-result.ts';

export interface DiskPair {
  readonly source: OpenImage;
  readonly target: OpenImage;
  readonly medium: ReadBack;
  /** Of the source. */
  readonly allocation: Allocation;
  /** What the target's medium says to be zeros. */
  readonly holes: IntervalSet;
  readonly exact: boolean;
}

type Bare = Pick<VerifiedPart, 'number' | 'label'>;
const named = ({ number, label }: Part): Bare => ({ number, label });

export function skippedPart(part: Part, reason: string): VerifiedPart {
  return { ...named(part), method: 'skipped', equal: false, reason, bytes: 0, files: 0 };
}

export async function compareByBlocks(
  pair: DiskPair,
  part: Part,
  contents: Contents,
  options: CopyOptions,
): Promise<VerifiedPart> {
  const range = await firstDifferingBytes({ ...options, ...lanesOf(pair), data: contents.data, zero: contents.zero });
  const used = range === undefined ? 'unknown' : await usedBy(pair, part, range, contents);
  return byBlocks(named(part), contents, part.range, range && { range, used });
}

/** What stands outside every partition: loaders, and with `exact` everything. */
export async function compareOutside(
  pair: DiskPair,
  sets: { readonly loaders: IntervalSet; readonly data: IntervalSet; readonly zero: IntervalSet },
  options: CopyOptions,
): Promise<VerifiedPart> {
  const { loaders, data, zero } = sets;
  const range = await firstDifferingBytes({ ...options, ...lanesOf(pair), data, zero });
  const part = { number: 0, label: 'the space outside every partition' };
  const used = range !== undefined && loaders.touches(range) ? 'used' : 'free';
  return byBlocks(part, { data, zero }, { offset: 0, length: pair.source.size }, range && { range, used });
}

function lanesOf({ source, medium, holes }: DiskPair) {
  return { source, target: medium, holes };
}

function byBlocks(
  part: Bare,
  { data, zero }: Pick<Contents, 'data' | 'zero'>,
  place: ByteRange,
  found: Omit<BlockDifference, 'offsetInPart'> | undefined,
): VerifiedPart {
  const difference = found && { ...found, offsetInPart: found.range.offset - place.offset };
  return {
    ...part,
    method: 'blocks',
    equal: difference === undefined,
    bytes: data.bytes + zero.bytes,
    files: 0,
    ...(difference === undefined ? {} : { difference }),
  };
}

async function usedBy(pair: DiskPair, part: Part, range: ByteRange, compared: Contents): Promise<BlockDifference['used']> {
  const { source, allocation, exact } = pair;
  const map = exact ? await contentsOf(source, part, allocation, { exact: false, inconsistent: false }) : compared;
  if (map.whole) return 'unknown';
  return map.unused.touches({ offset: range.offset, length: 1 }) ? 'free' : 'used';
}

/** Why the files of a part cannot be compared; undefined when they can. A journal is never replayed for a comparison. */
export function uncomparable(source: Part, target: Part | undefined): string | undefined {
  if (target === undefined || target.fs?.type !== source.fs?.type)
    return `the source has ${source.fs?.type ?? 'no file system'} there, the target ${target?.fs?.type ?? 'none that is known'}`;
  for (const [role, { fs }] of [
    ['source', source],
    ['target', target],
  ] as const) {
    if (fs?.state !== 'clean' && fs?.type !== 'vfat')
      return `its files cannot be compared: the file system of the ${role} is not clean (it was not unmounted)`;
  }
  return undefined;
}

/** Both file systems are opened read-only, each alone. Needs root. A target that cannot be opened is not equal. */
export async function compareByFiles(
  pair: DiskPair,
  part: Part,
  changes: PartChanges,
  options: CopyOptions,
): Promise<VerifiedPart> {
  const type = part.fs?.type ?? '';
  const boot = type.startsWith('ext') ? await compareBootBlock(pair, part, options) : undefined;
  if (boot?.equal === false) return boot;
  const common = { part: changes, ...options };
  return withWindow(pair.source, part.range, (source) =>
    withWindow(pair.target, part.range, async (target) => {
      if (type === 'vfat') return byFiles(part, await compareFat({ source, target, ...common }));
      const from = await mounted(source, type);
      try {
        const to = await mounted(target, type).catch((error: unknown) => {
          if (error instanceof ToolFailedError) return error;
          throw error;
        });
        if (to instanceof ToolFailedError) return skippedPart(part, `the target's file system cannot be opened: ${to.message}`);
        try {
          return byFiles(part, await compareTrees({ source: from.rootPath, target: to.rootPath, ...common }));
        } finally {
          await to.close();
        }
      } finally {
        await from.close();
      }
    }),
  );
}

/** Boot code before the superblock of ext2/3/4, which no file holds. */
async function compareBootBlock(pair: DiskPair, part: Part, options: CopyOptions): Promise<VerifiedPart> {
  const data = IntervalSet.of({ offset: part.range.offset, length: Math.min(1024, part.range.length) });
  const range = await firstDifferingBytes({ ...options, ...lanesOf(pair), data, zero: IntervalSet.empty });
  return byBlocks(named(part), { data, zero: IntervalSet.empty }, part.range, range && { range, used: 'used' });
}

function mounted(device: string, type: string): Promise<MountedTree> {
  return openMountedSystem({ root: { device, type }, mounts: [], readOnly: true });
}

function byFiles(part: Part, { files, bytes, paths, pathCount }: TreeDifferences): VerifiedPart {
  const found = pathCount === 0 ? {} : { paths, pathCount };
  return { ...named(part), method: 'files', equal: pathCount === 0, bytes, files, ...found };
}

async function withWindow<T>(image: OpenImage, range: ByteRange, use: (device: string) => Promise<T>): Promise<T> {
  const window: Window = await image.openWindow(range, { readOnly: true });
  try {
    return await use(window.device);
  } finally {
    await window.close();
  }
}
