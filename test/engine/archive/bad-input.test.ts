/**
 * What is no archive, or a bad one, is refused with the place, in bounded memory, from wherever it comes. With ARCHIVE_SWEEP=all
 * archives are cut off at every byte, which takes minutes.
 */
import { execFileSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pack } from 'tar-stream';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { cellsOfAll } from '../../../src/engine/archive/cells.ts';
import { DirectorySink } from '../../../src/engine/archive/directory.ts';
import { readKeys } from '../../../src/engine/archive/keys.ts';
import { encodeLayout } from '../../../src/engine/archive/layout.ts';
import { openArchive } from '../../../src/engine/archive/open.ts';
import { PipedArchive } from '../../../src/engine/archive/piped.ts';
import { StreamBytes } from '../../../src/engine/archive/stream-bytes.ts';
import { TarSink } from '../../../src/engine/archive/tar-sink.ts';
import { Zstd } from '../../../src/engine/archive/zstd.ts';
import type { DoppelError } from '../../../src/engine/errors.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { refusal } from '../duplicate/requests.ts';
import { blobIn, forgeLayer, forgeManifest, type Layer, store } from './forged.ts';
import { MiB, sample, write } from './samples.ts';

const all = process.env.ARCHIVE_SWEEP === 'all';
const folder = tempDir('bad-input');
const zstd = Zstd.usual();
const small = sample(2);
const good = join(folder, 'good');
const goodTar = join(folder, 'good.tar');
let count = 0;
const fresh = (ending = ''): string => join(folder, `bad-${++count}${ending}`);

test.before(async () => {
  await write(small, await DirectorySink.create(good));
  await write(small, await TarSink.toFile(goodTar));
});

async function readAll(path: string): Promise<void> {
  const archive = await openArchive(path);
  try {
    for (const cell of cellsOfAll(archive.layout)) await archive.content(cell);
  } finally {
    await archive.close();
  }
}

async function readPiped(tar: Uint8Array): Promise<void> {
  const archive = await PipedArchive.open('the pipe', new StreamBytes('the pipe', Readable.from([tar])), {
    access: {},
    keys: await readKeys({}),
    zstd,
  });
  try {
    archive.begin();
    for (const cell of cellsOfAll(archive.layout)) await archive.content(cell);
    await archive.settle();
  } finally {
    await archive.close();
  }
}

async function refused(what: string, action: () => Promise<unknown>): Promise<DoppelError> {
  const error = await refusal(action).catch((reason: unknown) => assert.unreachable(`${what}: ${reason}`));
  assert.is((error as DoppelError).exitCode, 6, `${what}: ${(error as Error).stack}`);
  return error as DoppelError;
}

test('what is good is read, from everywhere', async () => {
  await readAll(good);
  await readAll(goodTar);
  await readPiped(readFileSync(goodTar));
});

test('a tar that is cut off at any byte', async () => {
  const tar = readFileSync(goodTar);
  const bad = fresh('.tar');
  // One block of zeros ends a tar.
  for (let length = 0; length < tar.length - 1024; length += all ? 1 : 997) {
    writeFileSync(bad, tar.subarray(0, length));
    await refused(`a file of ${length} bytes`, () => readAll(bad));
    await refused(`${length} bytes through a pipe`, () => readPiped(tar.subarray(0, length)));
  }
});

test('files of a directory that are cut off at any byte, empty, or longer', async () => {
  for (const file of filesIn(good)) {
    const bytes = readFileSync(join(good, file));
    const bad = fresh();
    cpSync(good, bad, { recursive: true });
    const lengths = all ? bytes.keys() : [0, 1, 7, bytes.length >> 1, bytes.length - 5, bytes.length - 1];
    for (const length of lengths) {
      writeFileSync(join(bad, file), bytes.subarray(0, length));
      assert.match((await refused(`${file}, ${length} bytes`, () => readAll(bad))).message, file);
    }
    if (!file.endsWith('.json')) {
      writeFileSync(join(bad, file), Buffer.concat([bytes, Buffer.from('x')]));
      await refused(`${file}, longer`, () => readAll(bad));
    }
    rmSync(bad, { recursive: true });
  }
});

function filesIn(directory: string): string[] {
  return [
    'oci-layout',
    'index.json',
    ...readdirSync(join(directory, 'blobs/sha256')).map((name) => `blobs/sha256/${name}`),
  ].filter(
    // Tools write it, and nothing depends on it.
    (file) => !readFileSync(join(directory, file), 'utf8').startsWith('{"architecture"'),
  );
}

