/** The work of a copy as a sequence of pieces, each small enough for one buffer. Offsets and lengths are bytes. */
import type { ByteRange, ImageSource } from '../image/contract.ts';

export type Action = 'copy' | 'zero' | 'discard';

/** One range of the target and what becomes of it. */
export interface Task extends ByteRange {
  readonly action: Action;
}

export interface Chunk extends Task {
  /** Fills `into`, which is as long as the chunk. Called once, and only for `copy`. */
  load(into: Uint8Array): Promise<void>;
}

/** Data moves in pieces of this size, and pieces begin at multiples of it. */
export const CHUNK = 1 << 20;
/** What needs no data can take larger steps; small enough to stop soon when asked. */
const DATALESS_CHUNK = 1 << 28;

/** The chunks of `tasks`, read from the same offsets of a source that can be read anywhere. A pipe makes its own sequence. */
export async function* chunksOf(source: ImageSource, tasks: Iterable<Task>): AsyncGenerator<Chunk, void, void> {
  for (const { action, offset, length } of tasks) {
    const step = action === 'copy' ? CHUNK : DATALESS_CHUNK;
    for (let at = offset; at < offset + length; ) {
      const next = Math.min(offset + length, (Math.floor(at / step) + 1) * step);
      const start = at;
      yield { action, offset: start, length: next - start, load: (into) => source.read(into, start) };
      at = next;
    }
  }
}
