/** A machine that takes over who its source was, from the profile that an archive has of it. */
import { createReadStream, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { encryptTo } from '../../../src/engine/archive/age.ts';
import { DirectorySink } from '../../../src/engine/archive/directory.ts';
import { readSigner } from '../../../src/engine/archive/signing-keys.ts';
import { TarSink } from '../../../src/engine/archive/tar-sink.ts';
import { planCapture } from '../../../src/engine/duplicate/capture-plan.ts';
import { planClone } from '../../../src/engine/duplicate/make-plan.ts';
import { readStoredProfile } from '../../../src/engine/duplicate/stored-profile.ts';
import { verifyClone } from '../../../src/engine/duplicate/verify.ts';
import { openForInspection } from '../../../src/engine/layout/part-of-disk.ts';
import type { Bundle } from '../../../src/engine/profile/model.ts';
import type { Region } from '../../../src/engine/protect/region.ts';
import { planDocument } from '../../../src/ui/plan-view.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { forgeLayer, manifestOf } from '../archive/forged.ts';
import { ageKey, signingKey } from '../archive/keys.ts';
import { capture, captureRequest } from './captures.ts';
import { fingerprint, loopsOn, tableOf, textOf } from './disk-facts.ts';
import { restorePipe } from './pipes.ts';
import { clone, giveProfile, refusal, requestOf } from './requests.ts';
import { copyDisk, makeSmallDisk, newFile, parts, profileFile, smallSize } from './small-disk.ts';

const folder = tempDir('source-profile');
const at = (name: string): string => join(folder, name);
const source = at('source.img');
const golden = at('golden');
const tar = at('golden.tar');
const [own, other] = [ageKey(folder, 'own.txt'), ageKey(folder, 'other.txt')];
const access = { identities: [own.file] };
const profileTo = [own.recipient];
let region: Region;
let bundle: Bundle;

test.before(async () => {
  await makeSmallDisk(at('plain.img'));
  copyDisk(at('plain.img'), source);
  region = await giveProfile(source, profileFile(folder));
  bundle = await storedIn(source);
  await capture(source, await DirectorySink.create(golden), { profileTo });
  await capture(source, await TarSink.toFile(tar), { profileTo });
});

async function storedIn(disk: string): Promise<Bundle> {
  const image = await openForInspection(disk);
  try {
    return (await readStoredProfile(image, [region]))?.bundle as Bundle;
  } finally {
    await image.close();
  }
}

function blank(name: string): string {
  newFile(at(name), smallSize);
  return at(name);
}

const isSource = (target: string): void => {
  assert.is(textOf(target, parts.root, '/etc/hostname'), 'web-07\n');
  assert.is(textOf(target, parts.root, '/etc/machine-id'), `${bundle.generated.machineId}\n`);
  for (const { type, privateKey } of bundle.generated.sshHostKeys)
    assert.is(textOf(target, parts.root, `/etc/ssh/ssh_host_${type}_key`), privateKey);
};

test('a blank disk becomes the source: its region holds the same profile, with everything that was drawn for it', async () => {
  const target = blank('whole.img');
  const { plan } = await clone(golden, target, { as: 'source', access });
  assert.is(plan.identity.bundle?.resolved.host, 'web-07');
  assert.equal(await storedIn(target), bundle);
  isSource(target);
  const question = { source: golden, target, access, as: 'source', profiles: [], kinds: {}, exact: false } as const;
  assert.is((await verifyClone(question)).equal, true);
  assert.equal(loopsOn(folder), []);
  // The same again changes nobody.
  await clone(tar, target, { as: 'source', access });
  assert.equal(await storedIn(target), bundle);
});

test('from a pipe, too, but not where its signature would be seen only after it was believed', async () => {
  const target = blank('piped.img');
  const signer = signingKey(folder, 'signer');
  const signed = at('signed.tar');
  await capture(source, await TarSink.toFile(signed), { profileTo }, { signer: await readSigner(signer.file) });
  const strict = { ...access, trust: [signer.publicFile], requireSigned: true };
  const before = fingerprint(target);
  const error = await refusal(() => restorePipe(createReadStream(signed), [target], { as: 'source' }, strict));
  assert.is(error.code, 'ARCHIVE_ARRIVING');
  assert.is(fingerprint(target), before);
  await restorePipe(createReadStream(signed), [target], { as: 'source' }, access);
  assert.equal(await storedIn(target), bundle);
  isSource(target);
  await restorePipe(createReadStream(signed), [target], { as: 'target' }, strict);
  isSource(target);
});

test('without a profile, without the key, and with another one it is refused, and the target is as it was', async () => {
  await capture(source, await DirectorySink.create(at('without')));
  const garbage = forgeLayer(golden, at('garbage'), 1, () => garbageFile);
  const target = blank('refused.img');
  const before = fingerprint(target);
  for (const [archive, identities, code, exitCode] of [
    [at('without'), [own.file], 'SOURCE_WITHOUT_PROFILE', 4],
    [golden, [], 'ARCHIVE_ENCRYPTED', 4],
    [golden, [other.file], 'WRONG_IDENTITY', 4],
    [garbage, [own.file], 'ARCHIVE_CORRUPT', 6],
  ] as const) {
    const error = await refusal(() => planClone(requestOf(archive, target, { as: 'source', access: { identities } })));
    assert.equal([error.code, error.exitCode], [code, exitCode]);
    assert.is(fingerprint(target), before);
  }
  const error = await refusal(() => planClone(requestOf(at('without'), target, { as: 'source', access })));
  assert.match(error.todo, '--profile-to');
  // Who does not ask for it needs no key.
  await clone(golden, target, { as: 'none' });
});
const garbageFile = await encryptTo(profileTo, Buffer.from('no profile at all'));

test('a profile that was captured is nowhere but encrypted', async () => {
  const { plan } = await capture(source, await DirectorySink.create(at('again')), { profileTo });
  const secrets = bundle.generated.sshHostKeys.map(({ privateKey }) => privateKey.split('\n')[3] as string);
  const restoring = await planClone(requestOf(golden, blank('secret.img'), { as: 'source', access }));
  const told = JSON.stringify([plan, planDocument(restoring)], (_key, value) => (typeof value === 'bigint' ? `${value}` : value));
  const captured = readFileSync(tar).toString('latin1');
  for (const secret of secrets) {
    assert.ok(secret.length > 30);
    assert.not.match(told, secret);
    assert.not.match(captured, secret);
  }
  assert.equal(
    manifestOf(golden)
      .layers.slice(0, 3)
      .map(({ mediaType }) => mediaType.replace('application/vnd.doppel.', '')),
    ['layout.v1+zstd', 'bundle.v1+age', 'segment.v1+zstd'],
  );
  assert.match(plan.notes.join(), /^((?!profile of the source).)*$/);
  const { plan: without } = await capture(source, await DirectorySink.create(at('noted')));
  assert.match(without.notes.join(), '--profile-to RECIPIENT');
});

test('it goes from archive to archive for who can read it, and a source without one is refused', async () => {
  const onward = at('onward');
  await capture(golden, await DirectorySink.create(onward), { profileTo: [other.recipient], access });
  const plan = await planClone(requestOf(onward, blank('onward.img'), { as: 'source', access: { identities: [other.file] } }));
  assert.equal(plan.identity.bundle, bundle);
  const locked = await refusal(() => planCapture(captureRequest(golden, { profileTo })));
  assert.is(locked.code, 'ARCHIVE_ENCRYPTED');
  const none = await refusal(() => planCapture(captureRequest(at('plain.img'), { profileTo })));
  assert.is(none.code, 'SOURCE_WITHOUT_PROFILE');
});

test('a pipe whose layout or profile is not what its manifest names is never committed', async () => {
  const good = readFileSync(tar);
  const [layout, bundleEntry] = entriesOf(good, 2);
  const others = at('others.tar');
  await capture(source, await TarSink.toFile(others), { profileTo, segmentSize: 2 << 20 });
  const [otherLayout, otherBundle] = entriesOf(readFileSync(others), 2);
  const target = blank('swapped.img');
  for (const [what, bytes] of [
    ['another profile', replaced(good, bundleEntry as Entry, otherBundle as Entry)],
    ['another layout', replaced(good, layout as Entry, otherLayout as Entry)],
    ['no profile', replaced(good, bundleEntry as Entry, { ...(bundleEntry as Entry), bytes: Buffer.alloc(0) })],
  ] as const) {
    writeFileSync(at('swapped.tar'), bytes);
    const error = await refusal(() => restorePipe(Readable.from([bytes]), [target], { as: 'source' }, access));
    assert.ok(error.exitCode === 6 || error.code === 'SOURCE_WITHOUT_PROFILE', `${what}: ${error.stack}`);
    assert.match(tableOf(target), 'doppel-incomplete', what);
  }
});

interface Entry {
  readonly start: number;
  /** Headers, content and padding. */
  readonly bytes: Buffer;
}

/** The entries behind `oci-layout`, each with its extended header. */
function entriesOf(archive: Buffer, count: number): Entry[] {
  const entries: Entry[] = [];
  let at = 0;
  for (let start = 0; entries.length <= count; ) {
    const size = Number.parseInt(archive.toString('latin1', at + 124, at + 135), 8);
    const isHeader = archive.toString('latin1', at + 156, at + 157) === 'x';
    at += 512 + Math.ceil(size / 512) * 512;
    if (isHeader) continue;
    entries.push({ start, bytes: archive.subarray(start, at) });
    start = at;
  }
  return entries.slice(1);
}

function replaced(archive: Buffer, { start, bytes }: Entry, by: Entry): Buffer {
  return Buffer.concat([archive.subarray(0, start), by.bytes, archive.subarray(start + bytes.length)]);
}

test.run();