test('files of a directory that are something else', async () => {
  for (const file of filesIn(good)) {
    for (const make of [
      (path: string) => execFileSync('mkfifo', [path]),
      (path: string) => mkdirSync(path),
      (path: string) => symlinkSync('/dev/zero', path),
      (path: string) => symlinkSync('nowhere', path),
    ]) {
      const bad = fresh();
      cpSync(good, bad, { recursive: true });
      rmSync(join(bad, file));
      make(join(bad, file));
      await refused(file, () => readAll(bad));
      rmSync(bad, { recursive: true });
    }
  }
});

test('documents that are larger than any', async () => {
  for (const file of ['index.json', 'oci-layout']) {
    const bad = fresh();
    cpSync(good, bad, { recursive: true });
    truncateSync(join(bad, file), 5 * 2 ** 30);
    const { message } = await refused(file, () => readAll(bad));
    assert.match(message, file === 'index.json' ? 'index.json has 5368709120 bytes' : 'oci-layout');
    rmSync(bad, { recursive: true });
  }
});

/** A tar of the good archive's files, with more before, behind, or in their place. */
async function tarOf(
  entries: readonly (readonly [header: Parameters<ReturnType<typeof pack>['entry']>[0], bytes?: Uint8Array])[],
) {
  const tar = pack();
  for (const [header, bytes] of entries) tar.entry(header, Buffer.from(bytes ?? []));
  tar.finalize();
  const pieces: Uint8Array[] = [];
  for await (const piece of tar) pieces.push(piece as Uint8Array);
  return Buffer.concat(pieces);
}

test('entries of a tar that do not belong there', async () => {
  const files = filesIn(good).map((name) => [{ name }, readFileSync(join(good, name))] as const);
  for (const foreign of [
    { name: '../../etc/passwd' },
    { name: 'blobs/sha256/../../../../etc/cron.d/x' },
    { name: '/etc/passwd' },
    { name: 'blobs/sha256/short' },
    { name: `blobs/sha256/${'0'.repeat(64)}`, type: 'symlink', linkname: '/etc/shadow' },
    { name: `blobs/sha256/${'0'.repeat(64)}`, type: 'link', linkname: 'index.json' },
    { name: `blobs/sha256/${'0'.repeat(64)}`, type: 'character-device' },
    { name: 'index.json', type: 'fifo' },
    { name: 'elsewhere', type: 'directory' },
    { name: 'README' },
  ] as const) {
    for (const entries of [
      [[foreign], ...files],
      [...files, [foreign]],
    ] as const) {
      const bytes = await tarOf(entries as Parameters<typeof tarOf>[0]);
      const bad = fresh('.tar');
      writeFileSync(bad, bytes);
      assert.match((await refused(foreign.name, () => readAll(bad))).message, /does not belong there|no archive/);
      await refused(foreign.name, () => readPiped(bytes));
      rmSync(bad);
    }
  }
  assert.not(existsSync(join(folder, 'etc')));
});

test('a tar in another order is no archive through a pipe', async () => {
  const files = filesIn(good).map((name) => [{ name }, readFileSync(join(good, name))] as const);
  await refused('by names', async () => readPiped(await tarOf(files)));
  await refused('backwards', async () => readPiped(await tarOf(files.toReversed())));
  const bad = fresh('.tar');
  writeFileSync(bad, await tarOf(files.slice(0, -1)));
  await refused('without the last', () => readAll(bad));
});

test('headers of a tar that promise too much', async () => {
  const tar = readFileSync(goodTar);
  const second = 1024;
  for (const [size, what] of [
    ['77777777777', 'eight gigabytes'],
    ['00007777777', 'two megabytes'],
    ['x', 'no number'],
    ['-1', 'a negative number'],
  ] as const) {
    const bad = Buffer.from(tar);
    bad.fill(0, second + 124, second + 136).write(size, second + 124);
    bad.write('        ', second + 148);
    const sum = bad.subarray(second, second + 512).reduce((total, byte) => total + byte, 0);
    bad.write(`${sum.toString(8).padStart(6, '0')}\0 `, second + 148);
    await refused(what, () => readPiped(bad));
    const path = fresh('.tar');
    writeFileSync(path, bad);
    await refused(what, () => readAll(path));
  }
});

