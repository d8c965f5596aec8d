/** What image/contract.ts promises, tried on one adapter after another. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { alignedBuffers } from '../../../src/engine/image/aligned.ts';
import type { CacheBypass, Extent, ImageSource, ImageTarget } from '../../../src/engine/image/contract.ts';
import { ImageIoError } from '../../../src/engine/image/errors.ts';
import { random } from './random.ts';

export interface Opened<T extends ImageSource> {
  readonly image: T;
  /** Changes bytes of the medium behind the cache of the image; where something is behind it. */
  readonly changeMedium?: (offset: number, bytes: Uint8Array) => void;
  /** Detaches and removes what was made. The image may be closed already. */
  dispose(): void | Promise<void>;
}

export interface SourceAdapter {
  readonly name: string;
  /** Bytes; 4 MiB and a bit more, so that the image does not end with a page. */
  readonly size: number;
  /** Whether extents tell holes from data. */
  readonly holes: boolean;
  open(content: Uint8Array): Promise<Opened<ImageSource>>;
}

export interface TargetAdapter extends SourceAdapter {
  open(content: Uint8Array): Promise<Opened<ImageTarget>>;
  /** What a read-back can prove there. */
  readonly bypass: readonly CacheBypass[];
}

const MiB = 1 << 20;

/** Data at both ends and in the middle, long holes between. */
function sample(size: number): Buffer {
  const content = Buffer.alloc(size);
  const { bytes } = random(size);
  bytes(70_000).copy(content, 0);
  bytes(70_000).copy(content, 2 * MiB - 3);
  bytes(9_000).copy(content, size - 9_000);
  return content;
}

async function bytesOf(image: Pick<ImageSource, 'read'>, offset: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length, 0xee);
  await image.read(bytes, offset);
  return bytes;
}

export async function extentsOf(image: ImageSource): Promise<Extent[]> {
  const extents: Extent[] = [];
  for await (const extent of image.extents()) extents.push(extent);
  return extents;
}

export async function ioError(work: () => unknown, operation: string): Promise<ImageIoError> {
  try {
    await work();
  } catch (error) {
    assert.instance(error, ImageIoError, `${operation}: ${error}`);
    return error as ImageIoError;
  }
  return assert.unreachable(`${operation} should have failed`) as never;
}

/** Compares without printing megabytes. */
export function assertBytes(actual: Uint8Array, expected: Uint8Array, what: string): void {
  if (Buffer.compare(actual, expected) === 0) return;
  const at = actual.findIndex((byte, index) => byte !== expected[index]);
  assert.unreachable(`${what}: differ at byte ${at}: ${actual[at]} instead of ${expected[at]}`);
}

const outside = (size: number): [offset: number, length: number][] => [
  [size - 1, 2],
  [size, 1],
  [size + 4096, 4096],
  [-1, 2],
  [-4096, 4096],
  [Number.NaN, 1],
  [0.5, 1],
  [Number.MAX_SAFE_INTEGER, 512],
];

