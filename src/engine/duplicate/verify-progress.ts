/** Progress over parts of known sizes: whatever is left of a part counts as done with it. Bytes. */
import type { OnEvent } from '../events.ts';
import type { CopyOptions } from '../lanes/copy.ts';

/** Runs a comparison of `size` bytes, whose steps tell how far it is. */
export type Step = <T>(size: number, compare: (options: CopyOptions) => Promise<T>) => Promise<T>;

export function progressOver(total: number, onEvent: OnEvent, signal: AbortSignal | undefined): Step {
  let [before, done] = [0, 0];
  const report = (now: number): void => {
    done = now;
    onEvent({ type: 'progress', phase: 'verify', done, total });
  };
  return async (size, compare) => {
    const onChunk = (bytes: number) => report(Math.min(before + size, done + bytes));
    const result = await compare({ onChunk, ...(signal === undefined ? {} : { signal }) });
    before += size;
    report(before);
    return result;
  };
}
