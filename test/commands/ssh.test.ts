/** `doppel clone SOURCE ssh://HOST/TARGET` and archives through ssh, over a real server. */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { checkGpt, filesOf, hashOf, loopsOn, tableOf, textOf } from '../engine/duplicate/disk-facts.ts';
import { targetWithProfile } from '../engine/duplicate/requests.ts';
import {
  copyDisk,
  MiB,
  makeSmallDisk,
  newFile,
  parts,
  profileFile,
  smallSize,
  tool,
  writeInto,
} from '../engine/duplicate/small-disk.ts';
import { atEnd } from '../fixtures/cleanup.ts';
import { type Sshd, startSshd } from '../fixtures/sshd.ts';
import { tempDir } from '../fixtures/temp.ts';
import { doppel, doppelFails, doppelOk, launcher } from './run-doppel.ts';

const folder = tempDir('ssh');
const source = join(folder, 'source.img');
const remoteCommand = `${process.execPath} ${launcher}`;
const regionRange = { offset: 32_768, length: 1_015_808 };
let sshd: Sshd;

test.before(async () => {
  await makeSmallDisk(source);
  sshd = await startSshd(tempDir('sshd'));
});
test.after(() => sshd.stop());

interface Way {
  readonly ssh?: string;
  readonly command?: string;
}

function by({ ssh = sshd.ssh, command = remoteCommand }: Way, path: string, ...more: string[]): string[] {
  return [`ssh://root@127.0.0.1:${sshd.port}${path}`, '--ssh', ssh, '--remote-command', command, ...more];
}
const over = (path: string, ...more: string[]): string[] => by({}, path, ...more);

/** A program that stands for ssh: BODY, where "$SSH" are the words of the real one. */
function instead(name: string, body: string): string {
  const path = join(folder, name);
  writeFileSync(path, `#!/bin/bash\n${body.replaceAll('$SSH', sshd.ssh)}\n`, { mode: 0o755 });
  return path;
}

function blank(name: string): string {
  const path = join(folder, name);
  newFile(path, smallSize);
  return path;
}

test('a target on another computer becomes itself, and its region is as it was', async () => {
  const target = await targetWithProfile(folder);
  const before = hashOf(target, regionRange);
  const dry = await doppelOk('clone', source, ...over(target, '--dry-run'));
  assert.match(dry.stdout, 'Becomes  web-07');
  assert.match(dry.stdout, 'Nothing was written');
  assert.not.match(tableOf(target), 'doppel-incomplete');
  const { stdout } = await doppelOk('clone', source, ...over(target, '--yes', '--json'));
  const document = JSON.parse(stdout);
  assert.equal([document.target, document.host, document.result.verified], ['committed', '127.0.0.1', 'direct']);
  assert.is(textOf(target, parts.root, '/etc/hostname'), 'web-07\n');
  assert.is(hashOf(target, regionRange), before);
  checkGpt(target);
  assert.equal([...filesOf(target, parts.app)], [...filesOf(source, parts.app)]);
  assert.equal(loopsOn(folder), []);
});

test('a profile that is a file here goes over with its secrets, and makes the region there', async () => {
  const target = blank('profiled.img');
  await doppelOk('clone', source, ...over(target, '--yes', '--as', profileFile(folder)));
  assert.is(textOf(target, parts.root, '/etc/hostname'), 'web-07\n');
  assert.match((await doppelOk('profile', 'show', target)).stdout, 'web-07');
});

test('a machine with a profile goes over as itself, its profile with it', async () => {
  const [own, target] = [join(folder, 'own.img'), blank('moved.img')];
  await doppelOk('clone', source, blank('own.img'), '--yes', '--as', profileFile(folder));
  await doppelOk('clone', own, ...over(target, '--yes', '--as', 'source'));
  const shown = await Promise.all([own, target].map((image) => doppelOk('profile', 'show', image, '--json')));
  const ids = shown.map(({ stdout }) => JSON.parse(stdout).bundle?.targetId ?? JSON.parse(stdout));
  assert.equal(ids[1], ids[0]);
  assert.is(textOf(target, parts.root, '/etc/hostname'), 'web-07\n');
});

test('a capture through a pipe of ssh is restored on the other side', async () => {
  const target = blank('piped.img');
  const there = `${sshd.ssh} -p ${sshd.port} root@127.0.0.1 ${remoteCommand} restore - ${target} --as none --yes`;
  execFileSync('bash', ['-c', `set -o pipefail; ${remoteCommand} capture ${source} - | ${there}`], { stdio: 'pipe' });
  assert.equal([...filesOf(target, parts.root)], [...filesOf(source, parts.root)]);
});

