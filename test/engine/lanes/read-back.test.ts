import { closeSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { BlockImage } from '../../../src/engine/image/block.ts';
import { FileImage } from '../../../src/engine/image/file.ts';
import { CHUNK, type Task } from '../../../src/engine/lanes/blocks.ts';
import { DigestLog, digestOf } from '../../../src/engine/lanes/digests.ts';
import { firstDifference } from '../../../src/engine/lanes/read-back.ts';
import { isZero, runsOf } from '../../../src/engine/lanes/zeros.ts';
import { guard } from '../../../src/engine/protect/guard.ts';
import { attachLoop } from '../../fixtures/loop.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { sparseFile } from '../image/places.ts';
import { random } from '../image/random.ts';
import { copyTasks } from './copy-tasks.ts';

const SIZE = 12 * CHUNK + 512;
const folder = tempDir();
const noHoles = { isHole: () => false };

function flip(path: string, offset: number): void {
  const fd = openSync(path, 'r+');
  writeSync(fd, Uint8Array.of(0x5a), 0, 1, offset);
  closeSync(fd);
}

test('the lowest chunk that differs on the medium is found, though the cache holds what was written', async () => {
  const content = random(1).bytes(SIZE);
  content.fill(0, 4 * CHUNK, 7 * CHUNK);
  content.fill(0, 9 * CHUNK - 70_000, 9 * CHUNK);
  const from = sparseFile(folder, SIZE);
  writeFileSync(from, content);
  const file = sparseFile(folder, SIZE);
  const loop = attachLoop(file);
  const source = await FileImage.open(from, 'read');
  const target = await BlockImage.open(loop.device, 'write');
  const tasks: Task[] = [
    { action: 'copy', offset: 0, length: 11 * CHUNK },
    { action: 'zero', offset: 11 * CHUNK, length: CHUNK },
    { action: 'copy', offset: 12 * CHUNK, length: 512 },
  ];
  try {
    const { digests } = await copyTasks(source, tasks, guard(target, []));
    await target.flush();
    await target.read(new Uint8Array(SIZE), 0);
    const difference = async () => {
      const medium = await target.readBack();
      try {
        assert.is(medium.bypass, 'direct');
        let told = 0;
        const found = await firstDifference(medium, digests, { ...noHoles, onChunk: (bytes) => (told += bytes) });
        assert.is(told, SIZE);
        return found;
      } finally {
        await medium.close();
      }
    };
    assert.is(await difference(), undefined);
    // Each lies below those before: the last piece, a zeroed range, zeros in data, a run of zeros, data, the first byte.
    for (const offset of [SIZE - 1, 11 * CHUNK + 77, 9 * CHUNK - 1, 5 * CHUNK, 2 * CHUNK - 1, 0]) {
      flip(file, offset);
      const chunk = Math.floor(offset / CHUNK) * CHUNK;
      assert.equal(await difference(), { offset: chunk, length: Math.min(CHUNK, SIZE - chunk) });
    }
  } finally {
    await source.close();
    await target.close();
    loop.detach();
  }
});

test('a hole that the medium vouches for is not read, data always is', async () => {
  const log = new DigestLog();
  const data = random(2).bytes(4096);
  log.add({ offset: 0, length: 300 * CHUNK, digest: undefined });
  log.add({ offset: 300 * CHUNK, length: 4096, digest: digestOf(data) });
  const read: number[] = [];
  const medium = {
    bypass: 'direct' as const,
    async read(into: Uint8Array, offset: number) {
      read.push(offset);
      if (offset === 300 * CHUNK) into.set(data);
      else into.fill(0);
    },
    async close() {},
  };
  assert.is(await firstDifference(medium, log, { isHole: () => true }), undefined);
  assert.equal(read, [300 * CHUNK]);
  read.length = 0;
  assert.is(await firstDifference(medium, log, { isHole: ({ offset }) => offset !== 7 * CHUNK }), undefined);
  assert.equal(
    read.toSorted((a, b) => a - b),
    [7 * CHUNK, 300 * CHUNK],
  );
});

test('a stop request and an error of the medium come out', async () => {
  const log = new DigestLog();
  for (let i = 0; i < 100; i++) log.add({ offset: i * 4096, length: 4096, digest: 1n });
  const medium = { bypass: 'direct' as const, read: () => Promise.reject(new Error('EIO')), close: async () => {} };
  for (const [options, expected] of [
    [noHoles, 'EIO'],
    [{ ...noHoles, signal: AbortSignal.abort(new Error('stop')) }, 'stop'],
  ] as const) {
    try {
      await firstDifference(medium, log, options);
      assert.unreachable();
    } catch (error) {
      assert.is((error as Error).message, expected);
    }
  }
});

test('the log keeps every record, however many', () => {
  const log = new DigestLog();
  const record = (i: number) => ({ offset: i * 2 ** 33, length: i + 1, digest: i % 3 === 0 ? undefined : BigInt(i) << 40n });
  for (let i = 0; i < 5000; i++) {
    assert.is(log.count, i);
    log.add(record(i));
  }
  let i = 0;
  for (const each of log) assert.equal(each, record(i++));
  assert.is(i, 5000);
  const zero = new DigestLog();
  zero.add({ offset: 0, length: 1, digest: 0n });
  assert.is([...zero][0]?.digest, 0n, 'a digest of 0 is not the mark of zeros');
});

test('XXH64 is what the specification says', () => {
  assert.is(digestOf(new Uint8Array(0)), 0xef46db3751d8e999n);
  assert.is(digestOf(Buffer.from('abc')), 0x44bc2cf5ad770999n);
  const bytes = random(3).bytes(100_000);
  assert.is(digestOf(bytes.subarray(1, 99_999)), digestOf(Buffer.from(bytes.subarray(1, 99_999))), 'a part of a buffer');
});

test('runs of zeros and of data alternate, cover everything, and are what they say', () => {
  for (let seed = 1; seed <= 60; seed++) {
    const { below, bytes } = random(seed);
    const buffer = Buffer.alloc(1 + below(10) * 65_536 + below(65_536));
    for (let i = below(4); i > 0; i--) bytes(1 + below(3000)).copy(buffer, below(buffer.length));
    const runs = runsOf(buffer);
    let next = 0;
    runs.forEach(({ start, end, zero }, i) => {
      assert.is(start, next);
      assert.ok(end > start);
      const inside = buffer.subarray(start, end);
      assert.is(
        zero,
        inside.every((byte) => byte === 0),
      );
      assert.is(isZero(inside), zero);
      if (i > 0) assert.is.not(zero, runs[i - 1]?.zero);
      next = end;
    });
    assert.is(next, buffer.length);
  }
  assert.equal(runsOf(new Uint8Array(0)), []);
  assert.ok(isZero(new Uint8Array(0)));
  const last = new Uint8Array(70_000);
  last[69_999] = 1;
  assert.not(isZero(last));
});

test.run();
