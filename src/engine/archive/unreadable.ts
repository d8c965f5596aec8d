/** What of a cell could not be read when it was captured, and is zeros in its segment: `OFFSET+LENGTH`, bytes of the image, with blanks between. */
import { type ByteRange, end } from '../image/contract.ts';
import { IntervalSet } from '../protect/intervals.ts';
import { type Cell, cellAt } from './cells.ts';
import type { ArchivedImage } from './layout.ts';
import type { SegmentTable } from './segment-table.ts';

/** Undefined for nothing. */
export function encodeUnreadable(ranges: readonly ByteRange[]): string | undefined {
  return ranges.length === 0 ? undefined : ranges.map(({ offset, length }) => `${offset}+${length}`).join(' ');
}

/** Undefined for what is not of the cell. */
export function decodeUnreadable(
  text: string,
  { offset: begin, ranges }: Pick<Cell, 'offset' | 'ranges'>,
): ByteRange[] | undefined {
  const stop = Math.max(begin, ...ranges.slice(-1).map(end));
  const found: ByteRange[] = [];
  let last = begin;
  for (const word of text.split(' ')) {
    const [, offset, length] = /^(\d{1,16})\+([1-9]\d{0,15})$/.exec(word) ?? [];
    const range = { offset: Number(offset), length: Number(length) };
    if (length === undefined || range.offset < last || end(range) > stop) return undefined;
    found.push(range);
    last = end(range);
  }
  return found;
}

/** Of a whole image. */
export function unreadableIn(image: ArchivedImage, segmentSize: number, segments: SegmentTable | undefined): IntervalSet {
  const ranges = [...(segments?.unreadable ?? [])].flatMap(
    ([offset, text]) => decodeUnreadable(text, cellAt(image, segmentSize, offset)) ?? [],
  );
  return IntervalSet.of(...ranges);
}
