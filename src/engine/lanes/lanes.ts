/** A few lanes take pieces of work from one sequence, each with a buffer of its own. */
import { alignedBuffers } from '../image/aligned.ts';
import { CHUNK } from './blocks.ts';

export const LANES = 4;

/**
 * Runs `work` over `pieces`, at most LANES at a time. The first error stops the others after the piece they are at, and is
 * thrown when all have stopped. `buffer` holds CHUNK bytes, aligned to a page.
 */
export async function inLanes<T>(
  pieces: AsyncIterable<T>,
  work: (piece: T, buffer: Uint8Array) => Promise<void>,
  signal?: AbortSignal,
): Promise<void> {
  const sequence = pieces[Symbol.asyncIterator]();
  let failure: { readonly error: unknown } | undefined;
  const lane = async (buffer: Uint8Array): Promise<void> => {
    try {
      while (failure === undefined) {
        signal?.throwIfAborted();
        const { done, value } = await sequence.next();
        if (done === true) return;
        await work(value, buffer);
      }
    } catch (error) {
      failure ??= { error };
    }
  };
  await Promise.all(alignedBuffers(LANES, CHUNK).map(lane));
  try {
    await sequence.return?.();
  } catch (error) {
    failure ??= { error };
  }
  if (failure !== undefined) throw (failure as { readonly error: unknown }).error;
}
