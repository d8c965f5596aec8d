import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { decodeRanges, encodeRanges, RangeSetError } from '../../../src/engine/archive/range-set.ts';
import { IntervalSet } from '../../../src/engine/protect/intervals.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'hex'));
const disk = 2 ** 40;

test('the vectors of docs/archive.md', () => {
  assert.is(hex(encodeRanges(IntervalSet.empty)), '');
  assert.is(hex(encodeRanges(IntervalSet.of({ offset: 0, length: 512 }))), '0001');
  const set = IntervalSet.of({ offset: 1 << 20, length: 4096 }, { offset: (1 << 20) + 8192, length: 1 << 20 });
  assert.is(hex(encodeRanges(set)), '8010080880' + '10');
  assert.equal([...decodeRanges(bytes('801008088010'), 2, disk)], [...set]);
});

test('what is encoded is decoded, however large and many', () => {
  const ranges = [];
  let at = 0;
  for (let i = 0; i < 20000; i++) {
    at += 512 * (1 + ((i * 7919) % 1000) ** 2);
    const length = 512 * (1 + ((i * 104729) % 70000));
    ranges.push({ offset: at, length });
    at += length + 512;
  }
  ranges.push({ offset: 2 ** 52, length: 2 ** 51 });
  const set = IntervalSet.of(...ranges);
  const encoded = encodeRanges(set);
  assert.equal([...decodeRanges(encoded, ranges.length, 2 ** 53 - 512)], ranges);
});

test('ranges that are not of whole sectors are refused', () => {
  assert.throws(() => encodeRanges(IntervalSet.of({ offset: 100, length: 512 })), /not of whole 512 bytes/);
});

for (const [what, code, count, reason] of [
  ['a set that is cut off', '8010', 1, /ends before its 1 ranges/],
  ['bytes behind the set', '000101', 1, /goes on for 1 bytes/],
  ['an empty range', '0100', 1, /empty range or distance/],
  ['two ranges that touch', '00010001', 2, /empty range or distance/],
  ['a range beyond the image', '80808080800101', 1, /beyond/],
  ['a number that takes too many bytes', '8080808080808001', 1, /too large/],
  ['a number with needless zeros', '800001', 1, /needless zeros/],
  ['more ranges than bytes', '0001', 4e15, /ends before/],
] as const) {
  test(`${what} is refused`, () => {
    const error = caught(() => decodeRanges(bytes(code), count, disk));
    assert.instance(error, RangeSetError);
    assert.match((error as Error).message, reason);
  });
}

function caught(action: () => unknown): unknown {
  try {
    action();
  } catch (error) {
    return error;
  }
  throw new Error('nothing was thrown');
}

test.run();
