/** Archives in directories and tar files, written, read, and looked at by other tools. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ArchivedDisk } from '../../../src/engine/archive/archived-disk.ts';
import { cellsOf } from '../../../src/engine/archive/cells.ts';
import { DirectorySink } from '../../../src/engine/archive/directory.ts';
import {
  ArchiveCorruptError,
  ArchiveExistsError,
  ArchiveIncompleteError,
  ArchiveIoError,
  ArchiveVersionError,
  NotAnArchiveError,
} from '../../../src/engine/archive/errors.ts';
import { mediaTypes } from '../../../src/engine/archive/oci.ts';
import { openArchive } from '../../../src/engine/archive/open.ts';
import { TarSink } from '../../../src/engine/archive/tar-sink.ts';
import { Zstd } from '../../../src/engine/archive/zstd.ts';
import type { Extent } from '../../../src/engine/image/contract.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { type ForgedManifest, forgeManifest, type Layer } from './forged.ts';
import { MiB, type Sample, sample, write } from './samples.ts';

const folder = tempDir();
let count = 0;
const fresh = (ending = ''): string => join(folder, `archive-${++count}${ending}`);

async function inDirectory(what: Sample): Promise<string> {
  const path = fresh();
  await write(what, await DirectorySink.create(path));
  return path;
}

async function inTar(what: Sample): Promise<string> {
  const path = fresh('.tar');
  await write(what, await TarSink.toFile(path));
  return path;
}

/** Every byte of every image, and what is in it. */
async function readAll(path: string, { layout, contents }: Sample): Promise<void> {
  for (const image of layout.images) {
    const disk = new ArchivedDisk(await openArchive(path), image);
    const whole = contents.get(image.name) as Uint8Array;
    try {
      const read = new Uint8Array(image.size);
      await disk.read(read, 0);
      assert.ok(Buffer.from(whole).equals(read), image.name);
      await disk.read(read.subarray(0, 1024), image.size - 1024);
      assert.ok(Buffer.from(whole.subarray(-1024)).equals(read.subarray(0, 1024)));
    } finally {
      await disk.close();
    }
  }
}

async function archiveDigest(path: string): Promise<string> {
  const archive = await openArchive(path);
  await archive.close();
  return archive.digest;
}

async function refusal(path: string): Promise<Error> {
  try {
    const archive = await openArchive(path);
    try {
      for (const image of archive.layout.images)
        for (const cell of cellsOf(image, archive.layout.segmentSize)) await archive.content(cell);
    } finally {
      await archive.close();
    }
  } catch (error) {
    return error as Error;
  }
  throw new Error(`${path} was read without an error`);
}

const five = sample();

test('what is written to a directory or a tar file is read again, with the same digest', async () => {
  const [directory, tar] = [await inDirectory(five), await inTar(five)];
  await readAll(directory, five);
  await readAll(tar, five);
  assert.is(await archiveDigest(directory), await archiveDigest(tar));
  const archive = await openArchive(tar);
  assert.equal(archive.layout.machine, five.layout.machine);
  assert.is(archive.digest, await archiveDigest(tar));
  await archive.close();
});

test('the same input gives the same bytes', async () => {
  const [one, two] = [await inTar(five), await inTar(five)];
  assert.ok(readFileSync(one).equals(readFileSync(two)));
});

test('extents say what is data, zero, and nobody’s, over the whole image', async () => {
  const path = await inDirectory(five);
  const disk = new ArchivedDisk(await openArchive(path), five.layout.images[0] as (typeof five.layout.images)[number]);
  const found: Extent[] = [];
  for await (const extent of disk.extents()) found.push(extent);
  await disk.close();
  assert.equal(
    found.slice(0, 5).map(({ state, length }) => [state, length]),
    [
      ['unused', 4096],
      ['data', 8192],
      ['unused', 65536 - 12288],
      ['zero', 65536],
      ['unused', MiB - 4096 - 131072],
    ],
  );
  let at = 0;
  for (const extent of found) {
    assert.is(extent.offset, at);
    at += extent.length;
  }
  assert.is(at, disk.size);
});

test('more segments than one manifest may have', async () => {
  const many = sample(1200);
  const path = await inDirectory(many);
  const index = JSON.parse(readFileSync(join(path, 'index.json'), 'utf8'));
  assert.is(index.manifests[0].mediaType, 'application/vnd.oci.image.index.v1+json');
  await readAll(path, many);
  // As a copy of one platform has it.
  const { manifests } = JSON.parse(readFileSync(join(path, 'blobs', index.manifests[0].digest.replace(':', '/')), 'utf8'));
  assert.is(manifests.length, 2);
  writeFileSync(join(path, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [manifests[1]] }));
  const error = await refusal(path);
  assert.instance(error, ArchiveIncompleteError);
  assert.match(error.message, /1 of the 2 manifests/);
});

