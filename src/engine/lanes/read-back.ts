/** Reads what was written back from the medium and compares digests. */
import type { ByteRange, ReadBack } from '../image/contract.ts';
import { CHUNK } from './blocks.ts';
import type { CopyOptions } from './copy.ts';
import { type DigestLog, type DigestRecord, digestOf } from './digests.ts';
import { inLanes } from './lanes.ts';
import { isZero } from './zeros.ts';

export interface ReadBackOptions extends CopyOptions {
  /** Whether the medium itself says that the range reads as zeros (a hole), so that it need not be read. */
  readonly isHole: (range: ByteRange) => boolean;
}

/** The first chunk (lowest offset) that does not hold what was written; undefined when all do. Errors are the images' own. */
export async function firstDifference(
  medium: ReadBack,
  digests: DigestLog,
  options: ReadBackOptions,
): Promise<ByteRange | undefined> {
  let first: ByteRange | undefined;
  await inLanes(
    piecesOf(digests),
    async ({ offset, length, digest }, buffer) => {
      const hole = digest === undefined && options.isHole({ offset, length });
      if (!hole && (first === undefined || offset < first.offset)) {
        const bytes = buffer.subarray(0, length);
        await medium.read(bytes, offset);
        const same = digest === undefined ? isZero(bytes) : digestOf(bytes) === digest;
        if (!same && (first === undefined || offset < first.offset)) first = { offset, length };
      }
      options.onChunk?.(length);
    },
    options.signal,
  );
  return first;
}

/** Ranges of zeros may be longer than a buffer. */
async function* piecesOf(digests: DigestLog): AsyncGenerator<DigestRecord, void, void> {
  for (const record of digests) {
    const end = record.offset + record.length;
    for (let offset = record.offset; offset < end; offset += CHUNK) {
      yield { offset, length: Math.min(CHUNK, end - offset), digest: record.digest };
    }
  }
}
