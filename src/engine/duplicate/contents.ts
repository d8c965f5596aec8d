/** What of a source has to be copied: which bytes of each part and of the space before the first one hold something. */
import { type ByteRange, end, type ImageSource } from '../image/contract.ts';
import { isMediumError } from '../image/errors.ts';
import { slice } from '../image/slice.ts';
import { SourceReader } from '../lanes/source-reader.ts';
import { isZero } from '../lanes/zeros.ts';
import type { UsedBlocks } from '../layout/contract.ts';
import { usedBlocks } from '../layout/filesystems.ts';
import { IntervalBuilder, IntervalSet } from '../protect/intervals.ts';
import type { PartPlace } from './disk.ts';

/** Bytes of a range of the source, at their offsets on the disk. The three sets are disjoint. */
export interface Contents {
  /** Has to be copied. */
  readonly data: IntervalSet;
  /** Reads as zeros and has to do so on the target. */
  readonly zero: IntervalSet;
  /** Belongs to nobody. */
  readonly unused: IntervalSet;
  /** How the used bytes were found, for people: `used blocks of ext4`, `every byte: ...`. */
  readonly how: string;
  /** The part is copied whole because its file system could not be trusted or read. */
  readonly whole: boolean;
}

/** Reads are aligned to this where the part allows it, so that a read-back can bypass the cache in whole pages. */
const PAGE = 4096;

/** Data and holes of the whole image, as far as the medium tells. */
export interface Allocation {
  readonly data: IntervalSet;
  readonly zero: IntervalSet;
}

export async function allocationOf(image: ImageSource): Promise<Allocation> {
  const data = new IntervalBuilder();
  const zero = new IntervalBuilder();
  for await (const extent of image.extents()) (extent.state === 'data' ? data : zero).add(extent.offset, extent.length);
  return { data: data.build(), zero: zero.build() };
}

export interface ContentsOptions {
  /** Every byte, also the unused ones. */
  readonly exact: boolean;
  /** Somebody may be writing to the source: its file systems' own maps cannot be trusted. */
  readonly inconsistent: boolean;
  /** Sectors that cannot be read are no reason to give up: a part whose structures they hit is copied whole. */
  readonly tolerant?: boolean;
}

export async function contentsOf(
  image: ImageSource,
  part: PartPlace,
  allocation: Allocation,
  options: ContentsOptions,
): Promise<Contents> {
  const range = IntervalSet.of(part.range);
  const all = { data: allocation.data.intersect(range), zero: allocation.zero.intersect(range), unused: IntervalSet.empty };
  if (options.exact) return { ...all, how: 'every byte (--exact)', whole: false };
  if (options.inconsistent) return { ...all, how: 'every byte: the source is in use', whole: true };
  const map = await usedBlocks(slice(image, part.range, `${image.name}, ${part.label}`)).catch((error: unknown): UsedBlocks => {
    if (options.tolerant !== true || !isMediumError(error)) throw error;
    return { known: false, reason: `its own structures cannot be read: ${error.message}` };
  });
  if (!map.known) return { ...all, how: `every allocated byte: ${map.reason}`, whole: true };
  const used = map.used.shift(part.range.offset).align(PAGE).intersect(range);
  return {
    data: used.intersect(allocation.data),
    zero: used.intersect(allocation.zero),
    unused: range.subtract(used),
    how: `used blocks of ${part.fs?.type ?? 'the file system'}`,
    whole: false,
  };
}

const SCAN_STEP = 1 << 20;
/** Boot loaders that live outside partitions stand in the first megabytes; nobody's loader begins behind this. */
const LOADER_AREA = 64 << 20;

/** Anything but zero: what cannot be read may be a loader. */
const UNREADABLE = 0xff;

/** Blocks of 4 KiB in `space` that hold something else than zeros; looked for in the first 64 MiB of the disk. With `tolerant` also what cannot be read. */
export async function dataIn(
  image: ImageSource,
  space: IntervalSet,
  allocation: Allocation,
  tolerant = false,
): Promise<IntervalSet> {
  const found = new IntervalBuilder();
  const reader = new SourceReader(image, { policy: tolerant ? 'zero' : 'fail' });
  const searched = space
    .intersect(allocation.data)
    .intersect(IntervalSet.of({ offset: 0, length: Math.min(LOADER_AREA, image.size) }));
  for (const range of searched) {
    for (let at = range.offset; at < end(range); ) {
      const stop = Math.min(end(range), (Math.floor(at / SCAN_STEP) + 1) * SCAN_STEP);
      const bytes = new Uint8Array(stop - at);
      for (const bad of await reader.read(bytes, at, [{ offset: at, length: stop - at }])) {
        bytes.fill(UNREADABLE, bad.offset - at, end(bad) - at);
      }
      for (const block of blocksOf({ offset: at, length: stop - at })) {
        if (!isZero(bytes.subarray(block.offset - at, end(block) - at))) found.add(block.offset, block.length);
      }
      at = stop;
    }
  }
  return found.build();
}

function* blocksOf(range: ByteRange): IterableIterator<ByteRange> {
  for (let at = range.offset; at < end(range); ) {
    const stop = Math.min(end(range), (Math.floor(at / PAGE) + 1) * PAGE);
    yield { offset: at, length: stop - at };
    at = stop;
  }
}
