/** What cannot be read at first, and can at the end of the copy, is copied; what is really bad is not waited for much longer. */
import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type ByteRange, end, type ImageSource } from '../../../src/engine/image/contract.ts';
import { FileImage } from '../../../src/engine/image/file.ts';
import { type RawIo, rawIo } from '../../../src/engine/image/raw-io.ts';
import { blocksOf, type Task } from '../../../src/engine/lanes/blocks.ts';
import { copyBlocks } from '../../../src/engine/lanes/copy.ts';
import { firstDifference } from '../../../src/engine/lanes/read-back.ts';
import { Sink, type SinkOptions } from '../../../src/engine/lanes/sink.ts';
import { SourceReader, type SourceReaderOptions } from '../../../src/engine/lanes/source-reader.ts';
import { guard } from '../../../src/engine/protect/guard.ts';
import { IntervalSet } from '../../../src/engine/protect/intervals.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { assertBytes } from '../image/conformance.ts';
import { sparseFile } from '../image/places.ts';
import { random } from '../image/random.ts';
import { writeSparse } from '../image/write-sparse.ts';
import { failingSource } from './failing-source.ts';

const MiB = 1 << 20;
const SECTOR = 512;
const SIZE = 6 * MiB;
const folder = tempDir('second-try');

function memory(content: Uint8Array): ImageSource {
  return {
    name: 'memory',
    size: content.length,
    sectorSize: SECTOR,
    physicalSectorSize: SECTOR,
    async *extents() {
      yield { offset: 0, length: content.length, state: 'data' as const };
    },
    async read(into, offset) {
      into.set(content.subarray(offset, offset + into.length));
    },
    async close() {},
  };
}

/** A source whose errors can pass, and its reader; `reads` counts what was asked since they did. */
function passing(content: Uint8Array, bad: readonly ByteRange[], remains: readonly ByteRange[], options: SourceReaderOptions) {
  const now = [...bad];
  const told: [number, boolean][] = [];
  const counted = { reads: 0 };
  const reader = new SourceReader(failingSource(memory(content), now, { onRead: () => counted.reads++ }), {
    patience: 0,
    ...options,
    onAgain(places, tried) {
      told.push([places, tried]);
      now.splice(0, now.length, ...remains);
      counted.reads = 0;
    },
  });
  return { reader, told, counted };
}

async function withTargets(
  olds: readonly Uint8Array[],
  work: (targets: FileImage[], paths: string[]) => Promise<void>,
  wrap: (io: RawIo, index: number) => RawIo = (io) => io,
): Promise<void> {
  const images: FileImage[] = [];
  const paths: string[] = [];
  try {
    for (const [index, old] of olds.entries()) {
      const path = sparseFile(folder, old.length);
      writeSparse(path, old);
      images.push(await FileImage.open(path, 'write', (handle) => wrap(rawIo(handle), index)));
      paths.push(path);
    }
    await work(images, paths);
  } finally {
    for (const image of images) await image.close();
  }
}

const everything: Task[] = [{ action: 'copy', offset: 0, length: SIZE }];
const sectors = (ranges: Iterable<ByteRange>): ByteRange[] => [...IntervalSet.of(...ranges).align(SECTOR)];

