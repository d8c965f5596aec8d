import { readFileSync, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ImageIoError } from '../../../src/engine/image/errors.ts';
import { FileImage } from '../../../src/engine/image/file.ts';
import { type RawIo, rawIo } from '../../../src/engine/image/raw-io.ts';
import { type Block, blocksOf, CHUNK, type Task } from '../../../src/engine/lanes/blocks.ts';
import { copyBlocks } from '../../../src/engine/lanes/copy.ts';
import { digestOf } from '../../../src/engine/lanes/digests.ts';
import { SourceUnreadableError } from '../../../src/engine/lanes/errors.ts';
import { Sink } from '../../../src/engine/lanes/sink.ts';
import { SourceReader } from '../../../src/engine/lanes/source-reader.ts';
import { ProtectedRegionError } from '../../../src/engine/protect/errors.ts';
import { guard } from '../../../src/engine/protect/guard.ts';
import { failure } from '../../fixtures/failure.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { assertBytes } from '../image/conformance.ts';
import { sparseFile } from '../image/places.ts';
import { type Random, random } from '../image/random.ts';
import { writeSparse } from '../image/write-sparse.ts';
import { copyTasks } from './copy-tasks.ts';

const MiB = 1 << 20;
const SIZE = 6 * MiB + 512;
const folder = tempDir();

type Wrap = (io: RawIo) => RawIo;
const asIs: Wrap = (io) => io;

interface Pair {
  readonly source: FileImage;
  readonly target: FileImage;
  readonly file: string;
}

async function pair(
  contents: { source: Uint8Array; target: Uint8Array },
  work: (pair: Pair) => Promise<void>,
  wraps: { source?: Wrap; target?: Wrap } = {},
): Promise<void> {
  const [from, file] = [sparseFile(folder, contents.source.length), sparseFile(folder, contents.target.length)];
  writeSparse(from, contents.source);
  writeSparse(file, contents.target);
  const source = await FileImage.open(from, 'read', (handle) => (wraps.source ?? asIs)(rawIo(handle)));
  const target = await FileImage.open(file, 'write', (handle) => (wraps.target ?? asIs)(rawIo(handle)));
  try {
    await work({ source, target, file });
  } finally {
    await source.close();
    await target.close();
  }
}

/** Blocks of 512 bytes to 1 MiB, half of them zeros. */
function sparseContent({ below, bytes, pick }: Random, size = SIZE): Buffer {
  const content = Buffer.alloc(size);
  for (let at = 0; at < size; ) {
    const length = Math.min(size - at, pick([512, 4096, 65_536, 300_000, MiB]) + 512 * below(3));
    if (below(2) === 0) bytes(length).copy(content, at);
    at += length;
  }
  return content;
}

/** Disjoint tasks in ascending order with gaps. */
function randomTasks({ below, pick }: Random, size = SIZE): Task[] {
  const tasks: Task[] = [];
  for (let at = below(5000); at < size; at += below(100_000)) {
    const length = Math.min(size - at, below(2 * MiB));
    tasks.push({ action: pick(['copy', 'copy', 'copy', 'zero', 'discard']), offset: at, length });
    at += length;
  }
  return tasks;
}

const copyAll = (size = SIZE): Task[] => [{ action: 'copy', offset: 0, length: size }];

test('a copy by random tasks is what a naive copy is', async () => {
  for (let seed = 1; seed <= 12; seed++) {
    const chance = random(seed);
    const [from, to, tasks] = [sparseContent(chance), sparseContent(chance), randomTasks(chance)];
    await pair({ source: from, target: to }, async ({ source, target, file }) => {
      let told = 0;
      const result = await copyTasks(source, tasks, guard(target, []), { onChunk: (bytes) => (told += bytes) });
      const got = readFileSync(file);
      const sum = (action: string) => tasks.filter((task) => task.action === action).reduce((all, { length }) => all + length, 0);
      for (const { action, offset, length } of tasks) {
        if (action === 'copy') from.copy(to, offset, offset, offset + length);
        else if (action === 'zero') to.fill(0, offset, offset + length);
        else got.copy(to, offset, offset, offset + length);
      }
      assertBytes(got, to, `seed ${seed}`);
      assert.is(
        told,
        tasks.reduce((all, { length }) => all + length, 0),
      );
      assert.is(result.discarded, sum('discard'));
      assert.is(result.written + result.zeroed, sum('copy') + sum('zero'));
      let logged = 0;
      for (const { offset, length, digest } of result.digests) {
        const there = got.subarray(offset, offset + length);
        assert.is(digest ?? 0n, digest === undefined ? 0n : digestOf(there), `seed ${seed}, ${length} at ${offset}`);
        if (digest === undefined) assert.ok(there.every((byte) => byte === 0));
        logged += length;
      }
      assert.is(logged, sum('copy') + sum('zero'));
    });
  }
});

test('holes stay holes, and zeros that were written become holes', async () => {
  const size = 64 * MiB;
  const from = Buffer.alloc(size);
  for (const at of [0, 20 * MiB + 65_536, size - 65_536])
    random(at + 1)
      .bytes(65_536)
      .copy(from, at);
  const to = random(2).bytes(size);
  await pair({ source: from, target: to }, async ({ source, target, file }) => {
    const result = await copyTasks(source, copyAll(size), guard(target, []));
    await target.flush();
    assertBytes(readFileSync(file), from, 'the copy');
    assert.is(result.written, 3 * 65_536);
    assert.is(result.zeroed, size - 3 * 65_536);
    const allocated = statSync(file).blocks * 512;
    assert.ok(allocated >= 3 * 65_536 && allocated <= 8 * 65_536, `${allocated} bytes are allocated`);
  });
});

