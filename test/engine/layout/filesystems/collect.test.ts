/** Bitmaps and collecting against the plain way of doing it, and checksums against published values. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { crc16, crc32c } from '../../../../src/engine/layout/filesystems/checksum.ts';
import { scanSetBits, UsedCollector } from '../../../../src/engine/layout/filesystems/collect.ts';
import { random } from './fixtures.ts';

test('CRC-32C and CRC-16 have their published check values, at every length and start', () => {
  const check = Buffer.from('123456789');
  assert.is(~crc32c(0xffffffff, check) >>> 0, 0xe3069283);
  assert.is(crc16(0xffff, check), 0x4b37);
  assert.is(~crc32c(0xffffffff, new Uint8Array(32)) >>> 0, 0x8a9136aa);
  const next = random(5);
  const bytes = Uint8Array.from({ length: 300 }, () => next() & 0xff);
  for (let split = 0; split < 300; split++) {
    assert.is(crc32c(crc32c(7, bytes.subarray(0, split)), bytes.subarray(split)), crc32c(7, bytes));
  }
});

test('runs of set bits are those that looking at each bit finds', () => {
  const next = random(6);
  for (let round = 0; round < 400; round++) {
    const bytes = new Uint8Array(160);
    // Long runs of equal bytes as well as noise.
    for (let i = 0; i < bytes.length; i++) {
      const kind = next() % 12;
      bytes[i] = kind === 0 ? next() & 0xff : i > 0 && kind > 2 ? (bytes[i - 1] as number) : kind === 1 ? 0xff : 0;
    }
    const start = next() % 9;
    const bits = bytes.subarray(start);
    const count = next() % (bits.length * 8 + 1);
    const found: boolean[] = new Array<boolean>(count).fill(false);
    let last = -1;
    const clear = scanSetBits(bits, count, (from, length) => {
      assert.ok(from > last && length > 0);
      last = from + length;
      found.fill(true, from, from + length);
    });
    const expected = Array.from({ length: count }, (_, i) => ((bits[i >>> 3] as number) & (1 << (i & 7))) !== 0);
    assert.equal(found, expected);
    assert.is(clear, expected.filter((bit) => !bit).length);
  }
});

test('a collector that runs full keeps everything used, within its limit', () => {
  const limited = new UsedCollector(1000);
  const exact = new UsedCollector();
  const next = random(7);
  let at = 0;
  for (let i = 0; i < 50_000; i++) {
    at += 512 * (1 + (next() % 40));
    limited.add(at, 512);
    exact.add(at, 512);
    at += 512;
  }
  const [few, all] = [limited.build(), exact.build()];
  assert.ok(few.count <= 1001, `${few.count} ranges`);
  assert.ok(all.count > 40_000);
  assert.is(all.subtract(few).bytes, 0);
});

test.run();
