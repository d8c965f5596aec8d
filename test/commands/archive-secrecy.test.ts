/** Encrypted and signed archives, and the profile of a source, as somebody types them. */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ageKey, signingKey } from '../engine/archive/keys.ts';
import { textOf } from '../engine/duplicate/disk-facts.ts';
import { copyDisk, makeSmallDisk, newFile, parts, profileFile, smallSize } from '../engine/duplicate/small-disk.ts';
import { tempDir } from '../fixtures/temp.ts';
import { doppel, doppelFails, doppelOk, launcher } from './run-doppel.ts';

const folder = tempDir('archive-secrecy');
const [plain, source, archives] = [join(folder, 'plain.img'), join(folder, 'source.img'), join(folder, 'archives')];
const golden = join(archives, 'golden.tar');
const [own, other] = [ageKey(folder, 'own.txt'), ageKey(folder, 'other.txt')];
const signer = signingKey(folder, 'signer');
const keys = ['--identity', own.file, '--trust', signer.publicFile, '--require-signed'];

test.before(async () => {
  await makeSmallDisk(plain);
  copyDisk(plain, source);
  await doppelOk('profile', 'init', source, '--yes');
  await doppelOk('profile', 'write', source, profileFile(folder), '--yes');
  execFileSync('mkdir', [archives]);
});

test('a dead machine is put back from an archive that only its operator can read', async () => {
  const secrecy = ['--encrypt-to', own.recipient, '--profile-to', own.recipient, '--sign', signer.file];
  const captured = await doppelOk('capture', source, golden, ...secrecy);
  assert.match(captured.stdout, /Encrypted +with age\nSigned by +[0-9a-f]{64}\nProfile +that of web-07, encrypted with age/);
  const target = join(folder, 'target.img');
  newFile(target, smallSize);
  const dry = await doppelOk('restore', golden, target, '--as', 'source', ...keys, '--dry-run');
  assert.match(dry.stdout, 'Becomes  web-07');
  const restored = await doppelOk('restore', golden, target, '--as', 'source', ...keys, '--yes', '--json');
  assert.is(JSON.parse(restored.stdout).target, 'committed');
  assert.is(textOf(target, parts.root, '/etc/hostname'), 'web-07\n');
  const machineId = JSON.parse(restored.stdout).plan.identity.machineId;
  assert.is(textOf(target, parts.root, '/etc/machine-id'), `${machineId}\n`);
  assert.match((await doppelOk('verify', golden, target, '--as', 'source', ...keys)).stdout, 'is web-07, made from');
  const shown = JSON.parse((await doppelOk('profile', 'show', target, '--json')).stdout);
  assert.match(JSON.stringify(shown), machineId);
});

test('what reads archives tells who signed it, and what is in it', async () => {
  const signed = /Signed by +[0-9a-f]{64} \(trusted\)\nEncrypted +with age\nProfile +that of its source/;
  assert.match((await doppelOk('inspect', golden, ...keys)).stdout, signed);
  assert.match((await doppelOk('archive', 'verify', golden, ...keys)).stdout, signed);
  const unchecked = JSON.parse((await doppelOk('inspect', golden, '--identity', own.file, '--json')).stdout).archive;
  assert.equal(
    { ...unchecked, digest: '', signature: unchecked.signature.state },
    {
      digest: '',
      signature: 'unchecked',
      encrypted: true,
      profile: true,
    },
  );
  const [unsigned, again] = [join(archives, 'unsigned'), join(archives, 'again')];
  await doppelOk('capture', plain, unsigned);
  assert.match((await doppelOk('inspect', unsigned)).stdout, /Signed +no\n/);
  await doppelOk('capture', golden, again, '--identity', own.file, '--encrypt-to', other.recipient);
  const both = ['--identity', own.file, '--identity', other.file];
  assert.match((await doppelOk('archive', 'diff', golden, again, ...both)).stdout, /equal/);
  const list = JSON.parse((await doppelOk('archive', 'list', archives, '--identity', own.file, '--json')).stdout);
  assert.equal(
    [list.archives.length, list.others.map(({ what, code }: { what: string; code: string }) => [what, code])],
    [2, [['refused', 'WRONG_IDENTITY']]],
  );
  await doppelOk('archive', 'extract', `${golden}#label=app`, join(folder, 'app.img'), '--identity', own.file);
});

test('what cannot be is refused with the reason, and leaves nothing', async () => {
  const target = join(folder, 'other-target.img');
  newFile(target, smallSize);
  const [unsigned, fresh] = [join(archives, 'unsigned'), join(folder, 'fresh.tar')];
  const before = readdirSync(folder);
  const onto = ['restore', golden, target, '--as', 'none', '--yes'];
  for (const [code, exitCode, ...args] of [
    ['ARCHIVE_ENCRYPTED', 4, ...onto],
    ['WRONG_IDENTITY', 4, ...onto, '--identity', other.file],
    ['NO_TRUSTED_KEYS', 4, ...onto, '--identity', own.file, '--require-signed', '--trust', archives],
    ['ARCHIVE_UNSIGNED', 4, 'restore', unsigned, target, '--as', 'none', '--yes', ...keys],
    ['NOTHING_SIGNED', 2, 'clone', plain, target, '--as', 'none', '--yes', ...keys],
    ['NOTHING_SIGNED', 2, 'inspect', plain, ...keys],
    ['SOURCE_WITHOUT_PROFILE', 4, 'capture', plain, fresh, '--profile-to', own.recipient],
    ['SOURCE_WITHOUT_PROFILE', 4, 'restore', unsigned, target, '--as', 'source', '--yes'],
    ['KEY_FILE', 2, 'capture', plain, fresh, '--encrypt-to', own.file],
    ['KEY_FILE', 2, 'capture', plain, fresh, '--sign', signer.publicFile],
    ['BASE_ENCRYPTED', 2, 'capture', plain, fresh, '--base', golden, '--identity', own.file],
    ['USAGE', 2, 'capture', plain, fresh, '--base', unsigned, '--encrypt-to', own.recipient],
  ] as const) {
    const failure = await doppelFails(...args);
    assert.equal([failure.code, failure.exitCode, failure.target], [code, exitCode, 'untouched'], args.join(' '));
  }
  assert.equal(readdirSync(folder), before);
});

test('a key on the command line is not repeated', async () => {
  const secret = readFileSync(own.file, 'utf8').match(/AGE-SECRET-KEY-1\S+/)?.[0] as string;
  for (const args of [
    ['inspect', golden, '--identity', secret],
    ['capture', plain, join(folder, 'fresh.tar'), '--encrypt-to', secret],
  ]) {
    const { exitCode, stderr, stdout } = await doppel(...args, '--json');
    assert.is(exitCode, 2);
    assert.not.match(stderr + stdout, secret.slice(16, 40));
  }
});

test('from a pipe nothing is committed that nobody signed', async () => {
  const target = join(folder, 'piped.img');
  newFile(target, smallSize);
  const restore = (from: string, ...flags: string[]): string => {
    const command = `${launcher} restore - ${target} --as none --yes ${flags.join(' ')} < ${from} 2>&1 || true`;
    return execFileSync('sh', ['-c', command], { encoding: 'utf8' });
  };
  const unsigned = join(folder, 'unsigned.tar');
  await doppelOk('capture', plain, unsigned);
  assert.match(restore(unsigned, ...keys), /ARCHIVE_UNSIGNED \(exit 4\), target fenced/);
  assert.match(restore(golden), /ARCHIVE_ENCRYPTED \(exit 4\), target untouched/);
  assert.match(restore(golden, ...keys), 'holds the parts of standard input');
});

test.run();