export function testSource(adapter: SourceAdapter): void {
  const { name, size } = adapter;
  const content = sample(size);

  async function withImage(work: (opened: Opened<ImageSource>) => Promise<void>): Promise<void> {
    const opened = await adapter.open(content);
    try {
      await work(opened);
    } finally {
      await opened.image.close();
      await opened.dispose();
    }
  }

  test(`${name}: reads are whole, wherever they begin and end`, () =>
    withImage(async ({ image }) => {
      assert.is(image.size, size);
      assertBytes(await bytesOf(image, 0, size), content, 'the whole image');
      const { below } = random(1);
      for (let i = 0; i < 100; i++) {
        const offset = below(size);
        const length = below(Math.min(size - offset, 300_000) + 1);
        assertBytes(await bytesOf(image, offset, length), content.subarray(offset, offset + length), `${length} at ${offset}`);
      }
      assertBytes(await bytesOf(image, size - 1, 1), content.subarray(size - 1), 'the last byte');
      await image.read(new Uint8Array(0), size);
    }));

  test(`${name}: many reads may run side by side`, () =>
    withImage(async ({ image }) => {
      const { below } = random(2);
      const ranges = Array.from({ length: 64 }, () => [below(size - 100_000), below(100_000)] as const);
      const read = await Promise.all(ranges.map(([offset, length]) => bytesOf(image, offset, length)));
      ranges.forEach(([offset, length], i) => {
        assertBytes(read[i] as Buffer, content.subarray(offset, offset + length), `${length} at ${offset}`);
      });
    }));

  test(`${name}: a read that does not lie inside is an error that names the range`, () =>
    withImage(async ({ image }) => {
      for (const [offset, length] of outside(size)) {
        const error = await ioError(() => bytesOf(image, offset, length), `read of ${length} at ${offset}`);
        assert.is(error.data.operation, 'read');
        assert.is(error.data.length, length);
      }
    }));

  test(`${name}: extents cover everything in order, and only zeros are called zero`, () =>
    withImage(async ({ image }) => {
      const extents = await extentsOf(image);
      let next = 0;
      for (const { offset, length, state } of extents) {
        assert.is(offset, next);
        assert.ok(length > 0);
        if (state === 'zero') assert.ok(content.subarray(offset, offset + length).every((byte) => byte === 0));
        next = offset + length;
      }
      assert.is(next, size);
      const zero = extents.filter(({ state }) => state === 'zero').reduce((sum, { length }) => sum + length, 0);
      if (adapter.holes) assert.ok(zero > 3 * MiB, `only ${zero} bytes of holes were found`);
      else assert.is(zero, 0);
    }));

  test(`${name}: close is idempotent, and nothing works afterwards`, () =>
    withImage(async ({ image }) => {
      await Promise.all([image.close(), image.close()]);
      await image.close();
      await ioError(() => bytesOf(image, 0, 1), 'read');
      await ioError(() => extentsOf(image), 'extents');
    }));
}

