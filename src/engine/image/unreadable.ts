/** A source of which some bytes are known to be lost, though reading them fails no more: an image that ddrescue made. */
import { type ByteRange, end, type ImageSource, overlaps } from './contract.ts';
import { ImageIoError } from './errors.ts';
import { viewOf } from './view.ts';

type Read = ImageSource['read'];

/** Reads of these ranges (ascending, disjoint) fail as they failed on the disk, with EIO. Closing it closes the source. */
export function withUnreadable(source: ImageSource, lost: readonly ByteRange[]): ImageSource {
  if (lost.length === 0) return source;
  return viewOf(
    source,
    failingRead(source.name, (into, offset) => source.read(into, offset), lost),
  );
}

/** `read` of the image `name`, but for these ranges. */
export function failingRead(name: string, read: Read, lost: readonly ByteRange[]): Read {
  return async (into, offset) => {
    const hit = firstOverlap(lost, { offset, length: into.length });
    if (hit === undefined) return read(into, offset);
    const start = Math.max(offset, hit.offset);
    const cause = Object.assign(new Error('EIO: the map file says that it could not be read'), { code: 'EIO' });
    throw new ImageIoError(name, 'read', { offset: start, length: Math.min(end(hit), offset + into.length) - start, cause });
  };
}

function firstOverlap(ranges: readonly ByteRange[], range: ByteRange): ByteRange | undefined {
  let low = 0;
  let high = ranges.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (end(ranges[middle] as ByteRange) > range.offset) high = middle;
    else low = middle + 1;
  }
  const found = ranges[low];
  return found !== undefined && overlaps(found, range) ? found : undefined;
}
