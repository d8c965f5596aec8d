/** The work of a copy as a sequence of blocks, each small enough for one buffer. Offsets and lengths are bytes. */
import type { ByteRange } from '../image/contract.ts';

export type Action = 'copy' | 'zero' | 'discard';

/** One range of a target and what becomes of it. */
export interface Task extends ByteRange {
  readonly action: Action;
}

/** Data moves in blocks of this size, and blocks begin at multiples of it. */
export const CHUNK = 1 << 21;
/** What needs no data can take larger steps; small enough to stop soon when asked. */
const DATALESS_CHUNK = 1 << 28;

/** What begins in one block, for every target: `copy` lies inside the block, what needs no data may reach beyond it. */
export interface Block {
  readonly offset: number;
  /** By the number of the target. */
  readonly work: readonly (readonly Task[])[];
}

/** The blocks of several targets' tasks, in the order of the disk, so that each block of the source is read once. */
export async function* blocksOf(targets: readonly Iterable<Task>[]): AsyncGenerator<Block, void, void> {
  const pieces = targets.map((tasks) => piecesOf(tasks));
  const heads = pieces.map(next);
  for (;;) {
    const index = Math.min(...heads.map((head) => (head === undefined ? Number.POSITIVE_INFINITY : blockOf(head))));
    if (index === Number.POSITIVE_INFINITY) return;
    const work = pieces.map((rest, target) => {
      const mine: Task[] = [];
      for (let head = heads[target]; head !== undefined && blockOf(head) === index; head = heads[target]) {
        mine.push(head);
        heads[target] = next(rest);
      }
      return mine;
    });
    yield { offset: index * CHUNK, work };
  }
}

function* piecesOf(tasks: Iterable<Task>): IterableIterator<Task> {
  for (const { action, offset, length } of tasks) {
    const step = action === 'copy' ? CHUNK : DATALESS_CHUNK;
    for (let at = offset; at < offset + length; ) {
      const stop = Math.min(offset + length, (Math.floor(at / step) + 1) * step);
      yield { action, offset: at, length: stop - at };
      at = stop;
    }
  }
}

function next(pieces: Iterator<Task>): Task | undefined {
  const { done, value } = pieces.next();
  return done === true ? undefined : value;
}

function blockOf({ offset }: Task): number {
  return Math.floor(offset / CHUNK);
}
