/** Registries, and ways to them, that fail. */
import { createHash, randomBytes } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ArchiveCorruptError } from '../../../../src/engine/archive/errors.ts';
import { RegistryClient } from '../../../../src/engine/archive/registry/client.ts';
import { download } from '../../../../src/engine/archive/registry/download.ts';
import {
  RegistryAnswerError,
  RegistryLostError,
  RegistryNotFoundError,
  RegistryTlsError,
  RegistryUnreachableError,
} from '../../../../src/engine/archive/registry/errors.ts';
import { parseReference } from '../../../../src/engine/archive/registry/reference.ts';
import { upload } from '../../../../src/engine/archive/registry/upload.ts';
import { freePort } from '../../image/nbd-certificates.ts';
import { sample } from '../samples.ts';
import { failure, opened, readAll, send } from './round-trip.ts';
import { cutter, front, type Registry, resumingRegistry, startRegistry } from './servers.ts';

const five = sample();
let registry: Registry;

test.before(async () => {
  registry = await startRegistry();
  await send(five, `oci://${registry.host}/golden`);
});
test.after(() => registry.stop());

const blob = { bytes: randomBytes(1 << 20), mediaType: 'application/octet-stream' };
const descriptor = {
  mediaType: blob.mediaType,
  digest: `sha256:${createHash('sha256').update(blob.bytes).digest('hex')}`,
  size: blob.bytes.length,
};

async function client(host: string): Promise<RegistryClient> {
  const retries = { tries: 4, firstWait: 5, longestWait: 60_000 };
  return RegistryClient.of(parseReference(`oci://${host}/parts`), { actions: 'pull,push', plainHttp: true, retries });
}

test('a download that breaks off goes on where it stopped', async () => {
  const direct = await client(registry.host);
  await upload(direct, descriptor, blob.bytes);
  direct.close();
  // Many more breaks than tries: each gets further.
  const proxy = await cutter(registry.port, { toClient: () => 100_000 });
  const ranges: (string | undefined)[] = [];
  const watch = await front(proxy.port, ({ headers }) => void ranges.push(headers.range));
  const broken = await client(watch.host);
  assert.ok(blob.bytes.equals(await download(broken, descriptor)));
  broken.close();
  assert.ok(proxy.cuts() > 8);
  assert.is(ranges.length, proxy.cuts() + 1);
  assert.ok(
    ranges.slice(1).every((range) => /^bytes=[1-9]\d+-$/.test(range ?? '')),
    ranges.join(' '),
  );
  await watch.close();
  await proxy.close();
});

test('a server that cannot go on in the middle is asked from the beginning', async () => {
  for (const status of [400, 416]) {
    const proxy = await cutter(registry.port, { toClient: (number) => (number < 1 ? 300_000 : undefined) });
    const watch = await front(proxy.port, ({ headers }) => (headers.range === undefined ? undefined : { status }));
    const broken = await client(watch.host);
    assert.ok(blob.bytes.equals(await download(broken, descriptor)));
    broken.close();
    assert.is(watch.asked.length, 3);
    await watch.close();
    await proxy.close();
  }
});

test('an upload that breaks off is begun again, also when only the last answer was lost', async () => {
  const bytes = randomBytes(1 << 20);
  const own = { ...descriptor, digest: `sha256:${createHash('sha256').update(bytes).digest('hex')}` };
  const proxy = await cutter(registry.port, { toServer: (number) => (number < 2 ? 500_000 : undefined) });
  const broken = await client(proxy.host);
  assert.is(await upload(broken, own, bytes), true);
  assert.is(proxy.cuts(), 2);
  assert.is(await upload(broken, own, bytes), false);
  assert.ok(bytes.equals(await download(broken, own)));
  broken.close();
  await proxy.close();
});

test('an upload that breaks off goes on where it stopped, if the registry knows where that is', async () => {
  const spec = await resumingRegistry();
  const proxy = await cutter(spec.port, { toServer: (number) => (number < 6 ? 150_000 : undefined) });
  const broken = await client(proxy.host);
  assert.is(await upload(broken, descriptor, blob.bytes), true);
  broken.close();
  assert.ok(blob.bytes.equals(spec.blob(descriptor.digest) as Buffer));
  const sent = spec.log.filter((line) => line.startsWith('PATCH'));
  assert.is(sent.length, 7);
  assert.ok(
    sent.slice(1).every((line) => /^PATCH [1-9]\d+-1048575$/.test(line)),
    sent.join(', '),
  );
  assert.is(spec.log.filter((line) => line === 'POST').length, 1);
  await proxy.close();
  await spec.close();
});

