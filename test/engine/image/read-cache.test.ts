import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ImageSource } from '../../../src/engine/image/contract.ts';
import { ImageIoError } from '../../../src/engine/image/errors.ts';
import { withReadCache } from '../../../src/engine/image/read-cache.ts';

const SIZE = (8 << 20) + 512;

/** Every byte tells its place; `bad` cannot be read. */
function counting(bad = -1): { readonly source: ImageSource; readonly reads: [number, number][] } {
  const reads: [number, number][] = [];
  const source: ImageSource = {
    name: 'counted',
    size: SIZE,
    sectorSize: 512,
    physicalSectorSize: 512,
    async *extents() {
      yield { offset: 0, length: SIZE, state: 'data' };
    },
    async read(into, offset) {
      reads.push([offset, into.length]);
      const cause = Object.assign(new Error('EIO'), { code: 'EIO' });
      if (offset <= bad && bad < offset + into.length)
        throw new ImageIoError('counted', 'read', { offset, length: into.length, cause });
      if (offset < 0 || offset + into.length > SIZE)
        throw new ImageIoError('counted', 'read', { offset, length: into.length, detail: 'outside' });
      for (let i = 0; i < into.length; i++) into[i] = byteAt(offset + i);
    },
    close: async () => {},
  };
  return { source, reads };
}

function byteAt(offset: number): number {
  return ((offset >>> 9) * 31 + offset) & 0xff;
}

async function checkRead(image: ImageSource, offset: number, length: number): Promise<void> {
  const into = new Uint8Array(length);
  await image.read(into, offset);
  for (let i = 0; i < length; i++) if (into[i] !== byteAt(offset + i)) assert.unreachable(`byte ${offset + i} is wrong`);
}

test('small reads of one neighbourhood become one, also side by side', async () => {
  const { source, reads } = counting();
  const image = withReadCache(source);
  await Promise.all([0, 512, 1024, 4096, 32256].map((offset) => checkRead(image, offset, 512)));
  await checkRead(image, 3, 5);
  assert.equal(reads.length, 1);
});

test('the last bytes, long reads and reads across a border are right', async () => {
  const { source } = counting();
  const image = withReadCache(source);
  await checkRead(image, SIZE - 512, 512);
  await checkRead(image, 32768 - 100, 200);
  await checkRead(image, 1, 1 << 20);
  await checkRead(image, SIZE, 0);
});

test('what it hands out may be changed', async () => {
  const image = withReadCache(counting().source);
  const into = new Uint8Array(512);
  await image.read(into, 0);
  into.fill(0xff);
  await checkRead(image, 0, 512);
});

test('a bad sector takes only the reads that need it', async () => {
  const { source, reads } = counting(700);
  const image = withReadCache(source);
  await checkRead(image, 0, 512);
  await checkRead(image, 1024, 512);
  const reason = await image.read(new Uint8Array(512), 512).then(
    () => undefined,
    (error: unknown) => error,
  );
  assert.instance(reason, ImageIoError);
  assert.equal((reason as ImageIoError).data.offset, 512);
  // The whole block was tried once, each of the three reads once.
  assert.equal(reads.length, 4);
});

test('reads outside fail as those of the source', async () => {
  const image = withReadCache(counting().source);
  for (const offset of [SIZE, SIZE - 100, -512]) {
    const reason = await image.read(new Uint8Array(512), offset).then(
      () => undefined,
      (error: unknown) => error,
    );
    assert.instance(reason, ImageIoError);
  }
});

test('it keeps 4 MiB at most, those that were used last', async () => {
  const { source, reads } = counting();
  const image = withReadCache(source);
  for (let offset = 0; offset < 6 << 20; offset += 32768) {
    await checkRead(image, offset, 16);
    await checkRead(image, 0, 16);
  }
  const before = reads.length;
  await checkRead(image, 0, 16);
  assert.equal(reads.length, before);
  await checkRead(image, 32768, 16);
  assert.equal(reads.length, before + 1);
});

test.run();
