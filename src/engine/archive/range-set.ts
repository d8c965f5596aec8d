/** Sets of ranges as an archive holds them: pairs of distance and length in units of 512 bytes, as unsigned LEB128. See docs/archive.md. */
import { IntervalBuilder, type IntervalSet } from '../protect/intervals.ts';

const UNIT = 512;
/** Of numbers below 2^53 / UNIT. */
const LONGEST = 7;

/** @throws RangeError for a range that is not of whole units */
export function encodeRanges(set: IntervalSet): Uint8Array {
  let bytes = new Uint8Array(1 << 12);
  let length = 0;
  const put = (value: number): void => {
    let rest = value;
    for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes[length++] = (rest % 0x80) | 0x80;
    bytes[length++] = rest;
  };
  let before = 0;
  for (const range of set) {
    const [start, count] = [range.offset / UNIT, range.length / UNIT];
    if (!Number.isInteger(start) || !Number.isInteger(count))
      throw new RangeError(`${range.length} bytes at byte ${range.offset} are not of whole ${UNIT} bytes`);
    if (length + 2 * LONGEST > bytes.length) {
      const larger = new Uint8Array(bytes.length * 2);
      larger.set(bytes);
      bytes = larger;
    }
    put(start - before);
    put(count);
    before = start + count;
  }
  return bytes.slice(0, length);
}

/** What is encoded is no set of so many ranges within `size` bytes. */
export class RangeSetError extends Error {}

/** All of `bytes` are `count` ranges below `size`. @throws RangeSetError */
export function decodeRanges(bytes: Uint8Array, count: number, size: number): IntervalSet {
  const set = new IntervalBuilder();
  const most = Math.floor(size / UNIT);
  let at = 0;
  const take = (): number => {
    let value = 0;
    for (let scale = 1, taken = 0; taken < LONGEST; scale *= 0x80, taken++) {
      const byte = bytes[at++];
      if (byte === undefined) throw new RangeSetError(`ends before its ${count} ranges do`);
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        if (byte === 0 && taken > 0) throw new RangeSetError(`has a number with needless zeros before byte ${at}`);
        return value;
      }
    }
    throw new RangeSetError(`has a number that is too large before byte ${at}`);
  };
  let before = 0;
  for (let i = 0; i < count; i++) {
    const distance = take();
    const length = take();
    const start = before + distance;
    if (length === 0 || (distance === 0 && i > 0)) throw new RangeSetError(`has an empty range or distance before byte ${at}`);
    if (start + length > most) throw new RangeSetError(`has a range beyond ${size} bytes before byte ${at}`);
    set.add(start * UNIT, length * UNIT);
    before = start + length;
  }
  if (at !== bytes.length) throw new RangeSetError(`goes on for ${bytes.length - at} bytes behind its last range`);
  return set.build();
}
