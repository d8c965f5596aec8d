import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { FileImage } from '../../../src/engine/image/file.ts';
import { type RawIo, rawIo } from '../../../src/engine/image/raw-io.ts';
import { blocksOf, CHUNK, type Task } from '../../../src/engine/lanes/blocks.ts';
import { copyBlocks } from '../../../src/engine/lanes/copy.ts';
import { type DigestRecord, digestOf } from '../../../src/engine/lanes/digests.ts';
import { type Compared, Sink, type SinkOptions } from '../../../src/engine/lanes/sink.ts';
import { SourceReader } from '../../../src/engine/lanes/source-reader.ts';
import { guard } from '../../../src/engine/protect/guard.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { assertBytes } from '../image/conformance.ts';
import { sparseFile } from '../image/places.ts';
import { random } from '../image/random.ts';
import { writeSparse } from '../image/write-sparse.ts';
import { copyTasks } from './copy-tasks.ts';
import { failingSource } from './failing-source.ts';

const SIZE = 8 * CHUNK;
const folder = tempDir();

/** Opens files with these contents; the last argument of `work` counts the bytes that were read and written, by file. */
async function files(
  contents: readonly Uint8Array[],
  work: (images: FileImage[], paths: string[], moved: { read: number; written: number }[]) => Promise<void>,
  failing: (io: RawIo, index: number) => RawIo = (io) => io,
): Promise<void> {
  const images: FileImage[] = [];
  const paths: string[] = [];
  const moved = contents.map(() => ({ read: 0, written: 0 }));
  try {
    for (const [index, content] of contents.entries()) {
      const path = sparseFile(folder, content.length);
      writeSparse(path, content);
      const mine = moved[index] as { read: number; written: number };
      const counting = (io: RawIo): RawIo => ({
        async read(into, offset) {
          const bytes = await io.read(into, offset);
          mine.read += bytes;
          return bytes;
        },
        async write(from, offset) {
          const bytes = await io.write(from, offset);
          mine.written += bytes;
          return bytes;
        },
      });
      images.push(await FileImage.open(path, 'write', (handle) => counting(failing(rawIo(handle), index))));
      paths.push(path);
    }
    await work(images, paths, moved);
  } finally {
    for (const image of images) await image.close();
  }
}

const everything: Task[] = [{ action: 'copy', offset: 0, length: SIZE }];

test('several targets with work of their own take one read of the source', async () => {
  const from = random(1).bytes(SIZE);
  const tasks: Task[][] = [
    everything,
    [
      { action: 'copy', offset: 4096, length: CHUNK },
      { action: 'zero', offset: 3 * CHUNK, length: 2 * CHUNK },
      { action: 'copy', offset: 7 * CHUNK + 512, length: 1000 },
    ],
    [{ action: 'discard', offset: 0, length: SIZE }],
  ];
  const old = random(2).bytes(SIZE);
  await files([from, Buffer.alloc(SIZE), old, old], async ([source, ...targets], [, ...paths], [read]) => {
    const sinks = targets.map((target) => new Sink(guard(target, [])));
    await copyBlocks(blocksOf(tasks), new SourceReader(source as FileImage), sinks);
    assertBytes(readFileSync(paths[0] as string), from, 'the first');
    const wanted = Buffer.from(old);
    from.copy(wanted, 4096, 4096, 4096 + CHUNK);
    wanted.fill(0, 3 * CHUNK, 5 * CHUNK);
    from.copy(wanted, 7 * CHUNK + 512, 7 * CHUNK + 512, 7 * CHUNK + 1512);
    assertBytes(readFileSync(paths[1] as string), wanted, 'the second');
    assert.is(read?.read, SIZE);
    assert.equal(
      sinks.map(({ sums }) => [sums.written, sums.zeroed, sums.discarded]),
      [
        [SIZE, 0, 0],
        [CHUNK + 1000, 2 * CHUNK, 0],
        [0, 0, SIZE],
      ],
    );
  });
});

test('a target that fails is dropped with its error, the others get everything', async () => {
  const from = random(3).bytes(SIZE);
  const failing = (io: RawIo, index: number): RawIo => ({
    read: io.read,
    async write(bytes, offset) {
      if (index === 1 && offset >= 2 * CHUNK) throw Object.assign(new Error('ENOSPC: injected'), { code: 'ENOSPC' });
      return io.write(bytes, offset);
    },
  });
  await files(
    [from, Buffer.alloc(SIZE), Buffer.alloc(SIZE)],
    async ([source, ...targets], paths) => {
      const sinks = targets.map((target) => new Sink(guard(target, [])));
      await copyBlocks(blocksOf([everything, everything]), new SourceReader(source as FileImage), sinks);
      assert.match(String(sinks[0]?.error), /ENOSPC/);
      assert.is(sinks[1]?.error, undefined);
      assertBytes(readFileSync(paths[2] as string), from, 'the other target');
      assert.ok((sinks[0]?.sums.written as number) < SIZE / 2);
    },
    failing,
  );
});

