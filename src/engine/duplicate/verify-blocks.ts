/** Compares ranges of two images byte for byte, in lanes. */
import { alignedBuffers } from '../image/aligned.ts';
import type { ByteRange, ImageSource, ReadBack } from '../image/contract.ts';
import { CHUNK } from '../lanes/blocks.ts';
import type { CopyOptions } from '../lanes/copy.ts';
import { inLanes, LANES } from '../lanes/lanes.ts';
import { isZero } from '../lanes/zeros.ts';
import { IntervalSet } from '../protect/intervals.ts';
import { differingBytes } from './read-back.ts';
import { tasksOf } from './tasks.ts';

export interface BlockComparison extends CopyOptions {
  readonly source: ImageSource;
  readonly target: ReadBack;
  /** Must be equal. */
  readonly data: IntervalSet;
  /** The source reads as zeros there; the target must too. Disjoint from `data`. */
  readonly zero: IntervalSet;
  /** What the target's medium itself says to be zeros. */
  readonly holes: IntervalSet;
}

const zeros = new Uint8Array(CHUNK);

/** The differing bytes with the lowest offset; undefined when there are none. Errors are the images' own. */
export async function firstDifferingBytes(comparison: BlockComparison): Promise<ByteRange | undefined> {
  const { source, target, data, zero, holes, onChunk, signal } = comparison;
  const spare = alignedBuffers(LANES, CHUNK);
  let first: ByteRange | undefined;
  const isBefore = (offset: number): boolean => first === undefined || offset < first.offset;

  async function* pieces() {
    // In the order of the disk: behind a difference nothing more needs to be looked at.
    for (const task of tasksOf({ copy: data, zero: zero.subtract(holes), discard: IntervalSet.empty })) {
      for (let at = task.offset; at < task.offset + task.length; ) {
        if (first !== undefined) return;
        const next = Math.min(task.offset + task.length, (Math.floor(at / CHUNK) + 1) * CHUNK);
        yield { action: task.action, offset: at, length: next - at };
        at = next;
      }
    }
  }

  await inLanes(
    pieces(),
    async ({ action, offset, length }, buffer) => {
      if (!isBefore(offset)) return;
      const other = spare.pop() as Uint8Array;
      try {
        const wanted = action === 'zero' ? zeros.subarray(0, length) : buffer.subarray(0, length);
        const found = other.subarray(0, length);
        const reads = action === 'zero' ? [] : [source.read(wanted, offset)];
        const hole = holes.covers({ offset, length });
        if (!hole) reads.push(target.read(found, offset));
        await settle(reads);
        const same = hole ? isZero(wanted) : Buffer.compare(wanted, found) === 0;
        if (!same && isBefore(offset)) {
          if (hole) found.fill(0);
          first = differingBytes(wanted, found, { offset, length });
        }
      } finally {
        spare.push(other);
      }
      onChunk?.(length);
    },
    signal,
  );
  return first;
}

/** Both reads end before the buffers are used again, also when one fails. */
async function settle(reads: readonly Promise<void>[]): Promise<void> {
  const failed = (await Promise.allSettled(reads)).find((result) => result.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}
