/** Compares one part of two disks, by blocks or by files. */
import type { ByteRange, ReadBack, Window } from '../image/contract.ts';
import type { OpenImage } from '../image/open-image.ts';
import type { CopyOptions } from '../lanes/copy.ts';
import type { ReadErrorPolicy, SourceReader } from '../lanes/source-reader.ts';
import { MountFailedError } from '../persona/errors.ts';
import { IntervalBuilder, IntervalSet } from '../protect/intervals.ts';
import { contentsOf } from './contents.ts';
import type { Part } from './disk.ts';
import type { PlannedGrowth } from './grow.ts';
import type { PartChanges } from './persona-parts.ts';
import type { Source } from './source.ts';
import type { OpenWindow } from './system.ts';
import { differingPages, firstDifferingBytes, type WantedBlocks } from './verify-blocks.ts';
import type { ComparedBlocks } from './verify-content.ts';
import { compareFat } from './verify-fat.ts';
import { compareTrees, type TreeDifferences } from './verify-files.ts';
import { mountBeside } from './verify-mounts.ts';
import type { BlockDifference, VerifiedPart } from './verify-result.ts';

export interface DiskPair {
  readonly source: Source;
  readonly reader: SourceReader;
  readonly target: OpenImage;
  readonly medium: ReadBack;
  /** What the target's medium says to be zeros. */
  readonly holes: IntervalSet;
  readonly exact: boolean;
  /** What cannot be read of the source is expected to be zeros, or not compared; else it is an error. */
  readonly readErrors: ReadErrorPolicy;
}

type Bare = Pick<VerifiedPart, 'number' | 'label'>;
const named = ({ number, label }: Part): Bare => ({ number, label });

export function sizeOf({ data, zero, cleared }: WantedBlocks): number {
  return data.bytes + zero.bytes + cleared.bytes;
}

export function skippedPart(part: Part, reason: string): VerifiedPart {
  return { ...named(part), method: 'skipped', equal: false, reason, bytes: 0, files: 0 };
}

export async function compareByBlocks(
  pair: DiskPair,
  part: Part,
  wanted: WantedBlocks,
  options: CopyOptions,
): Promise<VerifiedPart> {
  const range = await firstDifferingBytes({ ...options, ...disksOf(pair), wanted });
  const used = range === undefined ? 'unknown' : await usedBy(pair, part, range);
  return byBlocks(named(part), wanted, part.range, range && { range, used });
}

/** What stands outside every partition: loaders, and with `exact` everything. */
export async function compareOutside(
  pair: DiskPair,
  wanted: WantedBlocks,
  loaders: IntervalSet,
  options: CopyOptions,
): Promise<VerifiedPart> {
  const range = await firstDifferingBytes({ ...options, ...disksOf(pair), wanted });
  const part = { number: 0, label: 'the space outside every partition' };
  const used = range !== undefined && loaders.touches(range) ? 'used' : 'free';
  return byBlocks(part, wanted, { offset: 0, length: pair.source.image.size }, range && { range, used });
}

function disksOf({ reader, target, medium, holes, readErrors }: DiskPair) {
  return { source: reader.read, target: medium, targetSize: target.size, holes, skipBad: readErrors === 'skip' };
}

function byBlocks(
  part: Bare,
  wanted: WantedBlocks,
  place: ByteRange,
  found: Omit<BlockDifference, 'offsetInPart'> | undefined,
): VerifiedPart {
  const difference = found && { ...found, offsetInPart: found.range.offset - place.offset };
  return {
    ...part,
    method: 'blocks',
    equal: difference === undefined,
    bytes: sizeOf(wanted),
    files: 0,
    ...(difference === undefined ? {} : { difference }),
  };
}

async function usedBy({ source, exact }: DiskPair, part: Part, range: ByteRange): Promise<BlockDifference['used']> {
  const { image, allocation } = source;
  const map = exact
    ? await contentsOf(image, part, allocation, { exact: false, inconsistent: false, tolerant: true })
    : await source.contentsOf(part);
  if (map.whole) return 'unknown';
  return map.unused.touches({ offset: range.offset, length: 1 }) ? 'free' : 'used';
}

/** Why a part is compared by its files, and how. */
export interface FilesToCompare {
  /** What a clone has written. */
  readonly changes: PartChanges;
  /** The part is larger on the target, and its file system with it. */
  readonly growth?: PlannedGrowth;
  /** Opens the source's part; default: as it is on the disk. */
  readonly openSource?: OpenWindow;
}

const byKernel: ReadonlySet<string> = new Set(['ext2', 'ext3', 'ext4', 'xfs', 'btrfs']);

