/** The cells of an image: what one segment holds. Offsets and lengths are bytes of the image. */
import { type ByteRange, end } from '../image/contract.ts';
import type { ArchivedImage, ArchiveLayout } from './layout.ts';

export interface Cell {
  /** Name of the image. */
  readonly image: string;
  /** Where it begins. */
  readonly offset: number;
  /** Its data, in ascending order. */
  readonly ranges: readonly ByteRange[];
  /** Sum of the ranges: the size of the segment's content. */
  readonly length: number;
}

/** The cell that begins at `offset`; one without data has no ranges. */
export function cellAt({ name, data }: ArchivedImage, segmentSize: number, offset: number): Cell {
  const ranges = [...data.within({ offset, length: segmentSize })];
  return { image: name, offset, ranges, length: ranges.reduce((sum, { length }) => sum + length, 0) };
}

/** Those with data, in ascending order. */
export function* cellsOf(image: ArchivedImage, segmentSize: number): Generator<Cell, void, void> {
  let next = 0;
  for (const range of image.data) {
    for (; next < end(range); next += segmentSize) {
      next = Math.max(next, Math.floor(range.offset / segmentSize) * segmentSize);
      yield cellAt(image, segmentSize, next);
    }
  }
}

/** Of all images, in the order of the layout. */
export function* cellsOfAll({ images, segmentSize }: Pick<ArchiveLayout, 'images' | 'segmentSize'>): Generator<Cell, void, void> {
  for (const image of images) yield* cellsOf(image, segmentSize);
}

/** Each range of the cell with its bytes in the content of the segment. */
export function* unpacked(
  { ranges }: Cell,
  content: Uint8Array,
): Generator<{ readonly range: ByteRange; readonly bytes: Uint8Array }> {
  let at = 0;
  for (const range of ranges) {
    yield { range, bytes: content.subarray(at, at + range.length) };
    at += range.length;
  }
}
