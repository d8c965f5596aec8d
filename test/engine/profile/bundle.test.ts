import { execFileSync } from 'node:child_process';
import { chmod, readdir } from 'node:fs/promises';
import { isDeepStrictEqual } from 'node:util';
import { deflateSync } from 'node:zlib';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { MissingToolError } from '../../../src/engine/errors.ts';
import { decodeBundle, deriveMachineId, encodeBundle, makeBundle, redactBundle } from '../../../src/engine/profile/bundle.ts';
import {
  BundleCorruptError,
  BundleNewerError,
  BundleTooLargeError,
  NothingToKeepError,
  PreviousBundleError,
} from '../../../src/engine/profile/bundle-errors.ts';
import { generateHostKeys } from '../../../src/engine/profile/host-keys.ts';
import type { Bundle } from '../../../src/engine/profile/model.ts';
import { needRoot } from '../../fixtures/privilege.ts';
import { otherId, targetId } from './memory-disk.ts';
import { failure, head, load, withFiles } from './support.ts';

// Secret files belong to root.
needRoot();

const digest = './abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789./abcdefghijklmnopqrst'.slice(0, 86);
const hash = `$6$saltsalt$${digest}`;
/** Fast to make. */
const fast = 'sshHostKeys: {types: [ed25519]}';

test('host keys are real keys of their types with the comment root@HOST, and the temporary directory is gone', async () => {
  const before = (await readdir('/dev/shm')).filter((name) => name.startsWith('doppel-keys-'));
  const bundle = await makeBundle(await load(head));
  assert.equal(
    bundle.generated.sshHostKeys.map((key) => key.type),
    ['ed25519', 'rsa', 'ecdsa'],
  );
  for (const key of bundle.generated.sshHostKeys) {
    await withFiles({ key: key.privateKey, 'key.pub': key.publicKey }, async (directory) => {
      await chmod(`${directory}/key`, 0o600);
      const fingerprint = (file: string) => execFileSync('ssh-keygen', ['-l', '-f', file], { encoding: 'utf8' });
      assert.match(fingerprint(`${directory}/key.pub`), new RegExp(` root@web-07 \\(${key.type}\\)`, 'i'));
      const derived = execFileSync('ssh-keygen', ['-y', '-P', '', '-f', `${directory}/key`], { encoding: 'utf8' });
      assert.is(derived.split(' ')[1]?.trim(), key.publicKey.split(' ')[1], 'the private key belongs to the public one');
    });
  }
  assert.equal(
    (await readdir('/dev/shm')).filter((name) => name.startsWith('doppel-keys-')),
    before,
  );
});

test('a missing ssh-keygen is named with its packages', async () => {
  const path = process.env.PATH;
  process.env.PATH = '/nonexistent';
  try {
    const error = await failure(MissingToolError, () => generateHostKeys(['ed25519'], 'web'));
    assert.is(error.code, 'TOOL_MISSING');
    assert.match(error.todo, /openssh-client .*openssh /);
  } finally {
    process.env.PATH = path;
  }
});

test('machine ids: drawn, derived or given', async () => {
  const made = async (id: string, options = {}) =>
    (await makeBundle(await load(`${head}identity: {machineId: ${id}, ${fast}}\n`), options)).generated.machineId;
  const drawn = await made('generate');
  assert.match(drawn, /^[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}$/);
  assert.not.equal(await made('generate'), drawn);
  assert.is(await made('derive', { targetId }), deriveMachineId(targetId, 'web-07'));
  assert.is(deriveMachineId(targetId, 'web-07'), '0e48b58c52b04432accff9cf3343c65f');
  assert.not.equal(deriveMachineId(otherId, 'web-07'), deriveMachineId(targetId, 'web-07'));
  const given = '0123456789abcdef0123456789abcdef';
  assert.is(await made(`"${given}"`), given);
});

