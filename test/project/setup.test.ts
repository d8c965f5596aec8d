import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { needRoot } from '../fixtures/privilege.ts';
import { tempDir } from '../fixtures/temp.ts';

const script = join(dirname(dirname(dirname(fileURLToPath(import.meta.url)))), 'scripts', 'setup.mjs');

/** Runs set-up where these commands are not there, in a mount namespace of its own; `aptGet` is what apt-get does. */
function setup(hidden: readonly string[], aptGet: string, asRoot: boolean): { code: number | null; said: string; apt: string } {
  needRoot();
  const folder = tempDir('setup');
  chmodSync(folder, 0o755);
  const log = join(folder, 'log');
  writeFileSync(join(folder, 'apt-get'), `#!/bin/sh\necho "$DEBIAN_FRONTEND apt-get $*" >>${log}\n${aptGet}\n`, { mode: 0o755 });
  const paths = hidden.map((name) =>
    ['/usr/sbin', '/usr/bin'].map((place) => `${place}/${name}`).find((path) => existsSync(path)),
  );
  const hide = paths.map((path) => `mount --bind /dev/null ${path}`).join(' && ');
  const asWhom = asRoot ? '' : 'setpriv --reuid 65534 --clear-groups ';
  const { status, stdout, stderr } = spawnSync(
    'unshare',
    ['--mount', 'sh', '-c', `${hide} && ${asWhom}${process.execPath} --input-type=module - --tests`],
    {
      encoding: 'utf8',
      // The folder of this project may be closed to others.
      input: readFileSync(script),
      env: { ...process.env, PATH: `${folder}:${process.env.PATH}` },
    },
  );
  return { code: status, said: stdout + stderr, apt: existsSync(log) ? readFileSync(log, 'utf8') : '' };
}

test('with everything there it says nothing and installs nothing', () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, '--tests'], { encoding: 'utf8' });
  assert.is(stdout + stderr, '');
  assert.is(status, 0);
});

test('without root it names what is missing and the packages of both families, in one error', () => {
  const { code, said, apt } = setup(['sgdisk', 'mkfs.xfs', 'qemu-img'], 'exit 0', false);
  assert.is(code, 1);
  assert.is(apt, '');
  assert.match(
    said,
    /missing: mkfs\.xfs, sgdisk, qemu-img\n.*apt-get install gdisk qemu-utils xfsprogs\n.*dnf install gdisk qemu-img xfsprogs\n/,
  );
});

test('as root on Debian it says what it installs, and installs without questions', () => {
  const { code, said, apt } = setup(['sgdisk'], '[ "$1" = install ] && umount /usr/sbin/sgdisk; true', true);
  assert.is(code, 0, said);
  assert.match(said, /^setup: sgdisk missing; installing with apt-get: gdisk\n/);
  assert.is(apt, 'noninteractive apt-get update -q\nnoninteractive apt-get install -q -y --no-install-recommends gdisk\n');
});

test('an installation that fails, or that brings nothing, is an error', () => {
  assert.match(setup(['sgdisk'], 'exit 100', true).said, /`apt-get update -q` failed/);
  const nothing = setup(['sgdisk'], 'exit 0', true);
  assert.is(nothing.code, 1);
  assert.match(nothing.said, /still missing after the installation: sgdisk/);
});

test.run();
