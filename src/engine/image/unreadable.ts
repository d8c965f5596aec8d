/** A source of which some bytes are known to be lost, though reading them fails no more: an image that ddrescue made. */
import { type ByteRange, end, type ImageSource, overlaps } from './contract.ts';
import { ImageIoError } from './errors.ts';

/** Reads of these ranges (ascending, disjoint) fail as they failed on the disk, with EIO. Closing it closes the source. */
export function withUnreadable(source: ImageSource, lost: readonly ByteRange[]): ImageSource {
  if (lost.length === 0) return source;
  return {
    name: source.name,
    size: source.size,
    sectorSize: source.sectorSize,
    ...(source.sectorSizeAssumed === undefined ? {} : { sectorSizeAssumed: source.sectorSizeAssumed }),
    physicalSectorSize: source.physicalSectorSize,
    extents: () => source.extents(),
    async read(into, offset) {
      const hit = firstOverlap(lost, { offset, length: into.length });
      if (hit === undefined) return source.read(into, offset);
      const start = Math.max(offset, hit.offset);
      const cause = Object.assign(new Error('EIO: the map file says that it could not be read'), { code: 'EIO' });
      throw new ImageIoError(source.name, 'read', {
        offset: start,
        length: Math.min(end(hit), offset + into.length) - start,
        cause,
      });
    },
    close: () => source.close(),
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
