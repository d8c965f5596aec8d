/** Archives in a registry with TLS and a password, as somebody types them. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { cutter, type Registry, startRegistry } from '../engine/archive/registry/servers.ts';
import { hashOf, loopsOn, textOf } from '../engine/duplicate/disk-facts.ts';
import { targetWithProfile } from '../engine/duplicate/requests.ts';
import { makeSmallDisk, newFile, parts, smallSize } from '../engine/duplicate/small-disk.ts';
import { type Certificates, makeCertificates } from '../engine/image/nbd-certificates.ts';
import { tempDir } from '../fixtures/temp.ts';
import { doppelFails, doppelOk, doppelWith, launcher } from './run-doppel.ts';

const folder = tempDir('registry-command');
const source = join(folder, 'source.img');
const logins = join(folder, 'logins.json');
let registry: Registry;
let certificates: Certificates;
let trusting: Readonly<Record<string, string>>;

test.before(async () => {
  certificates = makeCertificates();
  [registry] = await Promise.all([startRegistry({ password: true, tls: certificates.here }), makeSmallDisk(source)]);
  writeFileSync(logins, JSON.stringify({ auths: { [registry.host]: { auth: Buffer.from('anna:secret').toString('base64') } } }));
  trusting = { NODE_EXTRA_CA_CERTS: join(certificates.client, 'ca-cert.pem'), REGISTRY_AUTH_FILE: logins };
});
test.after(() => registry.stop());

async function ok(...args: string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await doppelWith(trusting, ...args);
  assert.is(exitCode, 0, stderr);
  return stdout;
}

test('a disk goes to a registry, and a target with a profile becomes itself from it', async () => {
  const golden = `oci://${registry.host}/machines/golden:1`;
  const captured = await ok('capture', source, golden);
  const [, digest] = /Digest +(sha256:[0-9a-f]{64})/.exec(captured) ?? [];
  assert.match(await ok('capture', source, `oci://${registry.host}/machines/golden:2`), /There already +(\d+) of \1 segments/);
  assert.match(await ok('inspect', golden), /source-01[\s\S]*Mounted on/);
  assert.match(await ok('archive', 'verify', golden), 'is whole');
  const target = await targetWithProfile(folder);
  const region = { offset: 32_768, length: 1_015_808 };
  const before = hashOf(target, region);
  const pinned = `oci://${registry.host}/machines/golden@${digest}`;
  assert.is(JSON.parse(await ok('restore', pinned, target, '--yes', '--json')).target, 'committed');
  assert.is(textOf(target, parts.root, '/etc/hostname'), 'web-07\n');
  assert.is(hashOf(target, region), before);
  assert.match(await ok('verify', golden, target), 'is web-07, made from');
  const copy = join(folder, 'copy.img');
  newFile(copy, smallSize);
  await ok('clone', golden, copy, '--as', 'none', '--yes');
  const whole = { offset: 0, length: smallSize };
  const direct = join(folder, 'direct.img');
  newFile(direct, smallSize);
  await doppelOk('clone', source, direct, '--as', 'none', '--yes');
  assert.is(hashOf(copy, whole), hashOf(direct, whole));
  assert.equal(loopsOn(folder), []);
});

test('who is not trusted, not let in, or not there is told apart', async () => {
  const target = join(folder, 'untouched.img');
  newFile(target, smallSize);
  const golden = `oci://${registry.host}/machines/golden`;
  const stranger = { ...trusting, NODE_EXTRA_CA_CERTS: join(certificates.stranger, 'ca-cert.pem') };
  for (const [env, exitCode, words, ...args] of [
    [stranger, 7, /certificate of .* is not trusted[\s\S]*NODE_EXTRA_CA_CERTS=/, 'inspect', `${golden}:1`],
    [
      { ...trusting, REGISTRY_AUTH_FILE: join(folder, 'none.json') },
      7,
      /refuses access[\s\S]*none\.json: run "docker login/,
      'inspect',
      `${golden}:1`,
    ],
    [trusting, 7, /speaks TLS[\s\S]*Leave --plain-http away/, 'inspect', `${golden}:1`, '--plain-http'],
    [
      trusting,
      7,
      /was not found[\s\S]*skopeo list-tags docker:\/\/127/,
      'restore',
      `${golden}:none`,
      target,
      '--as',
      'none',
      '--yes',
    ],
    [trusting, 2, /lower case/, 'restore', 'oci://h/Golden', target, '--yes'],
    [trusting, 4, /exists already/, 'capture', source, `${golden}:1`],
    [trusting, 2, /is a digest/, 'capture', source, `${golden}@sha256:${'0'.repeat(64)}`],
    [trusting, 4, /an archive in a registry/, 'clone', source, `${golden}:1`, '--as', 'none', '--yes'],
  ] as const) {
    const ended = await doppelWith(env, ...args);
    assert.is(ended.exitCode, exitCode, ended.stderr);
    assert.match(ended.stderr.replace(/\s+/g, ' '), words);
  }
  assert.is((await doppelFails('inspect', 'oci://host')).code, 'BAD_REFERENCE');
});

test('a stopped capture ends soon, leaves nothing here and no tag there, and can be done again', async () => {
  const before = readdirSync(folder);
  // So slow that it is stopped in the middle.
  const slow = await cutter(registry.port, { delay: 100 });
  writeFileSync(
    logins,
    JSON.stringify({
      auths: Object.fromEntries(
        [registry.host, slow.host].map((host) => [host, { auth: Buffer.from('anna:secret').toString('base64') }]),
      ),
    }),
  );
  const name = `oci://${slow.host}/machines/stopped`;
  const child = spawn(process.execPath, [launcher, 'capture', source, name, '--segment-size', '1M', '--progress', 'json'], {
    env: { ...process.env, ...trusting },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  for await (const piece of child.stderr) if (String(piece).includes('"phase":"capture"')) break;
  child.kill('SIGINT');
  const [, signal] = await once(child, 'exit');
  assert.is(signal, 'SIGINT');
  await slow.close();
  const there = `oci://${registry.host}/machines/stopped`;
  assert.match((await doppelWith(trusting, 'inspect', there)).stderr, 'ARCHIVE_NOT_FOUND');
  await ok('capture', source, there, '--segment-size', '1M');
  assert.equal(readdirSync(folder), before);
});

test.run();