export function testTarget(adapter: TargetAdapter): void {
  testSource(adapter);
  const { name, size } = adapter;

  async function withTarget(content: Uint8Array, work: (opened: Opened<ImageTarget>) => Promise<void>): Promise<void> {
    const opened = await adapter.open(content);
    try {
      await work(opened);
    } finally {
      await opened.image.close();
      await opened.dispose();
    }
  }

  test(`${name}: writes, zeroes and discards exactly the range`, () => {
    const model = sample(size);
    return withTarget(model, async ({ image }) => {
      const { below, bytes, pick } = random(3);
      for (let i = 0; i < 60; i++) {
        const unit = pick([1, 512, 4096]);
        const offset = Math.floor(below(size) / unit) * unit;
        const length = Math.min(Math.floor(below(50_000) / unit) * unit, size - offset);
        const data = bytes(length);
        const action = pick(['write', 'zero', 'discard'] as const);
        if (action === 'write') await image.write(data, offset);
        else await image[action](offset, length);
        if (action === 'discard') await image.read(data, offset);
        model.set(action === 'zero' ? Buffer.alloc(length) : data, offset);
      }
      assertBytes(await bytesOf(image, 0, size), model, 'the image');
      await image.flush();
      const medium = await image.readBack();
      assertBytes(await bytesOf(medium, 0, size), model, 'the medium');
      await medium.close();
    });
  });

  test(`${name}: the whole image can be zeroed, and then holds nothing`, () =>
    withTarget(sample(size), async ({ image }) => {
      await image.zero(0, size);
      await image.flush();
      assert.ok((await bytesOf(image, 0, size)).every((byte) => byte === 0));
      const [first] = await extentsOf(image);
      // The last piece is no whole block, which some file systems keep.
      if (adapter.holes)
        assert.ok(first?.state === 'zero' && first.length >= size - 4096, `the first extent is ${first?.length} bytes`);
    }));

  test(`${name}: lanes may write side by side`, () => {
    const model = Buffer.alloc(size);
    return withTarget(model, async ({ image }) => {
      const { below, bytes } = random(4);
      const edges = Array.from({ length: 65 }, (_, i) => (i === 64 ? size : Math.floor((i * size) / 64) + below(1000)));
      await Promise.all(
        edges.slice(0, -1).map(async (offset, i) => {
          const data = bytes((edges[i + 1] as number) - offset);
          model.set(data, offset);
          await image.write(data, offset);
          await image.startWriteback(offset, data.length);
        }),
      );
      await image.flush();
      assertBytes(await bytesOf(image, 0, size), model, 'the image');
    });
  });

  test(`${name}: what does not lie inside is not written and an error that names operation and range`, () =>
    withTarget(sample(size), async ({ image }) => {
      for (const [offset, length] of outside(size)) {
        const attempts = {
          write: () => image.write(new Uint8Array(length), offset),
          zero: () => image.zero(offset, length),
          discard: () => image.discard(offset, length),
        };
        for (const [operation, attempt] of Object.entries(attempts)) {
          const error = await ioError(attempt, `${operation} of ${length} at ${offset}`);
          assert.is(error.data.operation, operation);
          assert.ok(Object.is(error.data.offset, offset));
        }
      }
      assertBytes(await bytesOf(image, 0, size), sample(size), 'the image');
    }));

  test(`${name}: the medium is read back at any offset, into any memory, and never past the end`, () => {
    const content = sample(size);
    return withTarget(content, async ({ image }) => {
      await image.flush();
      const medium = await image.readBack();
      try {
        assert.ok(adapter.bypass.includes(medium.bypass), `bypass is ${medium.bypass}`);
        const { below } = random(5);
        const ranges = [
          [0, size],
          [size - 1, 1],
          [size - 512, 512],
          [size - 4097, 4097],
          [4095, 2],
          [512, 4096],
          [0, 0],
        ];
        for (let i = 0; i < 30; i++) ranges.push([below(size - 9000), below(9000)]);
        await Promise.all(
          ranges.map(async ([offset = 0, length = 0]) => {
            const read = await bytesOf(medium, offset, length);
            assertBytes(read, content.subarray(offset, offset + length), `${length} at ${offset}`);
          }),
        );
        const [pages] = alignedBuffers(1, MiB) as [Uint8Array];
        await medium.read(pages, MiB + 4096);
        assertBytes(pages, content.subarray(MiB + 4096, 2 * MiB + 4096), 'whole pages');
        for (const [offset, length] of outside(size)) await ioError(() => bytesOf(medium, offset, length), 'read back');
      } finally {
        await Promise.all([medium.close(), medium.close()]);
      }
      await ioError(() => bytesOf(medium, 0, 4096), 'read back after close');
      await ioError(() => bytesOf(medium, 1, 1), 'read back after close');
    });
  });

  test(`${name}: nothing works after close, also not what runs over the end`, () =>
    withTarget(sample(size), async ({ image }) => {
      await image.close();
      const attempts = [
        () => image.write(new Uint8Array(1), 0),
        () => image.zero(0, 1),
        () => image.discard(0, 1),
        () => image.startWriteback(0, 1),
        () => image.flush(),
        () => image.readBack(),
      ];
      for (const attempt of attempts) await ioError(attempt, String(attempt));
    }));

  test(`${name}: what was changed behind the cache is read back`, () => {
    const content = sample(size);
    return withTarget(content, async ({ image, changeMedium }) => {
      if (changeMedium === undefined) return;
      // One in a whole page, one that crosses pages, one in the last piece, which is no page.
      const places = [8192, 2 * MiB + 4000, size - 100];
      await image.flush();
      assertBytes(await bytesOf(image, 0, size), content, 'the warm cache');
      const patch = Buffer.alloc(100, 0xa5);
      for (const offset of places) changeMedium(offset, patch);
      assertBytes(await bytesOf(image, 0, size), content, 'the cache, which must not notice for this test to prove anything');
      const medium = await image.readBack();
      for (const offset of places) assertBytes(await bytesOf(medium, offset, 100), patch, `read back at ${offset}`);
      await medium.close();
      for (const offset of places) patch.copy(content, offset);
      const again = await image.readBack();
      assertBytes(await bytesOf(again, 0, size), content, 'the whole medium');
      await again.close();
    });
  });
}