test('writing a profile again changes no id and no key, unless it is asked to', async () => {
  const loaded = await load(`${head}identity: {sshHostKeys: {types: [ed25519, ecdsa]}}\n`);
  const first = await makeBundle(loaded);
  const again = await makeBundle(loaded, { previous: first });
  assert.is(again.targetId, first.targetId);
  assert.equal(again.generated, first.generated);
  const more = await makeBundle(await load(head), { previous: first });
  assert.equal(
    more.generated.sshHostKeys.filter((key) => key.type !== 'rsa'),
    first.generated.sshHostKeys,
  );
  assert.equal(
    more.generated.sshHostKeys.map((key) => key.type),
    ['ed25519', 'rsa', 'ecdsa'],
  );
  const fewer = await makeBundle(await load(`${head}identity: {${fast}}\n`), { previous: first });
  assert.equal(fewer.generated.sshHostKeys, first.generated.sshHostKeys.slice(0, 1));
  const redrawn = await makeBundle(loaded, { previous: first, regenerate: true });
  assert.is(redrawn.targetId, first.targetId);
  assert.not.equal(redrawn.generated.machineId, first.generated.machineId);
  assert.not.equal(redrawn.generated.sshHostKeys[0]?.publicKey, first.generated.sshHostKeys[0]?.publicKey);
  await failure(PreviousBundleError, () => makeBundle(loaded, { previous: first, targetId: otherId }));
});

test('keep takes over what the target had, once', async () => {
  const loaded = await load(`${head}identity: {machineId: keep, sshHostKeys: {mode: keep}}\n`);
  const machineId = '0123456789abcdef0123456789abcdef';
  const sshHostKeys = await generateHostKeys(['ed25519'], 'old');
  await failure(NothingToKeepError, () => makeBundle(loaded));
  await failure(NothingToKeepError, () => makeBundle(loaded, { kept: { machineId } }));
  await failure(NothingToKeepError, () => makeBundle(loaded, { kept: { machineId: 'uninitialized', sshHostKeys } }));
  const damaged = [{ type: 'ed25519' as const, privateKey: 'x', publicKey: 'y' }];
  await failure(NothingToKeepError, () => makeBundle(loaded, { kept: { machineId, sshHostKeys: damaged } }));
  const first = await makeBundle(loaded, { kept: { machineId, sshHostKeys } });
  assert.equal(first.generated, { machineId, sshHostKeys });
  assert.equal((await makeBundle(loaded, { previous: first })).generated, first.generated);
  assert.not.equal(
    (await makeBundle(await load(`${head}identity: {${fast}}\n`), { previous: first })).generated.machineId,
    machineId,
  );
});

/** A bundle with every kind of content. */
async function full(): Promise<Bundle> {
  return withFiles({ pw: `${hash}\n`, text: 'TOPSECRET\n' }, async (directory) => {
    for (const name of ['pw', 'text']) await chmod(`${directory}/${name}`, 0o600);
    const text = `${head}identity: {fqdn: web.example.net, ${fast}}
secrets: {pw: {file: ${directory}/pw}, text: {file: ${directory}/text}}
users: [{name: root, hashed_passwd: {secret: pw}}, {name: web, hashed_passwd: "${hash}"}, {name: x, hashed_passwd: "!"}]
write_files: [{path: /a, content: {secret: text}}, {path: /b, content: b}]
services: {enable: [nginx]}
drivers: {load: [a], options: {m: {a: 1, b: yes, c: true}}}
network:
  ethernets: {a: {match: {name: "e*"}, set-name: a, addresses: [10.0.0.1/24], gateway4: 10.0.0.2}}
  vlans: {v: {id: 1, link: a}}
  bonds: {b: {interfaces: [a], parameters: {mode: active-backup}}}
  bridges: {r: {interfaces: [v], parameters: {stp: true}}}
`;
    return makeBundle(await load(text));
  });
}

test('a bundle reads back as it was made, and holds its secrets', async () => {
  const bundle = await full();
  assert.equal(bundle.secrets, { pw: hash, text: 'TOPSECRET\n' });
  assert.ok(isDeepStrictEqual(decodeBundle(encodeBundle(bundle)), bundle));
});

test('show redacts keys, secrets and hashes, wherever they stand, and equal ones stay equal', async () => {
  const bundle = await full();
  const shown = redactBundle(bundle);
  const text = JSON.stringify(shown);
  for (const secret of ['TOPSECRET', digest, 'PRIVATE KEY']) assert.not.ok(text.includes(secret), secret);
  assert.is(shown.secrets.pw, shown.resolved.users[1]?.hashedPassword);
  assert.match(shown.secrets.pw ?? '', /^<redacted sha256:[0-9a-f]{8}>$/);
  assert.is(shown.resolved.users[2]?.hashedPassword, '!');
  assert.is(shown.generated.sshHostKeys[0]?.publicKey, bundle.generated.sshHostKeys[0]?.publicKey);
  assert.ok(shown.source.text.includes('nginx'), 'the rest of the text is shown');
});