test('an archive is restored onto another computer', async () => {
  const [golden, target] = [join(folder, 'golden'), blank('restored.img')];
  await doppelOk('capture', source, golden);
  await doppelOk('restore', golden, ...over(target, '--as', 'none', '--yes'));
  assert.equal([...filesOf(target, parts.root)], [...filesOf(source, parts.root)]);
});

test('a part of an archive goes into a part there', async () => {
  const target = join(folder, 'with-parts.img');
  copyDisk(source, target);
  writeInto(target, randomBytes(MiB), parts.app.offset + 2 * MiB);
  await doppelOk('restore', `${join(folder, 'golden')}#4`, ...over(`${target}#4`, '--as', 'none', '--yes', '--delta'));
  await doppelOk('verify', source, target, '--as', 'none');
});

test('--delta sends only what the target does not hold', async () => {
  const target = join(folder, 'delta.img');
  copyDisk(source, target);
  writeInto(target, Buffer.alloc(4096, 1), parts.app.offset + 2 * MiB);
  const counted = join(folder, 'counted');
  const ssh = instead('count-ssh', `tee ${counted} | $SSH "$@"`);
  const { stdout } = await doppelOk('clone', source, ...by({ ssh }, target, '--as', 'none', '--yes', '--json', '--delta'));
  assert.ok(JSON.parse(stdout).result.written <= 8 * MiB);
  assert.ok(statSync(counted).size < 9 * MiB, `${statSync(counted).size}`);
  assert.equal([...filesOf(target, parts.app)], [...filesOf(source, parts.app)]);
});

test('a connection that is cut exits with 9, and the same command goes on without sending again what has arrived', async () => {
  const target = await targetWithProfile(folder, 'cut.img');
  const before = hashOf(target, regionRange);
  const large = join(folder, 'large.img');
  copyDisk(source, large);
  const random = join(folder, 'random');
  writeFileSync(random, randomBytes(16 * MiB));
  for (const { offset } of [parts.root, parts.app])
    tool('debugfs', ['-w', '-R', `write ${random} random`, `${large}?offset=${offset}`]);
  // The real ssh is killed behind so many bytes.
  const cutter = instead(
    'cut-ssh',
    'exec 3< <(dd bs=64K count=20 status=none; head -c 20000000; kill -KILL $$)\nexec $SSH "$@" <&3',
  );
  const failure = await doppelFails('clone', large, ...by({ ssh: cutter }, target, '--yes'));
  assert.equal([failure.exitCode, failure.code], [9, 'CONNECTION_LOST'], failure.message);
  assert.match(tableOf(target), 'doppel-incomplete');
  assert.is(hashOf(target, regionRange), before);
  const [sent, whole] = [join(folder, 'sent'), join(folder, 'whole')];
  const ssh = instead('tee-ssh', `tee ${sent} | $SSH "$@"`);
  // The other side may still be about to notice.
  let again = await doppel('clone', large, ...by({ ssh }, target, '--yes'));
  for (let tries = 0; tries < 50 && again.stderr.includes('IN_USE'); tries++) {
    await setTimeout(200);
    again = await doppel('clone', large, ...by({ ssh }, target, '--yes'));
  }
  assert.is(again.exitCode, 0, again.stderr);
  const counting = instead('whole-ssh', `tee ${whole} | $SSH "$@"`);
  await doppelOk('clone', large, ...by({ ssh: counting }, blank('new.img'), '--as', 'none', '--yes'));
  assert.ok(statSync(sent).size < statSync(whole).size - 4 * MiB, `${statSync(sent).size} of ${statSync(whole).size}`);
  assert.is(textOf(target, parts.root, '/etc/hostname'), 'web-07\n');
  assert.is(hashOf(target, regionRange), before);
});

test('what could not be read here is told, and ends with 7', async () => {
  const at = parts.app.offset + 64 * 1024;
  const map = join(folder, 'lost.map');
  writeFileSync(map, `0x0 ? 1\n0 ${at} +\n${at} 1024 -\n${at + 1024} ${smallSize - at - 1024} +\n`);
  const lossy = ['--on-read-error', 'zero', '--source-map', map, '--exact', '--as', 'none', '--yes', '--json'];
  const { exitCode, stdout } = await doppel('clone', source, ...over(blank('lossy.img'), ...lossy));
  const document = JSON.parse(stdout);
  assert.equal([exitCode, document.target], [7, 'committed']);
  assert.equal([document.unreadable, document.result.unreadable.bytes], [[{ offset: at, length: 1024 }], 1024]);
});

