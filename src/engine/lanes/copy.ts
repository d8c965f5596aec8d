/** The copier: every block is read once and goes to all targets; a target that fails is dropped, the others go on. */
import { alignedBuffers } from '../image/aligned.ts';
import type { ByteRange } from '../image/contract.ts';
import { type Block, CHUNK } from './blocks.ts';
import { inLanes } from './lanes.ts';
import { merged } from './ranges.ts';
import type { Sink } from './sink.ts';

export interface CopyOptions {
  readonly signal?: AbortSignal;
  /** Called with the bytes of each piece of work when it is done, summed over the targets. */
  readonly onChunk?: (bytes: number) => void;
}

/** Where blocks come from. */
export interface BlockReader {
  readonly read: ReadRanges;
  /** Reads once more what `read` could not, when everything else was read. */
  readonly readAgain: ReadRanges;
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
  reader: BlockReader,
  sinks: readonly Sink[],
  options: CopyOptions = {},
): Promise<void> {
  const lost: LostBlock[] = [];
  await inLanes(
    blocks,
    async ({ offset, work }, buffer) => {
      if (sinks.every((sink) => sink.error !== undefined)) throw sinks[0]?.error;
      const ranges = merged(sinks.flatMap((sink, index) => sink.wanted(work[index] ?? [])));
      const looking = Promise.all(sinks.map((sink, index) => sink.held(work[index] ?? [], offset)));
      const reading = ranges.length === 0 ? Promise.resolve([]) : reader.read(buffer, offset, ranges);
      const bad = await reading.finally(() => looking);
      const held = await looking;
      if (bad.length > 0) lost.push({ offset, work: sinks.map((sink, index) => sink.lostOf(work[index] ?? [], bad)) });
      await Promise.all(sinks.map((sink, index) => sink.take(work[index] ?? [], { bytes: buffer, offset, bad }, held[index])));
      options.onChunk?.(work.flat().reduce((sum, { length }) => sum + length, 0));
    },
    options.signal,
  );
  await takeLost(lost, reader, sinks, options.signal);
  if (sinks.length > 0 && sinks.every((sink) => sink.error !== undefined)) throw sinks[0]?.error;
}

/** What could not be read of one block, by the number of the target. */
interface LostBlock {
  readonly offset: number;
  readonly work: readonly (readonly ByteRange[])[];
}

/** One after the other, in the order of the disk: so a failing medium is treated gently. */
async function takeLost(
  lost: readonly LostBlock[],
  reader: BlockReader,
  sinks: readonly Sink[],
  signal: AbortSignal | undefined,
): Promise<void> {
  if (lost.length === 0) return;
  const [buffer] = alignedBuffers(1, CHUNK) as [Uint8Array];
  for (const { offset, work } of lost.toSorted((a, b) => a.offset - b.offset)) {
    signal?.throwIfAborted();
    if (sinks.every((sink) => sink.error !== undefined)) return;
    const bad = await reader.readAgain(buffer, offset, merged(work.flat()));
    await Promise.all(sinks.map((sink, index) => sink.takeLost(work[index] ?? [], { bytes: buffer, offset, bad })));
  }
}
