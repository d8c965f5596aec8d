import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ByteRange, ImageSource } from '../../../src/engine/image/contract.ts';
import { ImageIoError } from '../../../src/engine/image/errors.ts';
import { SourceGoneError, SourceUnreadableError } from '../../../src/engine/lanes/errors.ts';
import { SourceReader } from '../../../src/engine/lanes/source-reader.ts';
import { random } from '../image/random.ts';
import { failingSource } from './failing-source.ts';

const MiB = 1 << 20;
const SIZE = 8 * MiB;
const content = random(1).bytes(SIZE);

function memory(sectorSize = 512): ImageSource {
  return {
    name: 'memory',
    size: SIZE,
    sectorSize,
    physicalSectorSize: sectorSize,
    async *extents() {
      yield { offset: 0, length: SIZE, state: 'data' as const };
    },
    async read(into, offset) {
      into.set(content.subarray(offset, offset + into.length));
    },
    async close() {},
  };
}

async function thrown(action: () => Promise<unknown>): Promise<unknown> {
  try {
    await action();
  } catch (error) {
    return error;
  }
  return undefined;
}

test('only the sectors that fail are lost, whatever their number and place', async () => {
  for (let seed = 1; seed <= 20; seed++) {
    const { below, pick } = random(seed);
    const sectorSize = pick([512, 4096]);
    const bad = Array.from({ length: 1 + below(5) }, () => ({ offset: below(MiB), length: 1 + below(9000) }));
    const reader = new SourceReader(failingSource(memory(sectorSize), bad), { policy: 'zero' });
    const into = new Uint8Array(MiB);
    const found = await reader.read(into, 0, [{ offset: 0, length: MiB }]);
    const wanted = Buffer.from(content.subarray(0, MiB));
    for (const { offset, length } of bad) {
      const [start, stop] = [
        Math.floor(offset / sectorSize) * sectorSize,
        Math.ceil((offset + length) / sectorSize) * sectorSize,
      ];
      wanted.fill(0, start, stop);
    }
    assert.is(Buffer.compare(wanted, into), 0, `seed ${seed}`);
    const lost = found.reduce((sum, { length }) => sum + length, 0);
    assert.is(lost, wanted.filter((byte, i) => byte === 0 && content[i] !== 0).length + sameZeros(found));
    assert.equal(reader.bad, found);
  }
});

/** Bytes of the ranges that were zero anyway. */
function sameZeros(ranges: readonly ByteRange[]): number {
  return ranges.reduce(
    (sum, { offset, length }) => sum + content.subarray(offset, offset + length).filter((byte) => byte === 0).length,
    0,
  );
}

test('what nobody uses between two ranges may fail', async () => {
  const bad = [{ offset: 8192, length: 512 }];
  const reader = new SourceReader(failingSource(memory(), bad));
  const into = new Uint8Array(MiB);
  const ranges = [
    { offset: 4096, length: 4096 },
    { offset: 12_288, length: 4096 },
  ];
  assert.equal(await reader.read(into, 0, ranges), []);
  for (const { offset, length } of ranges) {
    assert.is(Buffer.compare(into.subarray(offset, offset + length), content.subarray(offset, offset + length)), 0);
  }
});

test('without a policy the first sector that fails ends the copy, with its place', async () => {
  const reader = new SourceReader(failingSource(memory(), [{ offset: 2 * MiB + 512, length: 1 }]));
  const error = await thrown(() => reader.read(new Uint8Array(MiB), 2 * MiB, [{ offset: 2 * MiB, length: MiB }]));
  assert.instance(error, SourceUnreadableError);
  const { data, message, todo } = error as SourceUnreadableError;
  assert.equal(data, { source: 'memory', offset: 2 * MiB + 512, length: 512 });
  assert.match(message, '512 bytes at byte 2097664 (sector 4097) of memory');
  assert.match(todo, '--on-read-error zero');
  assert.equal(reader.bad, [{ offset: 2 * MiB + 512, length: 512 }]);
});