test('between two network namespaces, a cable that is pulled in the middle is noticed, and the same command finishes', async () => {
  const [here, there] = [`doppel-a${process.pid}`, `doppel-b${process.pid}`];
  const ip = (...words: string[]): string => tool('ip', words);
  for (const name of [here, there]) {
    ip('netns', 'add', name);
    atEnd(() => ip('netns', 'del', name));
  }
  ip('link', 'add', 'cable', 'netns', here, 'type', 'veth', 'peer', 'name', 'cable', 'netns', there);
  for (const [name, address] of [
    [here, '192.0.2.1/24'],
    [there, '192.0.2.2/24'],
  ] as const) {
    ip('-n', name, 'address', 'add', address, 'dev', 'cable');
    ip('-n', name, 'link', 'set', 'cable', 'up');
  }
  const server = await startSshd(tempDir('sshd-netns'), { address: '192.0.2.2', namespace: there });
  const target = blank('elsewhere.img');
  // Behind so many pieces the cable is pulled, and everything waits for an answer that does not come.
  const pull = instead(
    'pull-ssh',
    `{ dd bs=64K count=150 status=none; ip -n ${here} link set cable down; cat; } | ip netns exec ${here} ${server.ssh} -o ServerAliveInterval=1 -o ServerAliveCountMax=2 "$@"`,
  );
  const where = `ssh://root@192.0.2.2:2222${target}`;
  const args = [where, '--remote-command', remoteCommand, '--as', 'none', '--yes'];
  const failure = await doppelFails('clone', join(folder, 'large.img'), ...args, '--ssh', pull);
  assert.equal([failure.exitCode, failure.code], [9, 'CONNECTION_LOST'], failure.message);
  assert.match(tableOf(target), 'doppel-incomplete');
  ip('-n', here, 'link', 'set', 'cable', 'up');
  const plain = instead('netns-ssh', `ip netns exec ${here} ${server.ssh} "$@"`);
  let again = await doppel('clone', join(folder, 'large.img'), ...args, '--ssh', plain);
  for (let tries = 0; tries < 100 && again.stderr.includes('IN_USE'); tries++) {
    await setTimeout(200);
    again = await doppel('clone', join(folder, 'large.img'), ...args, '--ssh', plain);
  }
  assert.is(again.exitCode, 0, again.stderr);
  assert.equal([...filesOf(target, parts.app)], [...filesOf(join(folder, 'large.img'), parts.app)]);
  server.stop();
});

test('what cannot be is refused with the reason, and nothing is written', async () => {
  const target = blank('refused.img');
  const there = hashOf(target);
  for (const [code, exitCode, ...args] of [
    ['NO_PROFILE', 4, ...over(target)],
    ['IMAGE_IO', 7, ...over(`${target}.not`, '--as', 'none')],
    ['REMOTE_MISSING', 4, ...by({ command: '/no/such/doppel' }, target, '--as', 'none')],
    ['REMOTE_NOISE', 7, ...by({ command: 'echo hello;' }, target, '--as', 'none')],
    ['SSH_FAILED', 7, ...by({ ssh: 'ssh -F none -o BatchMode=yes' }, target, '--as', 'none')],
    ['SSH_FAILED', 7, ...by({ ssh: '/no/such/ssh' }, target, '--as', 'none')],
    ['SOURCE_WITHOUT_PROFILE', 4, ...over(target, '--as', 'source')],
    ['NOT_BY_SSH', 2, ...over(target, '--as', 'none', '--new-guids')],
    ['ONE_SSH_TARGET', 2, ...over(target, '--to', 'other.img')],
    ['BAD_SSH_TARGET', 2, 'ssh://nothing'],
  ] as const) {
    const failure = await doppelFails('clone', source, ...args, '--yes');
    assert.equal([failure.code, failure.exitCode, failure.target], [code, exitCode, 'untouched'], failure.message);
  }
  const unasked = await doppel('clone', source, ...over(target, '--as', 'none'));
  assert.match(unasked.stderr, 'NO_TERMINAL (exit 4)');
  assert.is(hashOf(target), there);
});

test.run();
