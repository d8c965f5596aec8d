import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ByteRange, GuardedTarget } from '../../../src/engine/image/contract.ts';
import { ImageIoError } from '../../../src/engine/image/errors.ts';
import { FileImage } from '../../../src/engine/image/file.ts';
import { ProtectedRegionError } from '../../../src/engine/protect/errors.ts';
import { guard } from '../../../src/engine/protect/guard.ts';
import type { Region } from '../../../src/engine/protect/region.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { assertBytes } from '../image/conformance.ts';
import { sparseFile } from '../image/places.ts';
import { until } from '../image/processes.ts';
import { random } from '../image/random.ts';

const SIZE = 1 << 20;
const folder = tempDir();

function region(offset: number, length: number, name = `raw range at ${offset}`): Region {
  return { offset, length, carrier: 'raw', name };
}

interface Setup {
  readonly target: GuardedTarget;
  readonly file: string;
  readonly content: Buffer;
}

async function guarded(regions: readonly Region[], work: (setup: Setup) => Promise<void>): Promise<void> {
  const file = sparseFile(folder, SIZE);
  const content = random(7).bytes(SIZE);
  writeFileSync(file, content);
  const target = guard(await FileImage.open(file, 'write'), regions);
  try {
    await work({ target, file, content });
  } finally {
    await target.close();
    await target.close();
  }
}

const operations: Record<string, (target: GuardedTarget, range: ByteRange) => Promise<void>> = {
  write: (target, { offset, length }) => target.write(new Uint8Array(length), offset),
  zero: (target, { offset, length }) => target.zero(offset, length),
  discard: (target, { offset, length }) => target.discard(offset, length),
  window: async (target, range) => (await target.window(range)).close(),
  'read-only window': async (target, range) => (await target.window(range, { readOnly: true })).close(),
};

async function refusal(work: () => Promise<void>, what: string): Promise<ProtectedRegionError> {
  try {
    await work();
  } catch (error) {
    assert.instance(error, ProtectedRegionError, `${what}: ${error}`);
    return error as ProtectedRegionError;
  }
  return assert.unreachable(`${what} was let through`) as never;
}

const regions = [
  region(100_352, 4608, 'profile partition 128'),
  region(500_224, 512),
  region(500_736, 512),
  region(SIZE - 512, 512),
];

for (const [name, operation] of Object.entries(operations)) {
  test(`${name}: one byte of a region is too much, and nothing is written`, () =>
    guarded(regions, async ({ target, file, content }) => {
      for (const { offset, length, name: expected } of regions) {
        const end = offset + length;
        for (const range of [
          { offset: offset - 1, length: 2 },
          { offset: end - 1, length: Math.min(2, SIZE - end + 1) },
          { offset, length: 1 },
          { offset: offset - 4096, length: 4097 },
          { offset: end - 1, length: 1 },
          { offset: offset + 100, length: 1 },
          { offset, length },
          { offset: 99_840, length: end - 99_840 },
        ]) {
          const error = await refusal(() => operation(target, range), `${range.length} at ${range.offset}`);
          assert.equal(error.data.range, range);
          assert.is(error.exitCode, 4);
          assert.match(
            error.message,
            `${range.length} bytes at byte ${range.offset} of ${file} would touch the protected region`,
          );
          if (range.offset >= offset) assert.match(error.message, `"${expected}" (${length} bytes at byte ${offset})`);
        }
      }
      await refusal(() => operation(target, { offset: 0, length: SIZE }), 'everything');
      await refusal(() => operation(target, { offset: -1000, length: 2 * SIZE }), 'more than everything');
      assertBytes(readFileSync(file), content, 'the file');
    }));

  test(`${name}: what is next to a region is let through`, () =>
    guarded(regions, async ({ target, file, content }) => {
      for (const { offset, length } of regions) {
        await operation(target, { offset: offset - 512, length: offset === 500_736 ? 0 : 512 }).catch(emptyWindow);
        await operation(target, {
          offset: offset + length,
          length: offset === 500_224 || offset + length === SIZE ? 0 : 512,
        }).catch(emptyWindow);
      }
      await target.flush();
      const after = readFileSync(file);
      for (const { offset, length } of regions) {
        assertBytes(after.subarray(offset, offset + length), content.subarray(offset, offset + length), 'a region');
      }
      if (name === 'write' || name === 'zero') assert.is(after[100_351], 0);
    }));
}

