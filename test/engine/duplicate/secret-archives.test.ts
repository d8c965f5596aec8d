/** Machines that come out of archives which are encrypted and signed. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ArchiveAccess } from '../../../src/engine/archive/access.ts';
import { readRecipients } from '../../../src/engine/archive/age-keys.ts';
import { DirectorySink } from '../../../src/engine/archive/directory.ts';
import { readSigner } from '../../../src/engine/archive/signing-keys.ts';
import { executeClone } from '../../../src/engine/duplicate/execute.ts';
import { planClone } from '../../../src/engine/duplicate/make-plan.ts';
import { verifyClone } from '../../../src/engine/duplicate/verify.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { blobIn, flipped, forgeLayer, type Layer, manifestOf, topOf } from '../archive/forged.ts';
import { ageKey, signingKey } from '../archive/keys.ts';
import { capture } from './captures.ts';
import { checkFileSystem, checkGpt, filesOf, fingerprint, hashOf, loopsOn, tableOf, textOf } from './disk-facts.ts';
import { clone, refusal, requestOf, targetWithProfile } from './requests.ts';
import { makeSmallDisk, newFile, parts, smallSize } from './small-disk.ts';

const folder = tempDir('secret-archives');
const source = join(folder, 'source.img');
const regionRange = { offset: 32_768, length: 1_015_808 };
const at = (name: string): string => join(folder, name);
const [own, other] = [ageKey(folder, 'own.txt'), ageKey(folder, 'other.txt')];
const [signing, foreign] = [signingKey(folder, 'own'), signingKey(folder, 'foreign')];
const golden = at('golden');
const access: ArchiveAccess = { identities: [own.file], trust: [signing.publicFile], requireSigned: true };

test.before(async () => {
  await makeSmallDisk(source);
  const recipients = await readRecipients([own.recipient]);
  await capture(source, await DirectorySink.create(golden), {}, { recipients, signer: await readSigner(signing.file) });
  await capture(source, await DirectorySink.create(at('unsigned')), {}, { recipients });
});

test('who has the key gets the machine, as itself, and its region is as it was', async () => {
  const target = await targetWithProfile(folder);
  const before = hashOf(target, regionRange);
  const { plan } = await clone(golden, target, { access });
  assert.is(plan.sourceSystem?.hostname, 'source-01');
  assert.is(hashOf(target, regionRange), before);
  assert.is(textOf(target, parts.root, '/etc/hostname'), 'web-07\n');
  checkGpt(target);
  checkFileSystem(target, parts.root, 'ext4');
  assert.equal([...filesOf(target, parts.app)], [...filesOf(source, parts.app)]);
  const question = { source: golden, target, access, as: 'target', profiles: [], kinds: {}, exact: false } as const;
  const outcome = await verifyClone(question);
  assert.is(outcome.equal, true, JSON.stringify(outcome, undefined, 1));
  assert.equal(loopsOn(target), []);
});

test('--delta compares by digests that only the layout explains', async () => {
  const target = at('delta.img');
  newFile(target, smallSize);
  const first = await clone(golden, target, { as: 'none', access });
  const { result } = await clone(golden, target, { as: 'none', delta: true, access });
  assert.is(result.written, 0);
  assert.ok(result.same >= first.result.written);
});

test('who lacks the right keys is refused before anything is written', async () => {
  const target = await targetWithProfile(folder, 'refused.img');
  const before = fingerprint(target);
  for (const [archive, how, code, exitCode] of [
    [golden, {}, 'ARCHIVE_ENCRYPTED', 4],
    [golden, { identities: [other.file] }, 'WRONG_IDENTITY', 4],
    [golden, { ...access, trust: [foreign.publicFile] }, 'UNKNOWN_SIGNER', 4],
    [at('unsigned'), access, 'ARCHIVE_UNSIGNED', 4],
    [golden, { ...access, trust: [source] }, 'KEY_FILE', 2],
    [source, access, 'NOTHING_SIGNED', 2],
  ] as const) {
    const error = await refusal(() => planClone(requestOf(archive, target, { access: how })));
    assert.equal([error.code, error.exitCode], [code, exitCode]);
    assert.is(fingerprint(target), before);
  }
});

test('whatever byte is changed, the machine is never finished, and the region stays', async () => {
  const target = await targetWithProfile(folder, 'changed.img');
  const before = hashOf(target, regionRange);
  const { layers } = manifestOf(golden);
  const top = topOf(golden).digest;
  const [layout, segment] = [layers[0], layers[9]] as [Layer, Layer];
  const inFile = (digest: string, find: (bytes: Buffer) => number): [string, number] => {
    const file = blobIn(golden, digest);
    return [file, find(readFileSync(file))];
  };
  const payload = (bytes: Buffer): number => bytes.indexOf('\n', bytes.indexOf('\n--- ') + 1) + 1;
  const behind = (text: string) => (bytes: Buffer) => bytes.indexOf(text) + text.length + 2;
  const places: Record<string, [string, number]> = {
    'header of the layout': inFile(layout.digest, behind('X25519')),
    'payload of the layout': inFile(layout.digest, (bytes) => payload(bytes) + 40),
    'header of a segment': inFile(segment.digest, behind('X25519')),
    'checksum of a header': inFile(segment.digest, behind('\n--- ')),
    'nonce of a segment': inFile(segment.digest, payload),
    'payload of a segment': inFile(segment.digest, (bytes) => payload(bytes) + 40),
    'last byte of a segment': inFile(segment.digest, (bytes) => bytes.length - 1),
    signature: inFile(top, behind('"vnd.doppel.signature":"')),
    key: inFile(top, behind('"vnd.doppel.key":"')),
    'digest in the manifest': inFile(top, behind('"digest":"sha256:')),
    index: [join(golden, 'index.json'), readFileSync(join(golden, 'index.json')).indexOf('sha256:') + 10],
  };
  for (const [what, [file, offset]] of Object.entries(places)) {
    const good = readFileSync(file);
    writeFileSync(file, flipped(good, offset));
    try {
      const error = await refusal(async () => executeClone(await planClone(requestOf(golden, target, { as: 'none', access }))));
      assert.is(error.exitCode, 6, `${what}: ${error.stack}`);
      assert.match(error.message, /blobs\/sha256|index\.json/, what);
    } finally {
      writeFileSync(file, good);
    }
    assert.is(hashOf(target, regionRange), before, what);
    if (what.includes('segment')) assert.match(tableOf(target), 'doppel-incomplete', what);
  }
  await clone(golden, target, { as: 'none', access });
  assert.equal([...filesOf(target, parts.root)], [...filesOf(source, parts.root)]);
  assert.is(hashOf(target, regionRange), before);
});

test('who forges all digests as well is found out by age, or by the signature', async () => {
  const target = await targetWithProfile(folder, 'forged.img');
  const before = hashOf(target, regionRange);
  const change = (bytes: Buffer): Uint8Array => flipped(bytes, bytes.length - 30);
  const unsigned = forgeLayer(at('unsigned'), at('forged-unsigned'), 9, change);
  const error = await refusal(async () => clone(unsigned, target, { as: 'none', access: { identities: [own.file] } }));
  assert.equal([error.code, error.exitCode], ['ARCHIVE_CORRUPT', 6]);
  assert.match(error.message, /blobs\/sha256\/[0-9a-f]{64} was changed/);
  assert.match(tableOf(target), 'doppel-incomplete');
  assert.is(hashOf(target, regionRange), before);
  const untouched = await targetWithProfile(folder, 'untouched.img');
  const all = fingerprint(untouched);
  const signed = forgeLayer(golden, at('forged-signed'), 9, change);
  for (const requireSigned of [true, false]) {
    const refused = await refusal(() => planClone(requestOf(signed, untouched, { access: { ...access, requireSigned } })));
    assert.equal([refused.code, refused.exitCode], ['ARCHIVE_SIGNATURE', 6]);
  }
  assert.is(fingerprint(untouched), all);
});

test.run();
