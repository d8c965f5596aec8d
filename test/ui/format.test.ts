import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { formatBytes, formatDuration, formatPercent, formatRate, printable } from '../../src/ui/format.ts';

test('bytes are shown in IEC units, with a decimal only where it says something', () => {
  const cases: readonly [number, string][] = [
    [0, '0 B'],
    [1, '1 B'],
    [1023, '1023 B'],
    [1024, '1 KiB'],
    [1536, '1.5 KiB'],
    [1024 * 1024 - 1, '1 MiB'],
    [1.3 * 2 ** 30, '1.3 GiB'],
    [8 * 2 ** 30, '8 GiB'],
    [7.96 * 2 ** 30, '8 GiB'],
  ];
  for (const [bytes, text] of cases) assert.is(formatBytes(bytes), text);
  assert.is(formatBytes(2 ** 53), '8 PiB');
  assert.is(formatRate(212.4 * 2 ** 20), '212.4 MiB/s');
});

test('durations have two units at most', () => {
  assert.is(formatDuration(0.44), '0.4 s');
  assert.is(formatDuration(9.97), '10 s');
  assert.is(formatDuration(59.6), '1 min');
  assert.is(formatDuration(200), '3 min 20 s');
  assert.is(formatDuration(7500), '2 h 5 min');
  assert.is(formatDuration(3599.9), '1 h');
  assert.is(formatDuration(Number.POSITIVE_INFINITY), 'unknown');
  assert.is(formatDuration(Number.NaN), 'unknown');
});

test('100 % means done', () => {
  assert.is(formatPercent(999_999, 1_000_000), '99 %');
  assert.is(formatPercent(1, 1), '100 %');
  assert.is(formatPercent(0, 0), '');
});

test('control characters and text direction marks from a disk do not reach the terminal', () => {
  assert.is(printable('a\u001b[31mb\u0007\u009b\u202e'), 'a\\x1b[31mb\\x07\\x9b\\u{202e}');
  assert.is(printable('Zoë 日本\n\t'), 'Zoë 日本\n\t');
});

test.run();
