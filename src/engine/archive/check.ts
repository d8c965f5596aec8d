/** Reads all of an archive, and so finds whatever is wrong with it. */
import { ignoreEvents, type RunOptions } from '../events.ts';
import { allSettled } from '../lanes/settled.ts';
import type { Archive } from './archive.ts';
import { cellAt, cellsOf } from './cells.ts';

export interface CheckedArchive {
  readonly digest: string;
  readonly segments: number;
  /** Bytes of the images' data. */
  readonly data: number;
  /** Bytes of the segments. */
  readonly stored: number;
}

const LANES = 3;

/** @throws ArchiveCorruptError with the place, ArchiveIoError, the signal's reason */
export async function checkArchive(
  archive: Archive,
  { onEvent = ignoreEvents, signal }: RunOptions = {},
): Promise<CheckedArchive> {
  const { images, segmentSize } = archive.layout;
  onEvent({ type: 'phase', phase: 'check', title: 'Reading the archive' });
  const total = images.reduce((sum, { data }) => sum + data.bytes, 0);
  const cells = images
    .flatMap((image) => [...cellsOf(image, segmentSize)].map(({ offset }) => ({ image, offset })))
    [Symbol.iterator]();
  let [segments, data, stored] = [0, 0, 0];
  const lane = async (): Promise<void> => {
    for (let next = cells.next(); next.done !== true; next = cells.next()) {
      signal?.throwIfAborted();
      const cell = cellAt(next.value.image, segmentSize, next.value.offset);
      await archive.content(cell);
      segments++;
      data += cell.length;
      stored += archive.segment(cell).size;
      onEvent({ type: 'progress', phase: 'check', done: data, total });
    }
  };
  await allSettled(Array.from({ length: LANES }, lane));
  return { digest: archive.digest, segments, data, stored };
}