/** A window of no bytes is no window; the other operations do nothing. */
function emptyWindow(error: unknown): void {
  assert.instance(error, ImageIoError);
  assert.match((error as ImageIoError).message, 'open of 0 bytes');
}

test('random operations change all that they may and nothing else', async () => {
  for (const seed of [1, 2, 3, 4]) {
    const { below, pick, bytes } = random(seed);
    const some = Array.from({ length: 1 + below(8) }, () => region(below(SIZE - 3000), 1 + below(3000)));
    const model = new Uint8Array(SIZE);
    for (const { offset, length } of some) model.fill(1, offset, offset + length);
    await guarded(some, async ({ target, file, content }) => {
      let refused = 0;
      for (let i = 0; i < 400; i++) {
        const offset = below(SIZE);
        const range = { offset, length: Math.min(below(40_000), SIZE - offset) };
        const name = pick(['write', 'zero'] as const);
        const data = name === 'zero' ? Buffer.alloc(range.length) : bytes(range.length);
        const run = () => (name === 'zero' ? target.zero(offset, range.length) : target.write(data, offset));
        if (model.subarray(offset, offset + range.length).includes(1)) {
          await refusal(run, `seed ${seed}, ${name} of ${range.length} at ${offset}`);
          refused++;
        } else {
          await run();
          content.set(data, offset);
        }
      }
      assert.ok(refused > 10 && refused < 390);
      assertBytes(readFileSync(file), content, `seed ${seed}`);
    });
  }
});

test('reading is free, and what the target says of itself is passed on', () =>
  guarded(regions, async ({ target, file, content }) => {
    const bytes = new Uint8Array(SIZE);
    await target.read(bytes, 0);
    assertBytes(bytes, content, 'the target');
    await target.startWriteback(0, SIZE);
    const { name, size, sectorSize, physicalSectorSize, sectorSizeAssumed } = target;
    assert.equal(
      { name, size, sectorSize, physicalSectorSize, sectorSizeAssumed },
      { name: file, size: SIZE, sectorSize: 512, physicalSectorSize: 4096, sectorSizeAssumed: true },
    );
  }));

test('a window shows its range only, is gone when closed, and does not run over the end', () =>
  guarded(regions, async ({ target, file, content }) => {
    const window = await target.window({ offset: 8192, length: 4096 });
    assertBytes(readFileSync(window.device), content.subarray(8192, 12_288), 'the window');
    writeFileSync(window.device, Buffer.alloc(4096, 1));
    await window.close();
    await until('it is gone', () => !existsSync(`/sys/block/${window.device.slice(5)}/loop`));
    content.fill(1, 8192, 12_288);
    assertBytes(readFileSync(file), content, 'the file');
    for (const range of [
      { offset: SIZE, length: 512 },
      { offset: -512, length: 512 },
      { offset: 1, length: 512 },
    ]) {
      try {
        await target.window(range);
        assert.unreachable('a window outside');
      } catch (error) {
        assert.instance(error, ImageIoError);
      }
    }
  }));

test('regions that overlap or are empty protect what they cover', () =>
  guarded([region(1000, 500), region(1200, 1000), region(5000, 0)], async ({ target }) => {
    await refusal(() => target.zero(999, 2), 'the first');
    await refusal(() => target.zero(2199, 1), 'the second');
    await target.zero(2200, 10_000);
    await target.zero(0, 1000);
  }));

test.run();