test('what is there already is not written again, and differences are written page by page', async () => {
  const from = random(4).bytes(SIZE);
  from.fill(0, 5 * CHUNK, 6 * CHUNK);
  const to = Buffer.from(from);
  to[4096 * 3] = (to[4096 * 3] as number) ^ 1;
  to[4096 * 5 - 1] = (to[4096 * 5 - 1] as number) ^ 1;
  to[5 * CHUNK + 70_000] = 1;
  to[SIZE - 1] = (to[SIZE - 1] as number) ^ 1;
  const tasks: Task[] = [
    { action: 'copy', offset: 0, length: 6 * CHUNK },
    { action: 'zero', offset: 6 * CHUNK, length: CHUNK },
    { action: 'copy', offset: 7 * CHUNK, length: CHUNK },
  ];
  const wanted = Buffer.from(from);
  wanted.fill(0, 6 * CHUNK, 7 * CHUNK);
  await files([from, to], async ([source, target], paths, moved) => {
    const compared: Compared = { has: () => true, medium: target as FileImage };
    const sums = await copyTasks(source as FileImage, tasks, guard(target as FileImage, []), { compared });
    assertBytes(readFileSync(paths[1] as string), wanted, 'the target');
    assert.is(sums.written, 3 * 4096);
    assert.is(moved[1]?.written, 3 * 4096);
    assert.is(sums.zeroed, 4096 + CHUNK);
    assert.is(sums.same, SIZE - sums.written - sums.zeroed);
    for (const { offset, length, digest } of sums.digests) {
      if (digest !== undefined) assert.is(digest, digestOf(wanted.subarray(offset, offset + length)));
    }
    const again = await copyTasks(source as FileImage, tasks, guard(target as FileImage, []), { compared });
    assert.equal([again.written, again.zeroed, again.same, again.digests.count], [0, 0, SIZE, 0]);
  });
});

test('durable pieces are not written again; they are read only when the source may have changed', async () => {
  const from = random(5).bytes(SIZE);
  const done: DigestRecord[] = [];
  await files([from, Buffer.alloc(SIZE)], async ([source, target], [path, file], moved) => {
    const run = (options: SinkOptions) => copyTasks(source as FileImage, everything, guard(target as FileImage, []), options);
    await run({ onPiece: (record) => done.push(record) });
    assert.is(done.length, 8);
    const find = (piece: { offset: number; length: number }) =>
      done.slice(0, 5).find(({ offset, length }) => offset === piece.offset && length === piece.length);
    const before = { ...(moved[0] as { read: number }) };
    const trusted = await run({ durable: { find, sourceUnchanged: true } });
    assert.equal([trusted.resumed, trusted.written], [5 * CHUNK, 3 * CHUNK]);
    assert.is((moved[0]?.read as number) - before.read, 3 * CHUNK);
    assert.is([...trusted.digests].length, 8, 'what was resumed is read back too');

    const changed = Buffer.from(from);
    const held = (done[0] as DigestRecord).offset;
    changed[held] = (changed[held] as number) ^ 1;
    writeSparse(path as string, changed);
    const looked = await run({ durable: { find, sourceUnchanged: false } });
    assert.equal([looked.resumed, looked.written], [4 * CHUNK, 4 * CHUNK]);
    assertBytes(readFileSync(file as string), changed, 'the target');
  });
});

test('unreadable bytes become zeros or are left alone, and are not told to be done', async () => {
  const from = random(6).bytes(SIZE);
  const old = random(7).bytes(SIZE);
  const bad = { offset: 3 * CHUNK + 4096, length: 1024 };
  for (const policy of ['zero', 'skip'] as const) {
    await files([from, old], async ([source, target], paths) => {
      const reader = new SourceReader(failingSource(source as FileImage, [bad]), { policy, patience: 0 });
      const told: number[] = [];
      const sink = new Sink(guard(target as FileImage, []), {
        skipBad: policy === 'skip',
        onPiece: ({ offset }) => told.push(offset),
      });
      await copyBlocks(blocksOf([everything]), reader, [sink]);
      const wanted = Buffer.from(from);
      if (policy === 'zero') wanted.fill(0, bad.offset, bad.offset + bad.length);
      else old.copy(wanted, bad.offset, bad.offset, bad.offset + bad.length);
      assertBytes(readFileSync(paths[1] as string), wanted, policy);
      assert.equal(reader.bad, [bad]);
      assert.is(told.length, 7);
      assert.not(told.includes(3 * CHUNK));
    });
  }
});

test.run();