/** One frame whose header says `size`; the content is zeros. */
async function bomb(size: number): Promise<Uint8Array> {
  return zstd.compress(new Uint8Array(size), 1);
}

/** The layout with another document. */
async function layoutWith(change: (document: Record<string, never>) => unknown): Promise<Uint8Array> {
  const content = Buffer.from(encodeLayout(small.layout));
  const stop = content.indexOf(0x0a);
  const document = JSON.parse(content.subarray(0, stop).toString());
  const changed = change(document) ?? document;
  return zstd.compress(Buffer.concat([Buffer.from(`${JSON.stringify(changed)}\n`), content.subarray(stop + 1)]), 1);
}

test('bombs', async () => {
  const before = process.resourceUsage().maxRSS;
  const layer = (at: number, change: (layer: Layer) => unknown) =>
    forgeManifest(good, fresh(), ({ layers }) => void change(layers[at] as Layer));
  const layout = (bytes: Uint8Array): string => forgeLayer(good, fresh(), 0, () => bytes);
  const lying = Buffer.from(await bomb(100 << 10));
  // The content size of a frame that has four bytes for it.
  lying.writeUInt32LE(0xffff_ffff, 6 - ((lying[4] as number) & 0x20 ? 1 : 0));
  type Document = { images: { size: number; data: { ranges: number; length: number } }[]; segmentSize: number; machine: unknown };
  const changed = (change: (document: Document) => unknown) =>
    layoutWith((document) => change(document as unknown as Document)).then(layout);
  const image = (change: (image: Document['images'][number]) => unknown) =>
    changed(({ images }) => void change(images[0] as Document['images'][number]));
  for (const [what, path] of [
    ['a blob of a petabyte', layer(1, (each) => Object.assign(each, { size: 2 ** 50 }))],
    ['a segment that is larger than its cell could be', layer(1, (each) => Object.assign(each, { size: 60 * MiB }))],
    ['a frame with more content than its cell', await bomb(40 * MiB).then((bytes) => forgeLayer(good, fresh(), 1, () => bytes))],
    ['a layout of 65 MiB', await layout(await bomb(65 * MiB))],
    ['a layout without a document', await layout(await bomb(MiB))],
    ['a frame that lies about its size', await layout(lying)],
    ['a billion ranges', await image((each) => Object.assign(each.data, { ranges: 1e9 }))],
    ['ranges of a petabyte', await image((each) => Object.assign(each.data, { length: 2 ** 50 }))],
    ['an image of eight exabytes', await image((each) => Object.assign(each, { size: 2 ** 63 }))],
    ['segments of a gigabyte', await changed((document) => void Object.assign(document, { segmentSize: 2 ** 30 }))],
    ['no images', await changed((document) => void Object.assign(document, { images: [] }))],
    ['a million images', await changed((document) => ({ ...document, images: Array(100_000).fill(document.images[0]) }))],
    ['a document of 5 MiB', await changed((document) => ({ ...document, machine: 'x'.repeat(5 * MiB) }))],
    ['a newer version', await changed((document) => ({ ...document, version: 2 }))],
    ['a thousand and one layers', forgeManifest(good, fresh(), ({ layers }) => void layers.push(...Array(1001).fill(layers[1])))],
    [
      'a manifest of 5 MiB',
      forgeManifest(good, fresh(), (manifest) => void Object.assign(manifest, { padding: 'x'.repeat(5 * MiB) })),
    ],
    [
      'a part of a billion',
      forgeManifest(good, fresh(), (each) => void Object.assign(each, { annotations: { 'vnd.doppel.part': '1/999999999' } })),
    ],
  ] as const) {
    const error = await refused(what, () => readAll(path));
    assert.match(error.message, path, what);
    rmSync(path, { recursive: true });
  }
  const index = fresh();
  cpSync(good, index, { recursive: true });
  const { manifests } = JSON.parse(readFileSync(join(index, 'index.json'), 'utf8'));
  const many = Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: Array(1001).fill(manifests[0]) }));
  const top = { ...store(index, many), mediaType: 'application/vnd.oci.image.index.v1+json' };
  writeFileSync(join(index, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [top] }));
  await refused('a thousand and one manifests', () => readAll(index));
  assert.ok(existsSync(blobIn(index, top.digest)));
  // KiB; what the test itself makes is the largest of it.
  assert.ok(process.resourceUsage().maxRSS - before < 400 << 10, `${process.resourceUsage().maxRSS - before} KiB`);
});

test.run();
