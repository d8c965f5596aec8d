/** An archive that arrives through a pipe: nothing that is wrong with it gets past its end. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { extract, pack } from 'tar-stream';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { cellsOf } from '../../../src/engine/archive/cells.ts';
import {
  ArchiveArrivingError,
  ArchiveCorruptError,
  ArchiveIoError,
  NotAnArchiveError,
} from '../../../src/engine/archive/errors.ts';
import { archiveOptions } from '../../../src/engine/archive/open.ts';
import { PipedArchive } from '../../../src/engine/archive/piped.ts';
import { StreamBytes } from '../../../src/engine/archive/stream-bytes.ts';
import { TarSink } from '../../../src/engine/archive/tar-sink.ts';
import { end } from '../../../src/engine/image/contract.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { sample, write } from './samples.ts';

const folder = tempDir();
const small = sample(3);
const tar = join(folder, 'small.tar');

test.before(async () => {
  await write(small, await TarSink.toFile(tar));
});

/** In pieces of odd sizes, as pipes have them. */
function* pieces(bytes: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 40_009) yield bytes.subarray(at, at + 40_009);
}

async function piped(bytes: Uint8Array): Promise<PipedArchive> {
  const stream = new StreamBytes('the pipe', Readable.from(pieces(bytes)));
  return PipedArchive.open('the pipe', stream, await archiveOptions());
}

/** Reads all cells, four at a time, and compares them. */
async function readAll(bytes: Uint8Array): Promise<void> {
  const archive = await piped(bytes);
  try {
    archive.begin();
    const { images, segmentSize } = archive.layout;
    const cells = images.flatMap((image) => [...cellsOf(image, segmentSize)]);
    const lane = async (): Promise<void> => {
      for (let cell = cells.shift(); cell !== undefined; cell = cells.shift()) {
        const whole = small.contents.get(cell.image) as Uint8Array;
        const wanted = Buffer.concat(cell.ranges.map((range) => whole.subarray(range.offset, end(range))));
        assert.ok(Buffer.from(await archive.content(cell)).equals(wanted), `${cell.image} at ${cell.offset}`);
      }
    };
    const ended = await Promise.allSettled([lane(), lane(), lane(), lane()]);
    for (const each of ended) if (each.status === 'rejected') throw each.reason;
    await archive.settle();
  } finally {
    await archive.close();
  }
}

async function refusal(bytes: Uint8Array, what: string): Promise<Error> {
  try {
    await readAll(bytes);
  } catch (error) {
    assert.ok(error instanceof ArchiveCorruptError || error instanceof NotAnArchiveError, `${what}: ${(error as Error).stack}`);
    return error;
  }
  throw new Error(`${what} was not noticed`);
}

interface Entry {
  readonly name: string;
  readonly pax?: Record<string, string>;
  readonly bytes: Buffer;
}

async function all(stream: AsyncIterable<unknown>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk as Uint8Array);
  return Buffer.concat(chunks);
}

async function entries(): Promise<Entry[]> {
  const reader = extract();
  reader.end(readFileSync(tar));
  const found: Entry[] = [];
  for await (const entry of reader) {
    const { name, pax } = entry.header;
    found.push({ name, ...(pax ? { pax: pax as Record<string, string> } : {}), bytes: await all(entry) });
  }
  return found;
}

async function packed(list: readonly Entry[]): Promise<Buffer> {
  const writer = pack();
  for (const { bytes, ...header } of list) writer.entry({ ...header, mtime: new Date(0) }, bytes);
  writer.finalize();
  return all(writer);
}

const isSegment = ({ pax }: Entry): boolean => pax?.['DOPPEL.offset'] !== undefined;

test('all of it is read as it comes, by lanes that are not in step', () => readAll(readFileSync(tar)));

