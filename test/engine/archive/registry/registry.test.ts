/** Archives in a registry: written, read, and copied by other tools. */
import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { encryptTo } from '../../../../src/engine/archive/age.ts';
import type { Archive } from '../../../../src/engine/archive/archive.ts';
import { ArchivedDisk } from '../../../../src/engine/archive/archived-disk.ts';
import { cellsOf } from '../../../../src/engine/archive/cells.ts';
import { checkArchive } from '../../../../src/engine/archive/check.ts';
import { DirectorySink } from '../../../../src/engine/archive/directory.ts';
import { ArchiveCorruptError, ArchiveExistsError, NotAnArchiveError } from '../../../../src/engine/archive/errors.ts';
import type { ArchivedImage } from '../../../../src/engine/archive/layout.ts';
import { openArchive } from '../../../../src/engine/archive/open.ts';
import { PinnedDestinationError, RegistryNotFoundError } from '../../../../src/engine/archive/registry/errors.ts';
import { parseReference } from '../../../../src/engine/archive/registry/reference.ts';
import { RegistrySink } from '../../../../src/engine/archive/registry/registry-sink.ts';
import type { Segment } from '../../../../src/engine/archive/segment-table.ts';
import { readSigner } from '../../../../src/engine/archive/signing-keys.ts';
import { IntervalSet } from '../../../../src/engine/protect/intervals.ts';
import { tempDir } from '../../../fixtures/temp.ts';
import { ageKey, signingKey } from '../keys.ts';
import { MiB, type Sample, sample, write } from '../samples.ts';
import { failure, readAll, send } from './round-trip.ts';
import { type Registry, startRegistry } from './servers.ts';

const folder = tempDir('registry-test');
const five = sample();
let registry: Registry;
const named = (rest: string): string => `oci://${registry.host}/${rest}`;
const plainHttp = true;

test.before(async () => {
  registry = await startRegistry();
});
test.after(() => registry.stop());

test('what is sent to a registry is read again, by its tag and by its digest', async () => {
  const written = await send(five, named('golden:1'));
  assert.is(written.present, 1, 'of two that are the same');
  await readAll(named('golden:1'), five);
  await readAll(named(`golden@${written.digest}`), five);
  const archive = await openArchive(named('golden:1'), { plainHttp });
  assert.is(archive.digest, written.digest);
  await archive.close();
});

test('what is there already is not sent again', async () => {
  const again = await send(five, named('golden:2'));
  assert.is(again.present, again.segments);
});

test('what was encrypted and signed is so in a registry, and in what skopeo copies from it', async () => {
  const [key, signer] = [ageKey(folder, 'key.txt'), signingKey(folder, 'signer')];
  const bundle = await encryptTo([key.recipient], Buffer.from('who I am'));
  const sink = await RegistrySink.create(parseReference(named('secret:1')), { plainHttp });
  const written = await write(five, sink, { recipients: [key.recipient], signer: await readSigner(signer.file), bundle });
  const copy = join(folder, 'secret.tar');
  const source = `docker://${registry.host}/secret:1`;
  execFileSync('skopeo', ['copy', '-q', '--insecure-policy', '--src-tls-verify=false', source, `oci-archive:${copy}`]);
  const access = { plainHttp, identities: [key.file], trust: [signer.publicFile], requireSigned: true };
  for (const name of [named('secret:1'), copy]) {
    const archive = await openArchive(name, access);
    assert.equal(archive.signature, { state: 'trusted', key: written.signedBy });
    assert.is(Buffer.from((await archive.bundle()) as Uint8Array).toString(), 'who I am');
    await checkArchive(archive);
    await archive.close();
  }
});

test('an archive with many manifests', async () => {
  const many = thin(1000);
  const written = await send(many, named('some/where/many'));
  assert.is(written.segments, 1000);
  const archive = await openArchive(named('some/where/many:latest'), { plainHttp });
  const disk = new ArchivedDisk(archive, many.layout.images[0] as ArchivedImage);
  const last = new Uint8Array(3 * MiB);
  await disk.read(last, disk.size - last.length);
  await disk.close();
  assert.ok(
    Buffer.from(many.contents.get('disk0') as Uint8Array)
      .subarray(-last.length)
      .equals(last),
  );
});

/** Of every MiB the first sector, always with the same content: one blob for all. */
function thin(cells: number): Sample {
  const image = { name: 'disk0', size: cells * MiB, sectorSize: 512, zero: IntervalSet.empty };
  const content = new Uint8Array(image.size);
  const ranges = Array.from({ length: cells }, (_, cell) => ({ offset: cell * MiB, length: 512 }));
  for (const { offset } of ranges) content.fill(7, offset, offset + 512);
  return {
    layout: { segmentSize: MiB, images: [{ ...image, data: IntervalSet.of(...ranges) }], machine: {} },
    contents: new Map([['disk0', content]]),
  };
}

