/** The copier: chunks go from a source to a guarded target, zeros become holes, and every chunk leaves a digest. */
import type { GuardedTarget } from '../image/contract.ts';
import type { Chunk } from './chunks.ts';
import { DigestLog, digestOf } from './digests.ts';
import { inLanes } from './lanes.ts';
import { runsOf } from './zeros.ts';

export interface CopyOptions {
  readonly signal?: AbortSignal;
  /** Called with the bytes of each chunk when it is done. */
  readonly onChunk?: (bytes: number) => void;
}

/** Bytes of the target by what happened to them. */
export interface CopyResult {
  readonly written: number;
  readonly zeroed: number;
  readonly discarded: number;
  readonly digests: DigestLog;
}

/** Does not flush: the caller decides when everything must be on stable storage. Errors are the images' own. */
export async function copyChunks(
  chunks: AsyncIterable<Chunk>,
  target: GuardedTarget,
  options: CopyOptions = {},
): Promise<CopyResult> {
  const digests = new DigestLog();
  const sums = { written: 0, zeroed: 0, discarded: 0 };

  const zero = async (offset: number, length: number): Promise<void> => {
    await target.zero(offset, length);
    sums.zeroed += length;
  };

  const copy = async ({ offset, length, load }: Chunk, buffer: Uint8Array): Promise<void> => {
    if (length > buffer.length) throw new RangeError(`a chunk of ${length} bytes does not fit into ${buffer.length}`);
    const bytes = buffer.subarray(0, length);
    await load(bytes);
    const runs = runsOf(bytes);
    digests.add({ offset, length, digest: runs.every((run) => run.zero) ? undefined : digestOf(bytes) });
    for (const run of runs) {
      const size = run.end - run.start;
      if (run.zero) {
        await zero(offset + run.start, size);
      } else {
        await target.write(bytes.subarray(run.start, run.end), offset + run.start);
        await target.startWriteback(offset + run.start, size);
        sums.written += size;
      }
    }
  };

  await inLanes(
    chunks,
    async (chunk, buffer) => {
      if (chunk.action === 'copy') {
        await copy(chunk, buffer);
      } else if (chunk.action === 'zero') {
        await zero(chunk.offset, chunk.length);
        digests.add({ offset: chunk.offset, length: chunk.length, digest: undefined });
      } else {
        await target.discard(chunk.offset, chunk.length);
        sums.discarded += chunk.length;
      }
      options.onChunk?.(chunk.length);
    },
    options.signal,
  );
  return { ...sums, digests };
}