test('errors that pass leave no trace, those that stay are zeros or what was there; digests, sums and notes are right', async () => {
  for (let seed = 1; seed <= 10; seed++) {
    const { below, bytes, pick } = random(seed);
    const content = bytes(SIZE);
    for (let i = 0; i < 4; i++) content.fill(0, below(SIZE), below(SIZE));
    const blank = pick([true, false]);
    const old = blank ? Buffer.alloc(SIZE) : bytes(SIZE);
    const some = (count: number, longest: number) =>
      Array.from({ length: below(count + 1) }, () => {
        const offset = below(SIZE - longest);
        return { offset, length: 1 + below(longest) };
      });
    const stays = some(3, 3000);
    const bad = [...stays, ...some(5, pick([600, 300_000]))];
    const policy = pick(['zero', 'skip'] as const);
    const compares = pick([true, false]);
    const { reader, told } = passing(content, bad, stays, { policy });
    const wanted = Buffer.from(content);
    const lost = sectors(stays);
    for (const { offset, length } of lost) {
      if (policy === 'zero') wanted.fill(0, offset, offset + length);
      else old.copy(wanted, offset, offset, offset + length);
    }
    await withTargets([old], async ([target], [path]) => {
      const image = target as FileImage;
      const noted: ByteRange[] = [];
      const options: SinkOptions = {
        ...(compares ? { compared: { has: () => true, medium: image } } : {}),
        isHole: () => blank,
        skipBad: policy === 'skip',
        onPiece: (r) => noted.push(r),
      };
      const sink = new Sink(guard(image, []), options);
      await copyBlocks(blocksOf([everything]), reader, [sink]);
      assert.is(sink.error, undefined);
      await image.flush();
      assertBytes(readFileSync(path as string), wanted, `seed ${seed}`);
      assert.equal(reader.bad, lost, `seed ${seed}`);
      const first = sectors(bad);
      assert.is(reader.recovered, IntervalSet.of(...first).subtract(IntervalSet.of(...lost)).bytes);
      assert.is(told.length, bad.length === 0 ? 0 : 1);
      const { written, zeroed, same } = sink.sums;
      const taken = SIZE - (policy === 'skip' ? IntervalSet.of(...lost).bytes : 0);
      assert.is(written + zeroed + same, taken, `seed ${seed}`);
      const medium = await image.readBack();
      assert.is(await firstDifference(medium, sink.digests, { isHole: () => false }), undefined, `seed ${seed}`);
      await medium.close();
      if (!compares) assert.is(IntervalSet.of(...sink.digests).bytes, taken, 'every byte is read back');
      for (const range of noted) assert.not.ok(IntervalSet.of(...first).touches(range), 'a later run reads them again');
    });
  }
});

test('what can be read in the end goes to all targets that are left, each byte once', async () => {
  const content = random(7).bytes(SIZE);
  const bad = { offset: 3 * MiB - 4096, length: 8192 };
  const { reader } = passing(content, [bad], [], { policy: 'zero' });
  const failing = (io: RawIo, index: number): RawIo => ({
    read: io.read,
    async write(bytes, offset) {
      if (index === 1 && offset >= bad.offset && offset < end(bad))
        throw Object.assign(new Error('EIO: injected'), { code: 'EIO' });
      return io.write(bytes, offset);
    },
  });
  const olds = [Buffer.alloc(SIZE), Buffer.alloc(SIZE), Buffer.alloc(SIZE)];
  await withTargets(
    olds,
    async (targets, paths) => {
      const sinks = targets.map((target) => new Sink(guard(target, [])));
      const elsewhere: Task[] = [{ action: 'copy', offset: 4 * MiB, length: MiB }];
      await copyBlocks(blocksOf([everything, everything, elsewhere]), reader, sinks);
      assert.equal(
        sinks.map(({ error }) => error !== undefined),
        [false, true, false],
      );
      assert.equal(
        sinks.map(({ sums }) => sums.written),
        [SIZE, SIZE - bad.length, MiB],
      );
      assertBytes(readFileSync(paths[0] as string), content, 'the first');
      const last = Buffer.alloc(SIZE);
      content.copy(last, 4 * MiB, 4 * MiB, 5 * MiB);
      assertBytes(readFileSync(paths[2] as string), last, 'the last');
      assert.equal(reader.bad, []);
    },
    failing,
  );
});

test('what an earlier run has made durable is not spoilt by what cannot be read now', async () => {
  const content = random(8).bytes(SIZE);
  const bad = { offset: 2 * MiB + 512, length: 512 };
  const { reader } = passing(content, [bad], [bad], { policy: 'zero' });
  await withTargets([content, Buffer.alloc(SIZE)], async (targets, paths) => {
    const find = (piece: ByteRange) => (piece.offset === 2 * MiB ? { ...piece, digest: 1n } : undefined);
    const resumed = new Sink(guard(targets[0] as FileImage, []), { durable: { find, sourceUnchanged: true } });
    const fresh = new Sink(guard(targets[1] as FileImage, []));
    await copyBlocks(blocksOf([everything, everything]), reader, [resumed, fresh]);
    assertBytes(readFileSync(paths[0] as string), content, 'the resumed one');
    const wanted = Buffer.from(content).fill(0, bad.offset, end(bad));
    assertBytes(readFileSync(paths[1] as string), wanted, 'the other');
  });
});