test('pieces begin at multiples of their size and never exceed it', async () => {
  const chunks: Task[] = [];
  const tasks: Task[] = [
    { action: 'copy', offset: 512, length: 3 * MiB },
    { action: 'zero', offset: 4 * MiB, length: 2 ** 30 },
    { action: 'copy', offset: 2 ** 31, length: 0 },
    { action: 'discard', offset: 2 ** 41 + 1, length: 2 ** 28 },
  ];
  for await (const { offset, work } of blocksOf([tasks])) {
    assert.is(offset % CHUNK, 0);
    for (const task of work[0] ?? []) assert.ok(task.offset >= offset && task.offset < offset + CHUNK);
    chunks.push(...(work[0] ?? []));
  }
  for (const task of tasks) {
    const mine = chunks.filter(
      ({ action, offset }) => action === task.action && offset >= task.offset && offset < task.offset + task.length,
    );
    let next = task.offset;
    for (const { offset, length, action } of mine) {
      assert.is(offset, next);
      assert.ok(length > 0 && length <= (action === 'copy' ? CHUNK : 2 ** 28));
      if (offset !== task.offset) assert.is(offset % (action === 'copy' ? CHUNK : 2 ** 28), 0);
      next = offset + length;
    }
    assert.is(next, task.offset + task.length);
  }
  assert.is(chunks.length, Math.ceil((512 + 3 * MiB) / CHUNK) + 5 + 2);
});

test('an error in one lane comes out once, and the others stop', async () => {
  for (const side of ['source', 'target'] as const) {
    let calls = 0;
    const fails: Wrap = (io) => {
      const step = async (go: () => Promise<number>, offset: number): Promise<number> => {
        calls++;
        if (offset >= 2 * MiB) throw Object.assign(new Error('EIO: injected'), { code: 'EIO' });
        return go();
      };
      return {
        read: (into, offset) => step(() => io.read(into, offset), offset),
        write: (from, offset) => step(() => io.write(from, offset), offset),
      };
    };
    const size = 64 * MiB;
    const content = random(5).bytes(size);
    await pair(
      { source: content, target: Buffer.alloc(size) },
      async ({ source, target }) => {
        const error = await failure(() => copyTasks(source, copyAll(size), guard(target, [])));
        assert.instance(error, side === 'source' ? SourceUnreadableError : ImageIoError);
        assert.ok((error.data.offset as number) >= 2 * MiB);
        const before = calls;
        await new Promise((resolve) => setTimeout(resolve, 50));
        assert.is(calls, before, 'a lane went on after the error');
        // Each lane may look for the sector that fails.
        assert.ok(calls < (side === 'source' ? 80 : 12), `${calls} calls were made`);
      },
      { [side]: fails },
    );
  }
});

test('a chunk in a protected region stops the copy', async () => {
  const content = random(6).bytes(SIZE);
  await pair({ source: content, target: Buffer.alloc(SIZE) }, async ({ source, target, file }) => {
    const regions = [{ offset: 3 * MiB + 100, length: 1, carrier: 'raw', name: 'one byte' } as const];
    try {
      await copyTasks(source, copyAll(), guard(target, regions));
      assert.unreachable();
    } catch (error) {
      assert.instance(error, ProtectedRegionError);
    }
    assert.ok(
      readFileSync(file)
        .subarray(3 * MiB, 4 * MiB)
        .every((byte) => byte === 0),
    );
  });
});

test('a stop request ends the copy soon, with its reason', async () => {
  const size = 64 * MiB;
  const reason = new Error('enough');
  await pair({ source: random(8).bytes(size), target: Buffer.alloc(size) }, async ({ source, target }) => {
    const controller = new AbortController();
    let done = 0;
    const copying = copyTasks(source, copyAll(size), guard(target, []), {
      signal: controller.signal,
      onChunk: () => ++done === 8 && controller.abort(reason),
    });
    try {
      await copying;
      assert.unreachable();
    } catch (error) {
      assert.is(error, reason);
    }
    assert.ok(done >= 8 && done <= 12, `${done} chunks were copied`);

    let asked = 0;
    const never = (async function* (): AsyncGenerator<Block> {
      for await (const block of blocksOf([copyAll(size)])) {
        asked++;
        yield block;
      }
    })();
    try {
      const sinks = [new Sink(guard(target, []))];
      await copyBlocks(never, new SourceReader(source), sinks, { signal: AbortSignal.abort(reason) });
      assert.unreachable();
    } catch (error) {
      assert.is(error, reason);
    }
    assert.is(asked, 0);
  });
});

test('memory does not grow with what is copied', async () => {
  const size = 2 ** 30;
  const [from, file] = [sparseFile(folder, size), sparseFile(folder, size)];
  const handle = await open(from, 'r+');
  for (let at = 0; at < size; at += 16 * MiB) await handle.write(Buffer.alloc(4096, 7), 0, 4096, at);
  await handle.close();
  const source = await FileImage.open(from, 'read');
  const target = await FileImage.open(file, 'write');
  const before = process.memoryUsage.rss();
  let peak = before;
  const result = await copyTasks(source, copyAll(size), guard(target, []), {
    onChunk: () => {
      peak = Math.max(peak, process.memoryUsage.rss());
    },
  });
  assert.is(result.digests.count, size / CHUNK);
  assert.ok(peak - before < 64 * MiB, `memory grew by ${(peak - before) >> 20} MiB`);
  await source.close();
  await target.close();
});

test('an image that was closed is an error, not a crash', async () => {
  await pair({ source: Buffer.alloc(SIZE), target: Buffer.alloc(SIZE) }, async ({ source, target }) => {
    await source.close();
    try {
      await copyTasks(source, copyAll(), guard(target, []));
      assert.unreachable();
    } catch (error) {
      assert.instance(error, ImageIoError);
    }
  });
});

test.run();