test('skopeo inspects and copies it, and the copy is the same archive', async () => {
  const [directory, tar] = [await inDirectory(five), await inTar(five)];
  const inspected = JSON.parse(execFileSync('skopeo', ['inspect', `oci:${directory}`], { encoding: 'utf8' }));
  assert.is(inspected.Os, 'linux');
  assert.equal(inspected.Labels, { 'vnd.doppel.host': 'sample' });
  const copies = [fresh(), fresh('.tar')] as const;
  execFileSync('skopeo', ['copy', '-q', '--insecure-policy', `oci-archive:${tar}`, `oci:${copies[0]}`]);
  execFileSync('skopeo', ['copy', '-q', '--insecure-policy', `oci:${directory}`, `oci-archive:${copies[1]}`]);
  for (const copy of copies) {
    await readAll(copy, five);
    assert.is(await archiveDigest(copy), await archiveDigest(directory));
  }
});

test('zstd -t accepts every segment', async () => {
  const path = await inDirectory(five);
  const blobs = join(path, 'blobs/sha256');
  const frames = readdirSync(blobs).filter((name) => readFileSync(join(blobs, name)).readUInt32LE(0) === 0xfd2fb528);
  // The layout, six cells of which two are the same, and the one of the other image.
  assert.is(frames.length, 7);
  for (const name of frames) execFileSync('zstd', ['-q', '-t', join(blobs, name)], { stdio: 'pipe' });
});

test('an archive of the codec that is always there is read by the fast one', async () => {
  const path = fresh();
  await write(five, await DirectorySink.create(path), { zstd: Zstd.open('zstd-codec') as Zstd });
  await readAll(path, five);
});

test('what exists is not overwritten, but what was interrupted goes on', async () => {
  const path = await inDirectory(five);
  assert.instance(await DirectorySink.create(path).catch((error: unknown) => error), ArchiveExistsError);
  const tar = await inTar(five);
  assert.instance(await TarSink.toFile(tar).catch((error: unknown) => error), ArchiveExistsError);
  const full = fresh();
  mkdirSync(full);
  writeFileSync(join(full, 'letter.txt'), 'dear');
  assert.instance(await DirectorySink.create(full).catch((error: unknown) => error), ArchiveExistsError);
  rmSync(join(path, 'index.json'));
  assert.instance(await refusal(path), ArchiveCorruptError);
  await write(five, await DirectorySink.create(path));
  await readAll(path, five);
});

test('a tar that was given up leaves nothing', async () => {
  const path = fresh('.tar');
  const sink = await TarSink.toFile(path);
  await sink.put({ mediaType: mediaTypes.segment, digest: `sha256:${'0'.repeat(64)}`, size: 1000 }, new Uint8Array(1000));
  await sink.abort();
  assert.equal(
    readdirSync(folder).filter((name) => name.startsWith(path.slice(folder.length + 1))),
    [],
  );
});

test('a destination that takes no more ends the writing, wherever that is', async () => {
  for (let room = 0; room < 150_000; room += 15_000) {
    let taken = 0;
    const full = new Writable({
      highWaterMark: 1 << 14,
      write(chunk: Uint8Array, _encoding, done) {
        taken += chunk.length;
        setImmediate(done, taken > room ? new Error('no more room') : null);
      },
    });
    const error = await TarSink.toStream('a pipe', full)
      .then((sink) => write(five, sink))
      .catch((reason: unknown) => reason);
    assert.instance(error, ArchiveIoError);
    assert.match((error as Error).message, 'writing a pipe failed: no more room');
  }
});

test('every flipped byte of a tar is noticed, or changes nothing that counts', async () => {
  const small = sample(2);
  const path = await inTar(small);
  const good = readFileSync(path);
  const digest = await archiveDigest(path);
  const bad = fresh('.tar');
  let unnoticed = 0;
  // Every byte of the headers and documents, and some of the segments.
  const places = [...good.keys()].filter((at) => at % 97 === 0 || good.subarray(at & ~511, (at & ~511) + 265).includes('ustar'));
  for (const at of places) {
    const bytes = Buffer.from(good);
    bytes[at] = (bytes[at] as number) ^ 0x41;
    writeFileSync(bad, bytes);
    const error = await refusal(bad).catch(() => undefined);
    if (error === undefined) {
      // Padding, or a field of a header that nobody needs, behind its checksum.
      assert.is(await archiveDigest(bad), digest, `byte ${at}`);
      await readAll(bad, small);
      unnoticed++;
    } else assert.ok(error instanceof ArchiveCorruptError || error instanceof NotAnArchiveError, `byte ${at}: ${error.stack}`);
  }
  assert.ok(unnoticed < places.length / 2, `${unnoticed} of ${places.length}`);
});

