import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseRescueMap, RescueMapError } from '../../../src/engine/duplicate/rescue-map.ts';
import { ranges } from '../layout/filesystems/fixtures.ts';

const head = '# Mapfile. Created by GNU ddrescue version 1.27\n0x00000000     ?               1\n';
const end = Number.MAX_SAFE_INTEGER;

test('what a map does not speak of is missing: before its first line and behind its last', () => {
  const { finished, missing } = parseRescueMap(`${head}0x1000  0x1000  +\n0x2000  0x200  -\n0x2200  0x1000  +\n`, 'disk.map');
  assert.equal(ranges(finished), ['4096+4096', '8704+4096']);
  assert.equal(ranges(missing), ['0+4096', '8192+512', `12800+${end - 12800}`]);
});

test('a map that was cut off says less is read, never more', () => {
  const whole = `${head}0x0  0x1000  +\n0x1000  0x1000  -\n0x2000  0x1000  +\n`;
  const cut = parseRescueMap(whole.split('\n').slice(0, 4).join('\n'), 'disk.map');
  assert.equal(ranges(cut.finished), ['0+4096']);
  assert.ok(cut.missing.covers({ offset: 8192, length: 4096 }));
});

test('numbers beyond 2^53 are no map', () => {
  for (const line of ['0x1000  9007199254740991  +', '9007199254740991  1  -', '0x0  18446744073709551616  +']) {
    assert.throws(
      () => parseRescueMap(`${head}${line}\n`, 'disk.map'),
      (error: Error) => error instanceof RescueMapError,
    );
  }
});

test('a large file that is no map is found out at once', () => {
  for (const text of ['\n'.repeat(8 << 20), `${'#'.repeat(4 << 20)}\rx`, '# \r'.repeat(1 << 20)]) {
    assert.throws(
      () => parseRescueMap(text, 'disk.map'),
      (error: Error) => error instanceof RescueMapError,
    );
  }
});

test.run();
