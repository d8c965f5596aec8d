/** The copier: every block is read once and goes to all targets; a target that fails is dropped, the others go on. */
import type { ByteRange } from '../image/contract.ts';
import type { Block } from './blocks.ts';
import { inLanes } from './lanes.ts';
import { merged } from './ranges.ts';
import type { Sink } from './sink.ts';

export interface CopyOptions {
  readonly signal?: AbortSignal;
  /** Called with the bytes of each piece of work when it is done, summed over the targets. */
  readonly onChunk?: (bytes: number) => void;
}

/**
 * Fills `into`, which begins at byte `offset` of the source, with these ranges of it.
 * Answers those of their bytes that could not be read (and are zeros in `into`); throws where that must not be.
 */
export type ReadRanges = (into: Uint8Array, offset: number, ranges: readonly ByteRange[]) => Promise<readonly ByteRange[]>;

/**
 * Does not flush: the caller decides when everything must be on stable storage. What goes wrong at one target is its sink's
 * `error`; thrown are errors of the source, the signal's reason, and the first sink's error when all have failed.
 */
export async function copyBlocks(
  blocks: AsyncIterable<Block>,
  read: ReadRanges,
  sinks: readonly Sink[],
  options: CopyOptions = {},
): Promise<void> {
  await inLanes(
    blocks,
    async ({ offset, work }, buffer) => {
      if (sinks.every((sink) => sink.error !== undefined)) throw sinks[0]?.error;
      const ranges = merged(sinks.flatMap((sink, index) => sink.wanted(work[index] ?? [])));
      const bad = ranges.length === 0 ? [] : await read(buffer, offset, ranges);
      await Promise.all(sinks.map((sink, index) => sink.take(work[index] ?? [], { bytes: buffer, offset, bad })));
      options.onChunk?.(work.flat().reduce((sum, { length }) => sum + length, 0));
    },
    options.signal,
  );
  if (sinks.length > 0 && sinks.every((sink) => sink.error !== undefined)) throw sinks[0]?.error;
}