test('a tar that is cut off anywhere is noticed', async () => {
  const path = await inTar(sample(2));
  const good = readFileSync(path);
  const bad = fresh('.tar');
  // The end of a tar is two blocks of zeros, of which one says enough.
  for (let length = 0; length < good.length - 1024; length += 509) {
    writeFileSync(bad, good.subarray(0, length));
    const error = await refusal(bad);
    assert.ok(error instanceof ArchiveCorruptError || error instanceof NotAnArchiveError, `${length}: ${error.stack}`);
  }
});

const forge = (path: string, change: (manifest: ForgedManifest) => void): string => forgeManifest(path, fresh(), change);

test('what does not fit together is refused with the place', async () => {
  const path = await inDirectory(five);
  for (const [what, bad, reason] of [
    [
      'segments out of order',
      forge(path, ({ layers }) => layers.push(...layers.splice(1, 1))),
      /its segment 1 is of disk0 at byte 1048576 instead of disk0 at byte 0/,
    ],
    ['a segment that is missing', forge(path, ({ layers }) => layers.splice(3, 1)), /its segment 3 is of/],
    [
      'a segment at the end that is missing',
      forge(path, ({ layers }) => layers.pop()),
      /its segment 7 for memory at byte 0 is missing/,
    ],
    ['a segment too many', forge(path, ({ layers }) => layers.push(layers[1] as Layer)), /its segment 8 belongs to no cell/],
    [
      'the content of another cell',
      forge(path, ({ layers }) => swap(layers, 1, 5)),
      /bytes of content instead of|other content than is written/,
    ],
    [
      'no digest of the content',
      forge(path, ({ layers }) => delete layers[1]?.annotations['vnd.doppel.content']),
      /no digest of its content/,
    ],
    ['another size', forge(path, ({ layers }) => bump(layers[1] as Layer)), /bytes instead of/],
    [
      'another media type',
      forge(path, ({ layers }) => Object.assign(layers[2] as Layer, { mediaType: 'text/plain' })),
      /media type text\/plain/,
    ],
  ] as const) {
    const error = await refusal(bad);
    assert.instance(error, ArchiveCorruptError, what);
    assert.match(error.message, reason, what);
  }
  const foreign = await refusal(forge(path, ({ layers }) => layers.shift()));
  assert.instance(foreign, NotAnArchiveError);
  const { manifests } = JSON.parse(readFileSync(join(path, 'index.json'), 'utf8'));
  const manifest = JSON.parse(readFileSync(join(path, 'blobs', manifests[0].digest.replace(':', '/')), 'utf8'));
  for (const { digest } of [manifests[0], ...manifest.layers] as Layer[]) {
    const copy = fresh();
    cpSync(path, copy, { recursive: true });
    renameSync(join(copy, 'blobs', digest.replace(':', '/')), join(copy, 'elsewhere'));
    const error = await refusal(copy);
    assert.instance(error, ArchiveCorruptError);
    assert.match(error.message, new RegExp(`${digest.slice(7)} is missing`));
  }
});

function swap(layers: Layer[], one: number, two: number): void {
  const [a, b] = [layers[one] as Layer, layers[two] as Layer];
  layers[one] = { ...b, annotations: { ...a.annotations } };
  layers[two] = { ...a, annotations: { ...b.annotations } };
}

function bump(layer: Layer): void {
  layer.size += 1;
}

test('a newer version, other images and other files are told apart', async () => {
  const newer = fresh();
  const zstd = Zstd.usual();
  const sink = await DirectorySink.create(newer);
  await write(five, {
    name: newer,
    abort: () => sink.abort(),
    finish: (index) => sink.finish(index),
    put: (digest, bytes) => sink.put(digest, bytes),
  });
  const frame = await zstd.compress(Buffer.from('{"version":2,"news":true}\n'), 3);
  const digest = `sha256:${createHash('sha256').update(frame).digest('hex')}`;
  await sink.put({ mediaType: mediaTypes.layout, digest, size: frame.length }, frame);
  const version = await refusal(forge(newer, ({ layers }) => Object.assign(layers[0] as Layer, { digest, size: frame.length })));
  assert.instance(version, ArchiveVersionError);
  assert.match(version.message, /version 2/);
  const text = fresh();
  writeFileSync(text, 'hello');
  assert.instance(await refusal(text), NotAnArchiveError);
  const tar = fresh('.tar');
  execFileSync('tar', ['-cf', tar, '-C', folder, text.slice(folder.length + 1)]);
  const other = await refusal(tar);
  assert.instance(other, NotAnArchiveError);
  assert.match(other.message, /does not belong there/);
  const empty = fresh();
  mkdirSync(empty);
  assert.instance(await refusal(empty), NotAnArchiveError);
  assert.not(existsSync(join(empty, 'oci-layout')));
});

test.run();