test('show redacts a hash that the YAML text has in pieces', async () => {
  const text = `${head}vars: {salt: "$6$saltsalt", half: "${digest.slice(0, 40)}", rest: "${digest.slice(40)}"}\nidentity: {${fast}}\nusers: [{name: root, hashed_passwd: "{{ salt }}\${{ half }}{{ rest }}"}]\n`;
  const bundle = await makeBundle(await load(text));
  assert.is(bundle.resolved.users[0]?.hashedPassword, hash);
  assert.match(redactBundle(bundle).source.text, /^<redacted/);
});

const pack = (value: unknown) => deflateSync(Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)));

test('what is no bundle is a typed error', async () => {
  const bytes = encodeBundle(await full());
  await failure(BundleCorruptError, () => decodeBundle(new Uint8Array(0)));
  await failure(BundleCorruptError, () => decodeBundle(bytes.subarray(0, bytes.length - 20)));
  await failure(BundleCorruptError, () => decodeBundle(pack('{')));
  await failure(BundleCorruptError, () => decodeBundle(pack('null')));
  await failure(BundleCorruptError, () => decodeBundle(pack({})));
  await failure(BundleCorruptError, () => decodeBundle(deflateSync(Buffer.from([0x22, 0xff, 0x22]))));
  await failure(BundleNewerError, () => decodeBundle(pack({ format: 2 })));
  const bomb = await failure(BundleCorruptError, () => decodeBundle(deflateSync(Buffer.alloc(64_000_000))));
  assert.match(bomb.message, /more than 16777216 bytes/);
});

const spoils: [string, (string | number)[], unknown][] = [
  ['an unknown key', ['extra'], 1],
  ['a target id that is none', ['targetId'], 'x'],
  ['a machine id of zeros', ['generated', 'machineId'], '0'.repeat(32)],
  ['a machine id word where the id belongs', ['generated', 'machineId'], 'generate'],
  ['a host name with a newline', ['resolved', 'identity', 'hostname'], 'a\nb'],
  ['a file outside', ['resolved', 'writeFiles', 1, 'path'], '/../etc/passwd'],
  ['a secret that is missing', ['secrets', 'text'], undefined],
  ['a password that is no hash', ['secrets', 'pw'], 'x:0:0'],
  ['a user with a colon', ['resolved', 'users', 0, 'name'], 'root:x'],
  ['a unit with a slash', ['resolved', 'services', 'enable', 0], '../x.service'],
  ['an interface with a slash', ['resolved', 'network', 'vlans', '../x'], {}],
  ['an address without prefix', ['resolved', 'network', 'ethernets', 'a', 'addresses', 0], '10.0.0.1'],
  ['a module option with a newline', ['resolved', 'drivers', 'options', 'm', 'b'], 'x\ninstall y'],
  ['a key of another type', ['generated', 'sshHostKeys', 0, 'type'], 'rsa'],
  ['a key file with a second line', ['generated', 'sshHostKeys', 0, 'publicKey'], 'ssh-ed25519 AAAA\nssh-rsa AAAA\n'],
  ['a time that is none', ['written'], 'yesterday'],
];
function put(into: unknown, path: readonly (string | number)[], value: unknown): void {
  const holder = path.slice(0, -1).reduce((at, key) => (at as Record<string | number, unknown>)[key], into);
  (holder as Record<string | number, unknown>)[path.at(-1) ?? ''] = value;
}
for (const [name, path, value] of spoils) {
  test(`${name} in a stored bundle is refused`, async () => {
    const bundle = JSON.parse(JSON.stringify(await full()));
    decodeBundle(pack(bundle));
    put(bundle, path, value);
    await failure(BundleCorruptError, () => decodeBundle(pack(bundle)));
  });
}

test('JSON that unpacks to millions of values, or thousands of levels, is refused before it is parsed', async () => {
  for (const json of [
    `[${'{},'.repeat(600_000)}{}]`,
    `${'['.repeat(5000)}${']'.repeat(5000)}`,
    `{"a":"\\"","b":[${'1,'.repeat(600_000)}1]}`,
  ]) {
    const error = await failure(BundleCorruptError, () => decodeBundle(deflateSync(json)));
    assert.match(error.message, /more than 500000 values/);
  }
  const text = `{"format":1,"a":"${'[,{'.repeat(600_000)}"}`;
  assert.match((await failure(BundleCorruptError, () => decodeBundle(deflateSync(text)))).message, /targetId/);
});

test('a bundle that no reader would take is not made', async () => {
  const bundle = await full();
  await failure(BundleTooLargeError, () =>
    encodeBundle({ ...bundle, secrets: { ...bundle.secrets, big: 'x'.repeat(17_000_000) } }),
  );
});

test.run();
