/** Collecting used ranges of a part in bounded memory, and finding them in bitmaps. */
import { IntervalBuilder, type IntervalSet } from '../../protect/intervals.ts';

/** About 80 MB at the most, where all of them are short. */
const defaultLimit = 1 << 24;

/**
 * Takes used ranges in ascending order. Where a file system is so fragmented that there would be more than `limit` ranges,
 * the smallest gaps between them are counted as used: that costs copying, never data.
 */
export class UsedCollector {
  #builder = new IntervalBuilder();
  #added = 0;
  #smallestGap = 1;
  #end = 0;
  readonly #limit: number;

  constructor(limit = defaultLimit) {
    this.#limit = limit;
  }

  /** @throws RangeError when `offset` lies before the last range's start. */
  add(offset: number, length: number): void {
    if (length <= 0) return;
    const gap = offset - this.#end;
    const from = this.#added > 0 && gap > 0 && gap < this.#smallestGap ? this.#end : offset;
    this.#builder.add(from, offset + length - from);
    if (this.#added === 0 || from > this.#end) this.#added++;
    this.#end = Math.max(this.#end, offset + length);
    if (this.#added > this.#limit) this.#coarsen();
  }

  build(): IntervalSet {
    return this.#builder.build();
  }

  #coarsen(): void {
    while (this.#added > this.#limit / 2) {
      this.#smallestGap = Math.max(1024, this.#smallestGap * 2);
      const ranges = this.#builder.build();
      this.#builder = new IntervalBuilder();
      this.#added = 0;
      let end = 0;
      for (const range of ranges) {
        const near = this.#added > 0 && range.offset - end < this.#smallestGap;
        const from = near ? end : range.offset;
        this.#builder.add(from, range.offset + range.length - from);
        if (!near) this.#added++;
        end = range.offset + range.length;
      }
    }
  }
}

/**
 * Reports every run of set bits among the first `count` bits (bit 0 is the lowest of byte 0) in ascending order.
 * @returns how many of the bits are clear
 */
export function scanSetBits(bits: Uint8Array, count: number, onRun: (start: number, length: number) => void): number {
  const wholeBytes = count >>> 3;
  const words = bits.byteOffset % 4 === 0 ? new Int32Array(bits.buffer, bits.byteOffset, wholeBytes >>> 2) : undefined;
  let clear = count;
  let start = -1;
  const close = (at: number): void => {
    onRun(start, at - start);
    clear -= at - start;
    start = -1;
  };
  let i = 0;
  while (i < wholeBytes) {
    if (words !== undefined && i % 4 === 0) {
      const skip = start < 0 ? 0 : -1;
      while (i >>> 2 < words.length && words[i >>> 2] === skip) i += 4;
      if (i >= wholeBytes) break;
    }
    const byte = bits[i] as number;
    if (byte === 0) {
      if (start >= 0) close(i * 8);
    } else if (byte === 0xff) {
      if (start < 0) start = i * 8;
    } else {
      for (let bit = 0; bit < 8; bit++) {
        if (byte & (1 << bit)) {
          if (start < 0) start = i * 8 + bit;
        } else if (start >= 0) close(i * 8 + bit);
      }
    }
    i++;
  }
  for (let bit = wholeBytes * 8; bit < count; bit++) {
    if ((bits[bit >>> 3] as number) & (1 << (bit & 7))) {
      if (start < 0) start = bit;
    } else if (start >= 0) close(bit);
  }
  if (start >= 0) close(count);
  return clear;
}