test('a sector that comes back when it is tried again is not lost', async () => {
  let attempts = 0;
  const source = memory();
  const flaky = failingSource(source, []);
  const reader = new SourceReader(
    {
      ...flaky,
      async read(into, offset) {
        if (offset <= 1024 && offset + into.length > 1024 && (into.length > 512 || ++attempts < 3)) {
          throw new ImageIoError('flaky', 'read', {
            offset,
            length: into.length,
            cause: Object.assign(new Error('EIO'), { code: 'EIO' }),
          });
        }
        await source.read(into, offset);
      },
    },
    { policy: 'zero' },
  );
  const into = new Uint8Array(4096);
  assert.equal(await reader.read(into, 0, [{ offset: 0, length: 4096 }]), []);
  assert.is(Buffer.compare(into, content.subarray(0, 4096)), 0);
});

test('a source that has gone is never made up with zeros', async () => {
  for (const [bad, code, kind] of [
    [[{ offset: 0, length: SIZE }], 'ENXIO', ImageIoError],
    [[{ offset: 0, length: SIZE }], 'EIO', SourceGoneError],
  ] as const) {
    const reader = new SourceReader(failingSource(memory(), bad, { code }), { policy: 'zero' });
    const into = new Uint8Array(MiB);
    const error = await thrown(async () => {
      for (let at = 0; at < SIZE; at += MiB) await reader.read(into, at, [{ offset: at, length: MiB }]);
    });
    assert.instance(error, kind);
  }
});

/** A source that remembers what was read, as the page cache does, and one past it. */
function cached(gone: () => boolean): { readonly source: ImageSource; readonly direct: ImageSource } {
  const direct = {
    ...memory(),
    read: async (into: Uint8Array, offset: number) => (gone() ? failing : memory()).read(into, offset),
  };
  const failing = failingSource(memory(), [{ offset: 0, length: SIZE }]);
  const known = new Set<number>();
  const source: ImageSource = {
    ...memory(),
    async read(into, offset) {
      if (known.has(offset)) return memory().read(into, offset);
      await direct.read(into, offset);
      known.add(offset);
    },
  };
  return { source, direct };
}

test('what the cache remembers of a source that has gone does not pass for a source that is there', async () => {
  let gone = false;
  const { source, direct } = cached(() => gone);
  let closed = 0;
  const openDirect = async () => ({
    read: (into: Uint8Array, offset: number) => direct.read(into, offset),
    close: async () => void closed++,
  });
  const reader = new SourceReader(source, { policy: 'zero', openDirect });
  await reader.read(new Uint8Array(MiB), 0, [{ offset: 0, length: MiB }]);
  gone = true;
  await reader.read(new Uint8Array(MiB), 0, [{ offset: 0, length: MiB }]);
  const last = { offset: SIZE - 4096, length: 4096 };
  await reader.read(new Uint8Array(4096), last.offset, [last]);
  assert.instance(await thrown(() => reader.settle()), SourceGoneError);
  await reader.close();
  assert.is(closed, 1);
});

test('a source of which only the beginning is lost is not taken for gone', async () => {
  const bad = { offset: 0, length: 2 * MiB };
  const reader = new SourceReader(failingSource(memory(4096), [bad]), { policy: 'zero' });
  for (let at = 0; at < 2 * MiB; at += MiB) await reader.read(new Uint8Array(MiB), at, [{ offset: at, length: MiB }]);
  await reader.settle();
  assert.equal(reader.bad, [bad]);
});

test('a long bad area in a source that is otherwise alive is lost alone, and not waited for sector by sector', async () => {
  let reads = 0;
  const bad = { offset: 2 * MiB, length: 3 * MiB };
  const reader = new SourceReader(failingSource(memory(4096), [bad], { onRead: () => reads++ }), { policy: 'skip' });
  const into = new Uint8Array(MiB);
  for (let at = 0; at < SIZE; at += MiB) await reader.read(into, at, [{ offset: at, length: MiB }]);
  assert.equal(reader.bad, [bad]);
  assert.ok(reads < (4 * bad.length) / 4096, `${reads} reads`);
});

test.run();
