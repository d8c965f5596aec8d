/** Archives that say who made them. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { cellsOf } from '../../../src/engine/archive/cells.ts';
import { DirectorySink } from '../../../src/engine/archive/directory.ts';
import {
  ArchiveCorruptError,
  ArchiveSignatureError,
  ArchiveUnsignedError,
  UnknownSignerError,
} from '../../../src/engine/archive/errors.ts';
import { openArchive } from '../../../src/engine/archive/open.ts';
import type { Signature, Signer } from '../../../src/engine/archive/signature.ts';
import { readSigner, readTrust } from '../../../src/engine/archive/signing-keys.ts';
import { TarSink } from '../../../src/engine/archive/tar-sink.ts';
import { ArchiveWriter } from '../../../src/engine/archive/writer.ts';
import { Zstd } from '../../../src/engine/archive/zstd.ts';
import { CorruptInputError, DoppelError } from '../../../src/engine/errors.ts';
import { IntervalSet } from '../../../src/engine/protect/intervals.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { blobIn, type ForgedManifest, flipped, forgeManifest, forgeTop, type Layer, replaceTop, topOf } from './forged.ts';
import { signingKey } from './keys.ts';
import { MiB, sample, write } from './samples.ts';

const folder = tempDir('signature');
let count = 0;
const fresh = (ending = ''): string => join(folder, `archive-${++count}${ending}`);
const [own, other] = [signingKey(folder, 'own'), signingKey(folder, 'other')];
const signer = await readSigner(own.file);
const trusting = { trust: [own.publicFile] };
const strict = { ...trusting, requireSigned: true };
const small = sample(2);

async function signedArchive(): Promise<string> {
  const path = fresh();
  await write(small, await DirectorySink.create(path), { signer });
  return path;
}

async function signatureOf(path: string, access: object): Promise<Signature | Error> {
  try {
    const archive = await openArchive(path, access);
    await archive.close();
    return archive.signature;
  } catch (error) {
    return error as Error;
  }
}

/** An archive of more segments than one manifest may have; made once. */
function wideArchive(): Promise<string> {
  wide ??= makeWideArchive(signer);
  return wide;
}
let wide: Promise<string> | undefined;

async function makeWideArchive(by: Signer): Promise<string> {
  const data = IntervalSet.of(...Array.from({ length: 1100 }, (_, i) => ({ offset: i * MiB, length: 512 })));
  const image = { name: 'disk0', size: 1100 * MiB, sectorSize: 512, data, zero: IntervalSet.empty };
  const path = fresh();
  const options = { zstd: Zstd.usual(), level: 1, platform: { architecture: 'amd64', os: 'linux' }, labels: {}, signer: by };
  const layout = { segmentSize: MiB, images: [image], machine: {} };
  const writer = await ArchiveWriter.begin(await DirectorySink.create(path), layout, options);
  for (const cell of cellsOf(image, MiB)) await writer.put(await writer.pack(cell, new Uint8Array(512)));
  await writer.finish();
  return path;
}

test('a signature is told to be of a trusted, an unknown, or an unchecked key', async () => {
  for (const path of [await signedArchive(), await wideArchive()]) {
    assert.equal(await signatureOf(path, strict), { state: 'trusted', key: signer.id });
    assert.equal(await signatureOf(path, { trust: [other.publicFile] }), { state: 'unknown', key: signer.id });
    assert.equal(await signatureOf(path, { trust: [own.publicFile, other.publicFile], requireSigned: true }), {
      state: 'trusted',
      key: signer.id,
    });
    assert.instance(await signatureOf(path, { trust: [other.publicFile], requireSigned: true }), UnknownSignerError);
  }
  const unsigned = fresh();
  await write(small, await DirectorySink.create(unsigned));
  assert.equal(await signatureOf(unsigned, trusting), { state: 'unsigned' });
  assert.instance(await signatureOf(unsigned, strict), ArchiveUnsignedError);
});

