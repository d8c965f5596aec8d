/** Reads all of an archive, and so finds whatever is wrong with it. */
import { ignoreEvents, type RunOptions } from '../events.ts';
import { allSettled } from '../lanes/settled.ts';
import type { Archive } from './archive.ts';
import { cellsOfAll } from './cells.ts';

export interface CheckedArchive {
  readonly digest: string;
  readonly segments: number;
  /** Bytes of the images' data. */
  readonly data: number;
  /** Bytes of the segments. */
  readonly stored: number;
}

/** Bytes of content that the lanes hold. */
const IN_FLIGHT = 24 << 20;

/** @throws ArchiveCorruptError with the place, ArchiveIoError, the signal's reason */
export async function checkArchive(
  archive: Archive,
  { onEvent = ignoreEvents, signal }: RunOptions = {},
): Promise<CheckedArchive> {
  const { images, segmentSize } = archive.layout;
  onEvent({ type: 'phase', phase: 'check', title: 'Reading the archive' });
  const total = images.reduce((sum, { data }) => sum + data.bytes, 0);
  const cells = cellsOfAll(archive.layout);
  let [segments, data, stored] = [0, 0, 0];
  const lane = async (): Promise<void> => {
    const room = new Uint8Array(segmentSize);
    for (let next = cells.next(); next.done !== true; next = cells.next()) {
      signal?.throwIfAborted();
      const cell = next.value;
      await archive.content(cell, room);
      segments++;
      data += cell.length;
      stored += archive.segment(cell).size;
      onEvent({ type: 'progress', phase: 'check', done: data, total });
    }
  };
  await allSettled(Array.from({ length: Math.max(1, Math.floor(IN_FLIGHT / segmentSize)) }, lane));
  await archive.encryptedBundle();
  return { digest: archive.digest, segments, data, stored };
}