test('skopeo shows it, copies it out, and copies in what was made elsewhere', async () => {
  const place = `docker://${registry.host}/golden:1`;
  const shown = JSON.parse(execFileSync('skopeo', ['inspect', '--tls-verify=false', place], { encoding: 'utf8' }));
  assert.is(shown.Labels['vnd.doppel.host'], 'sample');
  const { digest } = await openedAndClosed(named('golden:1'));
  assert.is(shown.Digest, digest);
  execFileSync('skopeo', ['copy', '-q', '--all', '--src-tls-verify=false', place, `oci:${join(folder, 'out')}`]);
  assert.is((await openedAndClosed(join(folder, 'out'))).digest, digest);
  await write(five, await DirectorySink.create(join(folder, 'elsewhere')));
  const to = `docker://${registry.host}/copied:by-skopeo`;
  execFileSync('skopeo', ['copy', '-q', '--all', '--dest-tls-verify=false', `oci:${join(folder, 'elsewhere')}`, to]);
  await readAll(named('copied:by-skopeo'), five);
});

async function openedAndClosed(name: string): Promise<Archive> {
  const archive = await openArchive(name, { plainHttp });
  await archive.close();
  return archive;
}

test('a tag that is there, and a digest, are no destinations', async () => {
  const exists = await failure(send(five, named('golden:1')));
  assert.instance(exists, ArchiveExistsError);
  assert.instance(await failure(send(five, named(`golden@sha256:${'0'.repeat(64)}`))), PinnedDestinationError);
});

test('an archive that moves to another tag stays what it is under its digest', async () => {
  const old = await openedAndClosed(named('golden:1'));
  const seven = sample(7);
  execFileSync('skopeo', [
    ...['copy', '-q', '--src-tls-verify=false', '--dest-tls-verify=false'],
    `docker://${registry.host}/golden:1`,
    `docker://${registry.host}/moving:tag`,
  ]);
  await write(seven, await DirectorySink.create(join(folder, 'seven')));
  const dest = `docker://${registry.host}/moving:tag`;
  execFileSync('skopeo', ['copy', '-q', '--all', '--dest-tls-verify=false', `oci:${join(folder, 'seven')}`, dest]);
  await readAll(named('moving:tag'), seven);
  await readAll(named(`moving@${old.digest}`), five);
});

test('what is not there is said to be missing', async () => {
  for (const name of ['golden:none', 'nothing/at-all', `golden@sha256:${'0'.repeat(64)}`]) {
    const error = await failure(openArchive(named(name), { plainHttp }));
    assert.instance(error, RegistryNotFoundError);
    assert.match(error.message, /unknown/);
  }
});

test('an image of a container is no archive', async () => {
  const layout = join(folder, 'container');
  execFileSync('sh', ['-c', CONTAINER, 'sh', layout]);
  execFileSync('skopeo', ['copy', '-q', '--dest-tls-verify=false', `dir:${layout}`, `docker://${registry.host}/container`]);
  const error = await failure(openArchive(named('container'), { plainHttp }));
  assert.instance(error, NotAnArchiveError, error.stack);
});

/** Of nothing but a config, as docker has it. */
const CONTAINER = `
mkdir -p "$1" && cd "$1"
printf '{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}' > config
digest=$(sha256sum config | cut -c1-64)
printf '{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{"mediaType":"application/vnd.docker.container.image.v1+json","size":%d,"digest":"sha256:%s"},"layers":[]}' "$(stat -c %s config)" "$digest" > manifest.json
mv config "$digest"
printf 'Directory Transport Version: 1.1\\n' > version
`;

const six = sample(6);

test('damage in the storage of a registry is found, with the place', async () => {
  const name = named('damaged');
  await send(six, name);
  const archive = await openedAndClosed(name);
  const [image] = archive.layout.images as [ArchivedImage];
  const segments = [...cellsOf(image, MiB)].map((cell) => archive.segment(cell));
  const file = (of: string): string => {
    const hex = of.slice('sha256:'.length);
    return join(registry.storage, 'docker/registry/v2/blobs/sha256', hex.slice(0, 2), hex, 'data');
  };
  const place = file((segments[1] as Segment).digest);
  const good = readFileSync(place);
  const damages: [RegExp, () => void][] = [
    [/has the digest/, () => writeFileSync(place, Buffer.from(good).fill(0, 100, 101))],
    [/has the digest/, () => writeFileSync(place, Buffer.from(good).reverse())],
    [/bytes instead of/, () => writeFileSync(place, good.subarray(0, -1))],
    [/bytes instead of/, () => writeFileSync(place, Buffer.concat([good, good]))],
    [/is missing/, () => rmSync(place)],
  ];
  for (const [words, damage] of damages) {
    damage();
    const error = await failure(readAll(name, six));
    assert.instance(error, ArchiveCorruptError);
    assert.match(error.message, words);
    assert.match(error.message, (segments[1] as Segment).digest.slice(7));
    writeFileSync(place, good);
  }
});

test.run();
