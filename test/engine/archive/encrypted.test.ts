/** Archives that only their owners can read. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { encryptTo } from '../../../src/engine/archive/age.ts';
import { type Cell, cellsOf } from '../../../src/engine/archive/cells.ts';
import { checkArchive } from '../../../src/engine/archive/check.ts';
import { contentDigest } from '../../../src/engine/archive/content-digest.ts';
import { DirectorySink } from '../../../src/engine/archive/directory.ts';
import { ArchiveCorruptError, ArchiveEncryptedError, WrongIdentityError } from '../../../src/engine/archive/errors.ts';
import { encodeLayout } from '../../../src/engine/archive/layout.ts';
import { mediaTypes } from '../../../src/engine/archive/oci.ts';
import { openArchive } from '../../../src/engine/archive/open.ts';
import { TarSink } from '../../../src/engine/archive/tar-sink.ts';
import { Zstd } from '../../../src/engine/archive/zstd.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { blobIn, flipped, forgeLayer, forgeManifest, type Layer, manifestOf } from './forged.ts';
import { ageKey } from './keys.ts';
import { sample, write } from './samples.ts';

const folder = tempDir('encrypted');
let count = 0;
const fresh = (ending = ''): string => join(folder, `archive-${++count}${ending}`);
const [own, other] = [ageKey(folder, 'own.txt'), ageKey(folder, 'other.txt')];
const five = sample();
const access = { identities: [own.file] };

async function encrypted(): Promise<string> {
  const path = fresh();
  await write(five, await DirectorySink.create(path), { recipients: [own.recipient] });
  return path;
}

async function readAll(path: string, how: { readonly identities?: readonly string[] } = access): Promise<void> {
  const archive = await openArchive(path, how);
  try {
    await checkArchive(archive);
  } finally {
    await archive.close();
  }
}

async function refusal(path: string, how?: { readonly identities?: readonly string[] }): Promise<Error> {
  try {
    await readAll(path, how);
  } catch (error) {
    return error as Error;
  }
  throw new Error(`${path} was read without an error`);
}

test('every blob with something of the machine is an age file around what a plain archive has', async () => {
  const [path, plain] = [await encrypted(), fresh()];
  await write(five, await DirectorySink.create(plain));
  const [secret, open] = [manifestOf(path), manifestOf(plain)];
  const opened = secret.layers.map(({ digest }) =>
    execFileSync('age', ['-d', '-i', own.file, blobIn(path, digest)], { maxBuffer: 1 << 30 }),
  );
  for (const frame of opened) execFileSync('zstd', ['-q', '-t'], { input: frame });
  assert.equal(
    opened.slice(1).map((frame) => frame.toString('base64')),
    open.layers.slice(1).map(({ digest }) => readFileSync(blobIn(plain, digest)).toString('base64')),
  );
  assert.equal(
    [...new Set(secret.layers.map(({ mediaType }) => mediaType))],
    ['application/vnd.doppel.layout.v1+zstd+age', 'application/vnd.doppel.segment.v1+zstd+age'],
  );
  assert.equal(JSON.parse(readFileSync(blobIn(path, secret.config.digest), 'utf8')).config.Labels, {});
});

test('the digests of the content tell nothing without the salt in the layout', async () => {
  const path = await encrypted();
  const archive = await openArchive(path, access);
  const [disk] = archive.layout.images as [(typeof archive.layout.images)[number]];
  const [cell] = [...cellsOf(disk, archive.layout.segmentSize)] as [Cell];
  const content = await archive.content(cell);
  const said = archive.segment(cell).content;
  await archive.close();
  assert.is(archive.layout.salt?.length, 32);
  assert.is.not(said, contentDigest(content));
  assert.is(said, contentDigest(Buffer.concat([archive.layout.salt as Uint8Array, content])));
  const again = await openArchive(await encrypted(), access);
  await again.close();
  assert.not.equal(again.layout.salt, archive.layout.salt);
});

test('it is read with any of the identities that it is for, from a directory and a tar', async () => {
  const tar = fresh('.tar');
  await write(five, await TarSink.toFile(tar), { recipients: [other.recipient, own.recipient] });
  await readAll(tar);
  await readAll(tar, { identities: [other.file] });
  await readAll(await encrypted(), { identities: [other.file, own.file] });
});

test('without an identity, and with others, it is refused', async () => {
  const path = await encrypted();
  assert.instance(await refusal(path, {}), ArchiveEncryptedError);
  assert.instance(await refusal(path, { identities: [other.file] }), WrongIdentityError);
});

test('whatever is changed in the age files of segments and layout is damage, with its place', async () => {
  const path = await encrypted();
  const { layers } = manifestOf(path);
  const bytes = readFileSync(blobIn(path, (layers[2] as Layer).digest));
  const mac = bytes.indexOf('\n--- ') + 5;
  const nonce = bytes.indexOf('\n', mac) + 1;
  const places = {
    version: 3,
    'kind of stanza': bytes.indexOf('X25519') + 1,
    'share of stanza': bytes.indexOf('X25519 ') + 9,
    'file key': bytes.indexOf('\n', bytes.indexOf('X25519')) + 4,
    mac,
    nonce,
    payload: nonce + 16,
    'later payload': nonce + ((bytes.length - nonce) >> 1),
    'last tag': bytes.length - 1,
  };
  for (const [what, at] of Object.entries(places)) {
    const segment = await refusal(forgeLayer(path, fresh(), 2, (blob) => flipped(blob, at)));
    assert.instance(segment, ArchiveCorruptError, what);
    assert.match(segment.message, /blobs\/sha256\/[0-9a-f]{64}/, what);
    // Of the layout it cannot be told whether it is damaged or for others.
    const layout = await refusal(forgeLayer(path, fresh(), 0, (blob) => flipped(blob, Math.min(at, blob.length - 1))));
    assert.ok(layout instanceof ArchiveCorruptError || layout instanceof WrongIdentityError, `${what}: ${layout.stack}`);
  }
  assert.instance(await refusal(forgeLayer(path, fresh(), 2, (blob) => blob.subarray(0, -20))), ArchiveCorruptError);
});

test('segments that are for others, not encrypted, or of another cell are damage', async () => {
  const path = await encrypted();
  const zstd = Zstd.usual();
  const forOthers = await encryptTo([other.recipient], await zstd.compress(new Uint8Array(1 << 20), 3));
  assert.match((await refusal(forgeLayer(path, fresh(), 2, () => forOthers))).message, /damaged: .*was encrypted to others/);
  const plain = await zstd.compress(new Uint8Array(1 << 20), 3);
  assert.match((await refusal(forgeLayer(path, fresh(), 2, () => plain))).message, /is not encrypted with age/);
  const forSelf = await encryptTo([own.recipient], await zstd.compress(new Uint8Array((1 << 20) - 4096), 3));
  assert.match((await refusal(forgeLayer(path, fresh(), 1, () => forSelf))).message, /bytes of content instead of/);
  const sameSize = await encryptTo([own.recipient], await zstd.compress(new Uint8Array(1 << 20), 3));
  assert.match((await refusal(forgeLayer(path, fresh(), 2, () => sameSize))).message, /has other content than is written/);
  const typed = forgeManifest(path, fresh(), ({ layers }) =>
    Object.assign(layers[2] as Layer, { mediaType: mediaTypes.segment }),
  );
  assert.match((await refusal(typed)).message, /its segment 2 has the media type/);
});

test('a layout that pretends to be encrypted, or not, is damage', async () => {
  const path = await encrypted();
  const unsalted = await Zstd.usual().compress(encodeLayout(five.layout), 3);
  const withoutSalt = await encryptTo([own.recipient], unsalted);
  assert.match((await refusal(forgeLayer(path, fresh(), 0, () => withoutSalt))).message, /has no salt/);
  assert.match((await refusal(forgeLayer(path, fresh(), 0, () => unsalted))).message, /has the media type .*age/);
  const renamed = forgeManifest(path, fresh(), ({ layers }) =>
    Object.assign(layers[0] as Layer, { mediaType: mediaTypes.layout }),
  );
  assert.instance(await refusal(renamed), ArchiveCorruptError);
  const salted = await Zstd.usual().compress(encodeLayout({ ...five.layout, salt: new Uint8Array(32) }), 3);
  const plain = fresh();
  await write(five, await DirectorySink.create(plain));
  assert.match((await refusal(forgeLayer(plain, fresh(), 0, () => salted))).message, /has a salt, and is not encrypted/);
});

test('a bundle stands beside the layout, and only who it is for can read it', async () => {
  const bundle = await encryptTo([other.recipient], Buffer.from('who I am'));
  for (const recipients of [undefined, [own.recipient]]) {
    const path = fresh();
    await write(five, await DirectorySink.create(path), { bundle, ...(recipients === undefined ? {} : { recipients }) });
    assert.is(manifestOf(path).layers[1]?.mediaType, 'application/vnd.doppel.bundle.v1+age');
    await readAll(path);
    for (const [identities, expected] of [
      [[own.file, other.file], 'who I am'],
      [[own.file], WrongIdentityError],
    ] as const) {
      const archive = await openArchive(path, { identities });
      const found = await archive.bundle().then(
        (bytes) => Buffer.from(bytes as Uint8Array).toString(),
        (error: Error) => error,
      );
      await archive.close();
      if (typeof expected === 'string') assert.is(found, expected);
      else assert.instance(found, expected);
    }
  }
});

test('a bundle that was changed is damage, also for who cannot read it', async () => {
  const path = fresh();
  const bundle = await encryptTo([other.recipient], Buffer.from('who I am'));
  await write(five, await DirectorySink.create(path), { bundle });
  const { layers } = manifestOf(path);
  const bad = forgeLayer(path, fresh(), 1, (blob) => flipped(blob, blob.length - 1));
  const archive = await openArchive(bad, { identities: [other.file] });
  const error = await archive.bundle().catch((reason: Error) => reason);
  await archive.close();
  assert.instance(error, ArchiveCorruptError);
  const second = forgeManifest(path, fresh(), (manifest) => manifest.layers.push(layers[1] as Layer));
  assert.instance(await refusal(second, {}), ArchiveCorruptError);
  const missing = forgeManifest(path, fresh(), (manifest) =>
    Object.assign(manifest.layers[1] as Layer, { digest: `sha256:${'0'.repeat(64)}` }),
  );
  assert.match((await refusal(missing, {})).message, /is missing/);
});

test.run();