test('who skips cells is told of what is wrong with them all the same', async () => {
  const good = readFileSync(tar);
  const list = await entries();
  const bad = list.map((entry) => ({ ...entry, bytes: Buffer.from(entry.bytes) }));
  const last = bad.filter(isSegment).at(-1) as Entry;
  last.bytes[last.bytes.length - 6] = (last.bytes.at(-6) as number) ^ 1;
  for (const [bytes, fails] of [
    [good, false],
    [await packed(bad), true],
  ] as const) {
    const archive = await piped(bytes);
    archive.begin();
    const [image] = archive.layout.images;
    assert.ok(image);
    const [first] = [...cellsOf(image, archive.layout.segmentSize)];
    assert.ok(first);
    await archive.content(first);
    const error = await archive.settle().catch((reason: unknown) => reason);
    assert.is(error instanceof ArchiveCorruptError, fails);
    await archive.close();
  }
});

test('nothing can be asked for before the restore begins, and nothing twice', async () => {
  const archive = await piped(readFileSync(tar));
  const [first, cell] = [
    ...cellsOf(archive.layout.images[0] as (typeof archive.layout.images)[number], archive.layout.segmentSize),
  ];
  assert.ok(first !== undefined && cell !== undefined);
  assert.instance(await archive.content(cell).catch((error: unknown) => error), ArchiveArrivingError);
  archive.begin();
  await archive.content(cell);
  // The head of a disk without a table is asked for again, when all is done.
  await archive.content(first);
  await archive.content(first);
  assert.instance(await archive.content(cell).catch((error: unknown) => error), ArchiveIoError);
  await archive.close();
});

test('cut off anywhere, it is not believed', async () => {
  const good = readFileSync(tar);
  // The two blocks of zeros at the end say nothing.
  for (let length = 0; length <= good.length - 1024; length += 1777) await refusal(good.subarray(0, length), `${length} bytes`);
  await refusal(good.subarray(0, good.length - 1024), 'without its end');
});

test('a flipped byte anywhere is noticed, or changes nothing that counts', async () => {
  const good = readFileSync(tar);
  let noticed = 0;
  for (let at = 0; at < good.length; at += 1013) {
    const bad = Buffer.from(good);
    bad[at] = (bad[at] as number) ^ 0x41;
    // Otherwise it was read, and all of it was right.
    const error = await readAll(bad).catch((reason: unknown) => reason);
    if (error === undefined) continue;
    assert.ok(error instanceof ArchiveCorruptError || error instanceof NotAnArchiveError, `byte ${at}: ${error}`);
    noticed++;
  }
  assert.ok(noticed > good.length / 1013 / 2, `${noticed}`);
});

test('what is missing, twice, in another order or foreign is refused with its place', async () => {
  const list = await entries();
  const segments = list.filter(isSegment);
  const at = list.indexOf(segments[1] as Entry);
  const without = (...gone: (Entry | undefined)[]): Entry[] => list.filter((entry) => !gone.includes(entry));
  const swapped = [...list];
  [swapped[at], swapped[at + 1]] = [swapped[at + 1] as Entry, swapped[at] as Entry];
  const cases: readonly (readonly [string, readonly Entry[]])[] = [
    ['no oci-layout', list.slice(1)],
    ['no layout', without(list[1])],
    ['a missing segment', without(segments[1])],
    ['the last segment missing', without(segments.at(-1))],
    ['a segment twice', list.toSpliced(at, 0, segments[1] as Entry)],
    ['segments swapped', swapped],
    ['segments without what they are', list.map(({ pax: _pax, ...entry }) => entry)],
    ['a foreign file', list.toSpliced(at, 0, { name: 'etc/passwd', bytes: Buffer.from('x') })],
    ['a name that leads elsewhere', list.toSpliced(at, 0, { name: '../../etc/passwd', bytes: Buffer.from('x') })],
    ['no index', without(list.at(-1))],
    ['no manifest', without(list.at(-2))],
    ['no config but all the rest', list.map((entry) => (entry === list.at(-2) ? { ...entry, bytes: Buffer.from('{}') } : entry))],
    ['documents before the segments only', [...list.slice(0, 2), ...list.slice(-3)]],
    ['something behind its index', [...list, { name: `blobs/sha256/${'0'.repeat(64)}`, bytes: Buffer.from('x') }]],
  ];
  for (const [what, changed] of cases) {
    const error = await refusal(await packed(changed), what);
    assert.match(error.message, 'the pipe');
  }
  await refusal(Buffer.concat([readFileSync(tar), Buffer.from('more')]), 'something behind its end');
});

test.run();
