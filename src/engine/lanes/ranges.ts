/** Arithmetic on a handful of byte ranges; for many there is IntervalSet. */
import { type ByteRange, end, overlaps } from '../image/contract.ts';

/** What lies between ranges as near to each other as this is read with them: a read of its own would cost more. Bytes. */
export const READ_THROUGH = 32 << 10;

/** In ascending order, ranges that overlap, touch, or are no more than `gap` bytes apart made one. */
export function merged(ranges: readonly ByteRange[], gap = 0): ByteRange[] {
  const result: ByteRange[] = [];
  for (const range of ranges.toSorted((a, b) => a.offset - b.offset)) {
    const last = result.at(-1);
    if (last === undefined || range.offset > end(last) + gap) result.push(range);
    else result[result.length - 1] = { offset: last.offset, length: Math.max(end(last), end(range)) - last.offset };
  }
  return result;
}

/** What is left of `ranges`; both are in ascending order, without overlaps. */
export function subtract(ranges: readonly ByteRange[], holes: readonly ByteRange[]): ByteRange[] {
  let next = 0;
  return ranges.flatMap((range) => {
    while (next < holes.length && end(holes[next] as ByteRange) <= range.offset) next++;
    let stop = next;
    while (stop < holes.length && (holes[stop] as ByteRange).offset < end(range)) stop++;
    return without(range, holes.slice(next, stop));
  });
}

/** The bytes of `range` that are in `others`, in their order. */
export function within(range: ByteRange, others: readonly ByteRange[]): ByteRange[] {
  return others
    .filter((each) => overlaps(each, range))
    .map((each) => {
      const offset = Math.max(range.offset, each.offset);
      return { offset, length: Math.min(end(range), end(each)) - offset };
    });
}

/** What is left of `range`; `holes` are in ascending order. */
export function without(range: ByteRange, holes: readonly ByteRange[]): ByteRange[] {
  const rest: ByteRange[] = [];
  let at = range.offset;
  for (const hole of holes.filter((each) => overlaps(each, range))) {
    if (hole.offset > at) rest.push({ offset: at, length: hole.offset - at });
    at = Math.max(at, end(hole));
  }
  if (at < end(range)) rest.push({ offset: at, length: end(range) - at });
  return rest;
}
