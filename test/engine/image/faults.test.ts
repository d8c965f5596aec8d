import { truncateSync, writeFileSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { BlockImage } from '../../../src/engine/image/block.ts';
import type { ImageTarget } from '../../../src/engine/image/contract.ts';
import { FileImage } from '../../../src/engine/image/file.ts';
import { type RawIo, rawIo } from '../../../src/engine/image/raw-io.ts';
import { openReadBack } from '../../../src/engine/image/read-back.ts';
import { attachLoop } from '../../fixtures/loop.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { assertBytes, ioError } from './conformance.ts';
import { fileSystem, memory, sparseFile } from './places.ts';
import { type Random, random } from './random.ts';

const SIZE = 1 << 20;
const folder = tempDir();
const content = random(9).bytes(SIZE);

type Wrap = (io: RawIo, file: FileHandle) => RawIo;

function errno(code: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: injected`), { code });
}

/** Moves between one byte and all that is asked. */
function short({ below }: Random): Wrap {
  return (io) => ({
    read: (into, offset) => io.read(into.subarray(0, 1 + below(into.length)), offset),
    write: (from, offset) => io.write(from.subarray(0, 1 + below(from.length)), offset),
  });
}

const single: Wrap = (io) => ({
  read: (into, offset) => io.read(into.subarray(0, 1), offset),
  write: (from, offset) => io.write(from.subarray(0, 1), offset),
});

/** Moves what lies before `bad`; fails there. */
function failsAt(bad: number, how: () => number): Wrap {
  const upTo = (bytes: Uint8Array, offset: number) => (offset > bad ? bytes : bytes.subarray(0, bad - offset));
  const fails = (bytes: Uint8Array, offset: number) =>
    offset <= bad && offset + bytes.length > bad && upTo(bytes, offset).length === 0;
  return (io) => ({
    read: async (into, offset) => (fails(into, offset) ? how() : io.read(upTo(into, offset), offset)),
    write: async (from, offset) => (fails(from, offset) ? how() : io.write(upTo(from, offset), offset)),
  });
}

async function withFaults(wrap: Wrap, work: (image: ImageTarget) => Promise<void>): Promise<void> {
  const file = join(folder, 'faulty');
  writeFileSync(file, content);
  const loop = attachLoop(file);
  try {
    for (const image of [
      await FileImage.open(file, 'write', (handle) => wrap(rawIo(handle), handle)),
      await BlockImage.open(loop.device, 'write', (handle) => wrap(rawIo(handle), handle)),
    ]) {
      try {
        await work(image);
      } finally {
        await image.close();
      }
    }
  } finally {
    loop.detach();
  }
}

test('short reads and writes are continued: the bytes are all there', async () => {
  for (const seed of [1, 2, 3]) {
    await withFaults(short(random(seed)), async (image) => {
      const { below, bytes } = random(seed + 10);
      for (let i = 0; i < 20; i++) {
        const offset = below(SIZE - 50_000);
        const data = bytes(below(50_000));
        await image.write(data, offset);
        const back = new Uint8Array(data.length);
        await image.read(back, offset);
        assertBytes(back, data, `${data.length} at ${offset}`);
      }
    });
  }
});

test('one byte at a time is slow and right', () =>
  withFaults(single, async (image) => {
    const data = random(5).bytes(3000);
    await image.write(data, 77);
    const back = new Uint8Array(3200);
    await image.read(back, 0);
    assertBytes(back.subarray(77, 3077), data, 'what was written');
  }));

for (const code of ['EIO', 'ENOSPC', 'EINTR', 'EAGAIN', 'EREMOTEIO', 'ENOMEDIUM']) {
  test(`${code} in the middle of a read or write is an error that names operation, place and what was left`, () =>
    withFaults(
      failsAt(300_001, () => {
        throw errno(code);
      }),
      async (image) => {
        for (const operation of ['read', 'write'] as const) {
          const error = await ioError(() => image[operation](new Uint8Array(1000), 299_900), operation);
          assert.is(error.data.operation, operation);
          assert.is(error.data.offset, 300_001);
          assert.is(error.data.length, 899);
          assert.is((error.cause as NodeJS.ErrnoException).code, code);
          assert.match(error.message, new RegExp(`^${operation} of 899 bytes at byte 300001 failed on .*${code}`));
          assert.is(error.exitCode, 7);
        }
        await image.read(new Uint8Array(1000), 299_001);
        await image.read(new Uint8Array(1000), 300_002);
      },
    ));
}

for (const answer of [0, -1]) {
  test(`a call that answers ${answer} is an error, not a loop and not silence`, () =>
    withFaults(
      failsAt(4096, () => answer),
      async (image) => {
        const read = await ioError(() => image.read(new Uint8Array(8192), 0), 'read');
        assert.match(read.message, /^read of 4096 bytes at byte 4096 .* ended early/);
        const write = await ioError(() => image.write(new Uint8Array(8192), 0), 'write');
        assert.match(write.message, /^write of 4096 bytes at byte 4096 .* took no more bytes/);
      },
    ));
}

test('writing zeros where the medium cannot zero by itself fails where it fails', async () => {
  const { folder: plain } = memory('ramfs');
  const path = sparseFile(plain, 4 << 20);
  const bad = 2_500_000;
  const wrap = failsAt(bad, () => {
    throw errno('EIO');
  });
  const image = await FileImage.open(path, 'write', (handle) => wrap(rawIo(handle), handle));
  const error = await ioError(() => image.zero(1000, 3 << 20), 'zero');
  assert.is(error.data.offset, bad);
  await image.close();
});

test('a file that shrinks while it is open is noticed, through the cache and past it', async () => {
  const path = sparseFile(folder, SIZE);
  const image = await FileImage.open(path, 'write');
  const medium = await image.readBack();
  truncateSync(path, 10_000);
  for (const reader of [image, medium]) {
    await ioError(() => reader.read(new Uint8Array(4096), 8192), 'read');
    await ioError(() => reader.read(new Uint8Array(4096), SIZE - 4096), 'read');
    await ioError(() => reader.read(new Uint8Array(1), 10_000), 'read');
    await reader.read(new Uint8Array(10_000), 0);
  }
  await medium.close();
  await image.close();
});

test('a full file system is an error at the byte that did not fit', async () => {
  const small = memory('tmpfs', 'size=1M');
  const path = sparseFile(small.folder, 4 << 20);
  const image = await FileImage.open(path, 'write');
  const error = await ioError(() => image.write(new Uint8Array(2 << 20).fill(1), 0), 'write');
  assert.is((error.cause as NodeJS.ErrnoException).code, 'ENOSPC');
  assert.ok((error.data.offset as number) > 0 && (error.data.offset as number) <= 1 << 20);
  assert.match(error.todo, /free space/);
  await image.close();
});

test('a full disk below the file is an error of write or flush', async () => {
  const place = fileSystem('ext4', { size: 4 << 20 });
  const path = sparseFile(place.folder, 16 << 20);
  const image = await FileImage.open(path, 'write');
  const error = await ioError(async () => {
    for (let at = 0; at < image.size; at += SIZE) {
      await image.write(content, at);
      await image.startWriteback(at, SIZE);
    }
    await image.flush();
  }, 'filling the disk');
  await image.close();
  assert.match(error.message, /^(write|flush) of .* failed on .*ENOSPC/);
});

test('a medium that loses what was written is an error of flush', async () => {
  // The loop device's own file system is full: its cache takes everything, the medium does not.
  const place = memory('tmpfs', 'size=1M');
  const loop = attachLoop(sparseFile(place.folder, 8 << 20));
  const image = await BlockImage.open(loop.device, 'write');
  try {
    await image.write(new Uint8Array(4 << 20).fill(3), 0);
    const error = await ioError(() => image.flush(), 'flush');
    assert.is(error.data.operation, 'flush');
    assert.match(error.message, /EIO|ENOSPC/);
  } finally {
    await image.close();
    loop.detach();
  }
});

test('a missing or forbidden path is a typed error', async () => {
  for (const work of [
    () => FileImage.open(join(folder, 'missing'), 'read'),
    () => BlockImage.open('/dev/no-such-disk', 'write'),
    () => openReadBack(join(folder, 'missing'), SIZE),
  ]) {
    const error = await ioError(work, 'open');
    assert.match(error.message, /does not exist/);
  }
});

test('a file is not taken for a block device, and its descriptor is not kept', async () => {
  const path = sparseFile(folder, SIZE);
  const error = await ioError(() => BlockImage.open(path, 'read'), 'examine');
  assert.match(error.message, /ENOTTY/);
  const handle = await open(path);
  await handle.close();
});

test('a file that was cut off meanwhile is no longer flushed as if all were there', async () => {
  const path = sparseFile(folder, SIZE);
  const image = await FileImage.open(path, 'write');
  await image.write(new Uint8Array(4096), SIZE - 4096);
  truncateSync(path, SIZE - 4096);
  const error = await ioError(() => image.flush(), 'flush');
  assert.match(error.message, new RegExp(`cut off meanwhile, to ${SIZE - 4096} of its ${SIZE} bytes`));
  await image.close();
});

test('closing waits for what is under way', async () => {
  const path = sparseFile(folder, 64 << 20);
  const image = await FileImage.open(path, 'write');
  const zeroing = Array.from({ length: 16 }, (_, i) => image.zero(i << 22, 1 << 22));
  const flushing = image.flush();
  await image.close();
  await Promise.all([...zeroing, flushing]);
});

test.run();