/** Reads every block, and then what was bad of it once more; answers what was bad in the end. */
async function readAll(reader: SourceReader, size: number): Promise<ByteRange[]> {
  const into = new Uint8Array(MiB);
  const lost: { at: number; bad: readonly ByteRange[] }[] = [];
  for (let at = 0; at < size; at += MiB) {
    const bad = await reader.read(into, at, [{ offset: at, length: MiB }]);
    if (bad.length > 0) lost.push({ at, bad });
  }
  const still: ByteRange[] = [];
  for (const { at, bad } of lost) {
    into.fill(0xff);
    const again = await reader.readAgain(into, at, bad);
    for (const range of again) assert.ok(into.subarray(range.offset - at, end(range) - at).every((byte) => byte === 0));
    still.push(...again);
  }
  return still;
}

test('a large area that is really bad costs a few reads more', async () => {
  const bad = { offset: 2 * MiB, length: 17 * MiB };
  const { reader, counted } = passing(random(9).bytes(20 * MiB), [bad], [bad], { policy: 'skip' });
  await readAll(reader, 20 * MiB);
  assert.equal(reader.bad, [bad]);
  assert.is(reader.recovered, 0);
  assert.ok(counted.reads > 10 && counted.reads < 320, `${counted.reads} reads`);
});

test('places behind a bad one are tried, sector by sector where it must be', async () => {
  const stays = [{ offset: 1024, length: 20 * SECTOR }];
  const bad = [...stays, { offset: 2 * MiB, length: MiB }, { offset: 4 * MiB + 1000, length: 100_000 }];
  const { reader } = passing(random(10).bytes(SIZE), bad, [...stays, { offset: 2 * MiB + 5000, length: 1 }], { policy: 'zero' });
  const still = await readAll(reader, SIZE);
  assert.equal(reader.bad, [...stays, { offset: 2 * MiB + 9 * SECTOR, length: SECTOR }]);
  assert.equal(still, [...reader.bad]);
});

test('too many places are told, and not tried', async () => {
  const bad = Array.from({ length: 1001 }, (_, index) => ({ offset: index * 4096, length: SECTOR }));
  const { reader, told, counted } = passing(random(11).bytes(SIZE), bad, [], { policy: 'zero' });
  const still = await readAll(reader, SIZE);
  assert.equal(told, [[1001, false]]);
  assert.is(counted.reads, 0);
  assert.is(still.length, 1001);
  assert.equal(reader.bad, bad);
});

test('what a map says to be lost is not tried, and does not count', async () => {
  const lost = IntervalSet.of(...Array.from({ length: 1200 }, (_, index) => ({ offset: index * 4096, length: SECTOR })));
  const passes = { offset: 5 * MiB + 1024, length: SECTOR };
  const asked: ByteRange[] = [];
  const now = [...lost, passes];
  const source = failingSource(memory(random(12).bytes(SIZE)), now, { onRead: (range) => asked.push(range) });
  const lostIn = (range: ByteRange) => [...lost.intersect(IntervalSet.of(range))];
  const told: [number, boolean][] = [];
  const onAgain = (places: number, tried: boolean): void => {
    told.push([places, tried]);
    now.pop();
    asked.length = 0;
  };
  const reader = new SourceReader(source, { policy: 'zero', patience: 0, lostIn, onAgain });
  await readAll(reader, SIZE);
  assert.equal(told, [[1, true]]);
  assert.equal(asked, [passes]);
  assert.equal(reader.bad, [...lost]);
});

test('what was read in the end and cannot be read for somebody else is lost for one, and is told', async () => {
  const bad = { offset: 4096, length: SECTOR };
  const now = [bad];
  const reader = new SourceReader(failingSource(memory(random(13).bytes(SIZE)), now), { policy: 'zero', patience: 0 });
  const into = new Uint8Array(MiB);
  const lost = await reader.read(into, 0, [{ offset: 0, length: MiB }]);
  now.length = 0;
  assert.equal(await reader.readAgain(into, 0, lost), []);
  assert.equal(reader.bad, []);
  now.push(bad);
  await reader.read(into, 0, [{ offset: 0, length: MiB }]);
  assert.equal(reader.bad, [bad]);
});

test.run();