/** Why the files of a part cannot be compared; undefined when they can. The target's journal is never replayed for a comparison. */
export function uncomparable(source: Part, target: Part | undefined, { growth, openSource }: FilesToCompare): string | undefined {
  if (target === undefined || target.fs?.type !== source.fs?.type)
    return `the source has ${source.fs?.type ?? 'no file system'} there, the target ${target?.fs?.type ?? 'none that is known'}`;
  const { fs } = target;
  const type = fs?.type ?? '';
  if (type !== 'vfat' && !byKernel.has(type)) return `the files of ${type || 'an unknown file system'} cannot be compared`;
  for (const [role, state] of [
    ['source', openSource === undefined ? source.fs?.state : 'clean'],
    ['target', fs?.state],
  ] as const) {
    if (state !== 'clean' && type !== 'vfat')
      return `its files cannot be compared: the file system of the ${role} is not clean (it was not unmounted)`;
  }
  if (growth !== undefined && growth.after.length - (fs?.size ?? 0) >= largestRest)
    return `its file system was to fill ${growth.after.length} bytes, and has ${fs?.size}`;
  return undefined;
}

/** A file system may leave the last incomplete group of its blocks unused. */
const largestRest = 128 << 20;

/** Both file systems are opened read-only. Needs root. A target that cannot be opened is not equal. */
export async function compareByFiles(
  pair: DiskPair,
  part: Part,
  wanted: WantedBlocks,
  how: FilesToCompare,
  options: CopyOptions,
): Promise<VerifiedPart> {
  const type = part.fs?.type ?? '';
  const boot = type.startsWith('ext') ? await compareBootBlock(pair, part, options) : undefined;
  if (boot?.equal === false) return boot;
  const { changes, growth } = how;
  const openSource: OpenWindow = how.openSource ?? ((range, readOnly) => pair.source.image.openWindow(range, readOnly));
  const blocks = type === 'vfat' || how.openSource ? undefined : await compareBlocks(pair, part, wanted, options);
  const { signal } = options;
  const tolerant = pair.readErrors !== 'fail';
  const common = {
    part: changes,
    tolerant,
    ...(blocks === undefined ? {} : { blocks }),
    ...(signal === undefined ? {} : { signal }),
  };
  return withWindow(openSource, part.range, (source) =>
    withWindow(
      (range, readOnly) => pair.target.openWindow(range, readOnly),
      growth?.after ?? part.range,
      async (target) => {
        if (type === 'vfat') return byFiles(part, await compareFat({ source, target, ...common }));
        const trees = await mountBeside({ source, target, type });
        try {
          if (trees.target instanceof MountFailedError)
            return skippedPart(part, `the target's file system cannot be opened: ${trees.target.message}`);
          return byFiles(part, await compareTrees({ source: trees.source, target: trees.target, ...common }));
        } finally {
          await trees.close();
        }
      },
    ),
  );
}

/** Most files lie in the same blocks as on the source: these need not be read again, one by one. */
async function compareBlocks(pair: DiskPair, part: Part, wanted: WantedBlocks, options: CopyOptions): Promise<ComparedBlocks> {
  const { data, zero } = wanted;
  const inPart = { data, zero, cleared: IntervalSet.empty };
  const differing = new IntervalBuilder();
  const found: ByteRange[] = [];
  await differingPages({ ...options, ...disksOf(pair), wanted: inPart }, (range) => void found.push(range));
  for (const { offset, length } of found.sort((a, b) => a.offset - b.offset)) differing.add(offset, length);
  const shift = -part.range.offset;
  return { compared: data.union(zero).shift(shift), differing: differing.build().shift(shift) };
}

/** Boot code before the superblock of ext2/3/4, which no file holds. */
async function compareBootBlock(pair: DiskPair, part: Part, options: CopyOptions): Promise<VerifiedPart> {
  const data = IntervalSet.of({ offset: part.range.offset, length: Math.min(1024, part.range.length) });
  const wanted = { data, zero: IntervalSet.empty, cleared: IntervalSet.empty };
  const { onChunk: _, ...quiet } = options;
  const range = await firstDifferingBytes({ ...quiet, ...disksOf(pair), wanted });
  return byBlocks(named(part), wanted, part.range, range && { range, used: 'used' });
}

function byFiles(part: Part, { files, bytes, paths, pathCount, lost }: TreeDifferences): VerifiedPart {
  return {
    ...named(part),
    method: 'files',
    equal: pathCount === 0,
    bytes,
    files,
    ...(pathCount === 0 ? {} : { paths, pathCount }),
    ...(lost.length === 0 ? {} : { lost }),
  };
}

async function withWindow<T>(open: OpenWindow, range: ByteRange, use: (device: string) => Promise<T>): Promise<T> {
  const window: Window = await open(range, { readOnly: true });
  try {
    return await use(window.device);
  } finally {
    await window.close();
  }
}
