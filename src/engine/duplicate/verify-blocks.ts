/** Compares ranges of two images byte for byte, in lanes. Offsets and lengths are bytes. */
import { alignedBuffers, PAGE } from '../image/aligned.ts';
import { type ByteRange, end, type ReadBack } from '../image/contract.ts';
import { blocksOf, CHUNK, type Task } from '../lanes/blocks.ts';
import type { CopyOptions, ReadRanges } from '../lanes/copy.ts';
import { inLanes, LANES } from '../lanes/lanes.ts';
import { merged, READ_THROUGH, without } from '../lanes/ranges.ts';
import { isZero } from '../lanes/zeros.ts';
import type { IntervalSet } from '../protect/intervals.ts';
import { differingBytes } from './read-back.ts';

/** What a target has to hold; the sets are disjoint. */
export interface WantedBlocks {
  /** What the source has there. */
  readonly data: IntervalSet;
  /** Zeros. */
  readonly zero: IntervalSet;
  /** Zeros, or what the source has there: nobody uses the bytes, but what else stood there must be gone. */
  readonly cleared: IntervalSet;
}

export interface BlockComparison extends CopyOptions {
  readonly wanted: WantedBlocks;
  /** Reads the source; what it answers to be unreadable was zeroed. */
  readonly source: ReadRanges;
  /** Bytes that could not be read are not compared, instead of being expected to be zeros. */
  readonly skipBad: boolean;
  readonly target: ReadBack;
  readonly targetSize: number;
  /** What the target's medium itself says to be zeros. */
  readonly holes: IntervalSet;
}

/** The differing bytes with the lowest offset; undefined when there are none. Errors are the images' own. */
export async function firstDifferingBytes(comparison: BlockComparison): Promise<ByteRange | undefined> {
  let first: ByteRange | undefined;
  await eachDifference(comparison, {
    // Behind a difference nothing more needs to be looked at.
    matters: (offset) => first === undefined || offset < first.offset,
    found: (range, wanted, held) => {
      if (first === undefined || range.offset < first.offset) first = differingBytes(wanted, held, range);
    },
  });
  return first;
}

/** Everything that differs, in whole pages. */
export async function differingPages(comparison: BlockComparison, add: (range: ByteRange) => void): Promise<void> {
  await eachDifference(comparison, {
    matters: () => true,
    found: ({ offset, length }, wanted, held) => {
      for (let at = 0; at < length; at += PAGE) {
        const stop = Math.min(at + PAGE, length);
        if (Buffer.compare(wanted.subarray(at, stop), held.subarray(at, stop)) !== 0)
          add({ offset: offset + at, length: stop - at });
      }
    },
  });
}

interface Looker {
  /** Whether a difference at this offset or behind it would be news. */
  readonly matters: (offset: number) => boolean;
  readonly found: (range: ByteRange, wanted: Uint8Array, held: Uint8Array) => void;
}

const zeros = new Uint8Array(CHUNK);

async function eachDifference(comparison: BlockComparison, { matters, found }: Looker): Promise<void> {
  const { wanted, source, skipBad, target, targetSize, holes, onChunk, signal } = comparison;
  const spare = alignedBuffers(LANES, CHUNK);
  const { data, zero, cleared } = wanted;
  await inLanes(
    blocksOf([data, zero.subtract(holes), cleared.subtract(holes)].map(reads)),
    async ({ offset, work }, ours) => {
      const [equal = [], empty = [], either = []] = work;
      const all = merged([...equal, ...empty, ...either]);
      if (!matters(offset)) return;
      const theirs = spare.pop() as Uint8Array;
      const at = (bytes: Uint8Array, range: ByteRange) => bytes.subarray(range.offset - offset, end(range) - offset);
      try {
        const fromSource = merged([...equal, ...either]);
        const [bad] = await both(
          fromSource.length === 0 ? [] : source(ours, offset, fromSource),
          readTarget((into, start) => target.read(into, start), { into: theirs, offset, ranges: all, holes, size: targetSize }),
        );
        const readable = (range: ByteRange) => (skipBad ? without(range, bad) : [range]);
        for (const range of equal.flatMap(readable)) compare(range, at(ours, range), at(theirs, range));
        for (const range of empty) compare(range, zeros.subarray(0, range.length), at(theirs, range));
        for (const range of either.flatMap(pagesOf)) {
          if (!isZero(at(theirs, range))) compare(range, at(ours, range), at(theirs, range));
        }
      } finally {
        spare.push(theirs);
      }
      onChunk?.(all.reduce((sum, { length }) => sum + length, 0));
    },
    signal,
  );

  function compare(range: ByteRange, source: Uint8Array, held: Uint8Array): void {
    if (matters(range.offset) && Buffer.compare(source, held) !== 0) found(range, source, held);
  }
}

/** Everything has to be read, so that the steps are those of a copy. */
function* reads(ranges: IntervalSet): IterableIterator<Task> {
  for (const range of ranges) yield { action: 'copy', ...range };
}

function* piecesOf(range: ByteRange, step: number): IterableIterator<ByteRange> {
  for (let at = range.offset; at < end(range); ) {
    const stop = Math.min(end(range), (Math.floor(at / step) + 1) * step);
    yield { offset: at, length: stop - at };
    at = stop;
  }
}

function pagesOf(range: ByteRange): ByteRange[] {
  return [...piecesOf(range, PAGE)];
}

interface TargetBlock {
  readonly into: Uint8Array;
  /** Where `into` begins. */
  readonly offset: number;
  /** Ascending. */
  readonly ranges: readonly ByteRange[];
  readonly holes: IntervalSet;
  /** Of the whole target. */
  readonly size: number;
}

/** Fills `into` with these ranges; in whole pages, as the medium likes it. */
async function readTarget(readMedium: ReadBack['read'], { into, offset, ranges, holes, size }: TargetBlock): Promise<void> {
  for (const range of merged(ranges, READ_THROUGH)) {
    const start = Math.max(offset, Math.floor(range.offset / PAGE) * PAGE);
    const stop = Math.min(Math.ceil(end(range) / PAGE) * PAGE, size, offset + into.length);
    const bytes = into.subarray(start - offset, stop - offset);
    if (holes.covers({ offset: start, length: stop - start })) bytes.fill(0);
    else await readMedium(bytes, start);
  }
}

/** Both reads end before the buffers are used again, also when one fails. */
async function both<A, B>(a: Promise<A> | A, b: Promise<B>): Promise<[A, B]> {
  await Promise.allSettled([a, b]);
  return [await a, await b];
}
