/** A range of an image as an image of its own: a partition as its file system sees it. Closing it leaves the image open. */
import { type ByteRange, type Extent, end, type ImageSource } from './contract.ts';
import { ImageIoError } from './errors.ts';
import { checkRange } from './raw-io.ts';

/** @throws RangeError when the range does not lie inside the image. */
export function slice(image: ImageSource, range: ByteRange, name = image.name): ImageSource {
  if (range.offset < 0 || range.length < 0 || end(range) > image.size) {
    throw new RangeError(`range ${range.offset}+${range.length} does not lie inside ${image.name} (${image.size} bytes)`);
  }
  let closed = false;
  const check = (offset: number, length: number): void => {
    if (closed) throw new ImageIoError(name, 'read', { offset, length, detail: 'the image was closed' });
    checkRange(name, 'read', offset, length, range.length);
  };
  return {
    name,
    size: range.length,
    sectorSize: image.sectorSize,
    ...(image.sectorSizeAssumed === undefined ? {} : { sectorSizeAssumed: image.sectorSizeAssumed }),
    physicalSectorSize: image.physicalSectorSize,
    async *extents(): AsyncIterable<Extent> {
      check(0, range.length);
      for await (const extent of image.extents()) {
        if (extent.offset >= end(range)) return;
        const from = Math.max(extent.offset, range.offset);
        const to = Math.min(end(extent), end(range));
        if (from < to) yield { offset: from - range.offset, length: to - from, state: extent.state };
      }
    },
    async read(into, offset) {
      check(offset, into.length);
      await image.read(into, range.offset + offset);
    },
    async close() {
      closed = true;
    },
  };
}