test('openssl verifies it, and makes the same key id', async () => {
  for (const path of [await signedArchive(), await wideArchive()]) {
    const document = readFileSync(blobIn(path, topOf(path).digest), 'utf8');
    const [, signature = ''] = /"vnd\.doppel\.signature":"([^"]*)"/.exec(document) ?? [];
    const unsigned = document.replace(signature, '');
    const [text, signatureFile] = [join(folder, 'text'), join(folder, 'signature')];
    writeFileSync(text, `doppel archive signature 1\nsha256:${createHash('sha256').update(unsigned).digest('hex')}\n`);
    writeFileSync(signatureFile, Buffer.from(signature, 'base64'));
    const verify = ['pkeyutl', '-verify', '-rawin', '-pubin', '-inkey', own.publicFile, '-in', text, '-sigfile', signatureFile];
    assert.match(execFileSync('openssl', verify, { encoding: 'utf8' }), 'Verified Successfully');
  }
  const raw = execFileSync('openssl', ['pkey', '-pubin', '-in', own.publicFile, '-outform', 'DER']).subarray(-32);
  assert.is(signer.id, createHash('sha256').update(raw).digest('hex'));
});

test('it is the same archive with a signature as without, but for that', async () => {
  const [one, two] = [await signedArchive(), fresh('.tar')];
  await write(small, await TarSink.toFile(two), { signer });
  assert.equal(await signatureOf(two, strict), { state: 'trusted', key: signer.id });
  const [a, b] = [await openArchive(one), await openArchive(two)];
  await Promise.all([a.close(), b.close()]);
  assert.is(a.digest, b.digest, 'ed25519 signs the same always in the same way');
});

test('a copy that skopeo makes has the signature still', async () => {
  const [path, tar, directory] = [await signedArchive(), fresh('.tar'), fresh()];
  execFileSync('skopeo', ['copy', '-q', '--insecure-policy', `oci:${path}`, `oci-archive:${tar}`]);
  execFileSync('skopeo', ['copy', '-q', '--insecure-policy', `oci-archive:${tar}`, `oci:${directory}`]);
  for (const copy of [tar, directory]) assert.equal(await signatureOf(copy, strict), { state: 'trusted', key: signer.id });
});

test('every changed byte of the signed document is noticed', async () => {
  const path = await signedArchive();
  const document = readFileSync(blobIn(path, topOf(path).digest));
  const [keyAt, signatureAt] = ['"vnd.doppel.key":"', '"vnd.doppel.signature":"'].map((name) => document.indexOf(name));
  for (let at = 0; at < document.length; at += at > (keyAt as number) - 4 ? 1 : 3) {
    replaceTop(path, flipped(document, at));
    const found = await signatureOf(path, trusting);
    const inKey = at > (keyAt as number) && at < (signatureAt as number);
    // Another key, and none: who requires a signature is told that.
    if (!(found instanceof Error)) assert.ok(inKey && found.state === 'unknown', `byte ${at}: ${JSON.stringify(found)}`);
    else assert.ok(found instanceof CorruptInputError, `byte ${at}: ${found.stack}`);
    assert.instance(await signatureOf(path, strict), DoppelError, `byte ${at}`);
  }
});