test('a whole archive comes through a line that breaks again and again', async () => {
  const proxy = await cutter(registry.port, {
    toServer: (number) => 40_000 + (number % 7) * 30_000,
    toClient: (number) => 30_000 + (number % 5) * 20_000,
  });
  const name = `oci://${proxy.host}/broken/line`;
  const many = sample(20);
  await send(many, name, { retries: { tries: 20, firstWait: 1, longestWait: 1000 } });
  await readAll(name, many);
  assert.ok(proxy.cuts() > 5);
  await proxy.close();
});

test('a server that asks to wait is waited for', async () => {
  let busy = 0;
  const slow = await front(registry.port, ({ url }) =>
    url.includes('/blobs/') && busy++ < 1 ? { status: 503, headers: { 'retry-after': '1' } } : undefined,
  );
  const began = performance.now();
  await readAll(`oci://${slow.host}/golden`, five);
  assert.ok(performance.now() - began >= 1000);
  const never = await front(registry.port, ({ url }) =>
    url.includes('/blobs/') ? { status: 429, headers: { 'retry-after': '3600' } } : undefined,
  );
  const error = await failure(opened(`oci://${never.host}/golden`));
  assert.instance(error, RegistryLostError);
  assert.match(error.message, /429.*asks to wait 3600 s/);
  await slow.close();
  await never.close();
});

test('what does not pass is told, with the exit code for it', async () => {
  const gone = await front(registry.port, ({ url }) => (url.includes('/blobs/') ? { status: 502 } : undefined));
  const lost = await failure(opened(`oci://${gone.host}/golden`));
  assert.instance(lost, RegistryLostError);
  assert.is((lost as RegistryLostError).exitCode, 9);
  await gone.close();
  const ill = await front(registry.port, ({ url }) => (url.includes('/blobs/') ? { status: 500, body: 'no disk' } : undefined));
  assert.instance(await failure(opened(`oci://${ill.host}/golden`)), RegistryAnswerError);
  await ill.close();
  const full = await front(registry.port, ({ method }) => (method === 'PATCH' ? { status: 413 } : undefined));
  const large = await failure(send(sample(), `oci://${full.host}/too-large`));
  assert.instance(large, RegistryAnswerError);
  assert.match((large as RegistryAnswerError).todo, 'client_max_body_size');
  await full.close();
});

test('a capture that fails leaves no tag', async () => {
  const many = sample(20);
  const proxy = await cutter(registry.port, { toServer: (number) => (number < 4 ? 60_000 : 1) });
  assert.instance(await failure(send(many, `oci://${proxy.host}/half`)), RegistryLostError);
  await proxy.close();
  assert.instance(await failure(opened(`oci://${registry.host}/half`)), RegistryNotFoundError);
  const again = await send(many, `oci://${registry.host}/half`);
  assert.ok((again.present ?? 0) > 0, 'what was sent is not sent again');
  await readAll(`oci://${registry.host}/half`, many);
});

test('who stops a capture need not wait for a server that is silent', async () => {
  const stop = new AbortController();
  const silent = await front(registry.port, () => undefined);
  const stuck = await cutter(silent.port, { toServer: () => 20_000, delay: 1 });
  setTimeout(() => stop.abort(new Error('stopped')), 200).unref();
  const slow = { retries: { tries: 50, firstWait: 60_000, longestWait: 60_000 }, signal: stop.signal };
  const error = await failure(send(sample(20), `oci://${stuck.host}/stopped`, slow));
  assert.is(error.message, 'stopped');
  await stuck.close();
  await silent.close();
});

test('nobody there is no lost connection, and is told at once', async () => {
  const nobody = `oci://127.0.0.1:${await freePort()}/golden`;
  const error = await failure(opened(nobody, { retries: { tries: 9, firstWait: 60_000, longestWait: 60_000 } }));
  assert.instance(error, RegistryUnreachableError);
  assert.is((error as RegistryUnreachableError).exitCode, 7);
});

test('a server that gives out something else than was asked for is not believed', async () => {
  const other = await front(registry.port, ({ url }) =>
    url.includes('/manifests/sha256')
      ? { status: 200, headers: { 'content-type': 'application/vnd.oci.image.manifest.v1+json' }, body: '{}' }
      : undefined,
  );
  const archive = await opened(`oci://${registry.host}/golden`);
  const error = await failure(opened(`oci://${other.host}/golden@${archive.digest}`));
  assert.instance(error, ArchiveCorruptError);
  await archive.close();
  await other.close();
});

test('TLS is spoken unless the user says otherwise', async () => {
  const error = await failure(opened(`oci://${registry.host}/golden`, { plainHttp: false }));
  assert.instance(error, RegistryTlsError);
  assert.match((error as RegistryTlsError).todo, '--plain-http');
});

test.run();