test('what somebody makes of a signed archive is not signed', async () => {
  const path = await signedArchive();
  const text = (change: (document: string) => string): string =>
    forgeTop(path, fresh(), (bytes) => Buffer.from(change(bytes.toString('utf8'))));
  const manifest = (change: (manifest: ForgedManifest) => void): string => forgeManifest(path, fresh(), change);
  const theirs = await readSigner(other.file);
  for (const [what, forged, expected] of [
    ['fewer segments', manifest(({ layers }) => layers.pop()), ArchiveSignatureError],
    ['another layer', manifest(({ layers }) => Object.assign(layers[1] as Layer, layers[2])), ArchiveSignatureError],
    ['white space', text((document) => `${document}\n`), ArchiveSignatureError],
    ['a member behind', text((document) => document.replace(/}$/, ',"layers":[]}')), ArchiveSignatureError],
    ['another order', manifest((each) => Object.assign(each.annotations, { 'org.other': 'x' })), ArchiveSignatureError],
    ['the key of somebody else', text((document) => document.replace(signer.id, theirs.id)), UnknownSignerError],
    ['a signature without its key', manifest(({ annotations }) => delete annotations['vnd.doppel.key']), ArchiveCorruptError],
    ['a key without a signature', manifest(({ annotations }) => delete annotations['vnd.doppel.signature']), ArchiveCorruptError],
    ['a signature of nothing', text((document) => document.replace(/(signature":")[^"]*/, '$1')), ArchiveSignatureError],
    ['the signature in other letters', text((document) => document.replace('=="', '==="')), ArchiveSignatureError],
    [
      'neither',
      manifest(({ annotations }) => {
        delete annotations['vnd.doppel.key'];
        delete annotations['vnd.doppel.signature'];
      }),
      ArchiveUnsignedError,
    ],
  ] as const) {
    const error = await signatureOf(forged, strict);
    assert.instance(error, expected, `${what}: ${error instanceof Error ? error.stack : error}`);
  }
});

test('a manifest of an archive of many is signed by none', async () => {
  const path = fresh();
  cpSync(await wideArchive(), path, { recursive: true });
  const { manifests } = JSON.parse(readFileSync(blobIn(path, topOf(path).digest), 'utf8'));
  writeFileSync(join(path, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [manifests[0]] }));
  assert.instance(await signatureOf(path, strict), ArchiveUnsignedError);
});

test('trusted keys come from files and folders', async () => {
  const keys = join(folder, 'keys');
  mkdirSync(keys);
  for (const key of [own, other])
    writeFileSync(join(keys, key.publicFile.slice(folder.length + 1)), readFileSync(key.publicFile));
  writeFileSync(join(keys, 'README'), 'not a key');
  const both = join(folder, 'both.pem');
  writeFileSync(both, Buffer.concat([readFileSync(own.publicFile), readFileSync(other.publicFile)]));
  for (const paths of [[keys], [both], [own.publicFile, other.publicFile]])
    assert.is((await readTrust(paths, true)).keys.size, 2, paths.join());
});

test('what is no key is refused with what to do', async () => {
  const made = (name: string, ...args: string[]): string => {
    execFileSync('openssl', ['genpkey', '-out', join(folder, name), ...args], { stdio: 'pipe' });
    return join(folder, name);
  };
  const locked = made('locked.key', '-algorithm', 'ed25519', '-aes256', '-pass', 'pass:horse');
  const rsa = made('rsa.key', '-algorithm', 'rsa', '-pkeyopt', 'rsa_keygen_bits:1024');
  const empty = join(folder, 'no-keys');
  mkdirSync(empty);
  const text = join(folder, 'text.pem');
  writeFileSync(text, '-----BEGIN PUBLIC KEY-----\nhello\n-----END PUBLIC KEY-----\n');
  for (const [action, expected] of [
    [() => readSigner(locked), /protected by a passphrase.*openssl pkey -in .*locked\.key/s],
    [() => readSigner(rsa), /type rsa.*genpkey -algorithm ed25519/s],
    [() => readSigner(own.publicFile), /no private key/],
    [() => readSigner(join(folder, 'none')), /reading .*none failed/],
    [() => readTrust([own.file], false), /private key: that is for who signs.*-pubout/s],
    [() => readTrust([text], false), /no public key that can be understood/],
    [() => readTrust([join(empty, 'x')], false), /reading .*x failed/],
    [() => readTrust([empty], true), /no key to check one with.*--trust/s],
  ] as const) {
    try {
      await action();
      assert.unreachable(String(expected));
    } catch (error) {
      if (!(error instanceof DoppelError)) throw error;
      assert.match(`${error.message}\n${error.todo}`, expected);
    }
  }
  assert.is((await readTrust([empty], false)).keys.size, 0);
});

test.run();
