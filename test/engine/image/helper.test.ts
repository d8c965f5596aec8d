import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { startHelper } from '../../../src/engine/image/helper.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { firstLine, start, until } from './processes.ts';

const holder = fileURLToPath(new URL('hold-helper.ts', import.meta.url));
const { PATH = '' } = process.env;

/** A folder with a program of that name, to be found before all others. */
function program(name: string, ...lines: readonly string[]): string {
  const folder = tempDir(name);
  writeFileSync(join(folder, name), ['#!/bin/sh', ...lines, ''].join('\n'));
  chmodSync(join(folder, name), 0o755);
  return folder;
}

function lives(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Looks as qemu-nbd does: says its number in a file, and overlooks the first signal. */
const deaf = [
  'trap \'seen=$((seen + 1)); [ "$seen" -ge 2 ] && exit 3\' TERM',
  'echo $$ > "$1"; mv "$1" pid',
  'while :; do sleep 0.05; done',
];

test.after.each(() => {
  process.env.PATH = PATH;
});

test('a program that overlooks a signal while it starts ends with its owner, however that dies', async () => {
  const folder = tempDir('helper');
  process.env.PATH = `${program('qemu-nbd', ...deaf)}:${PATH}`;
  const owner = start(process.execPath, '--import', 'tsx', holder, folder);
  await firstLine(owner);
  const pid = Number(readFileSync(join(folder, 'pid'), 'utf8'));
  assert.ok(lives(pid));
  await owner.stop('SIGKILL');
  await until('it has ended', () => !lives(pid));
});

test('a program whose owner dies while it is being started does not begin', async () => {
  const folder = tempDir('helper');
  const begun = join(folder, 'begun');
  const { stdout } = spawnSync('which', ['setpriv'], { encoding: 'utf8' });
  const slow = program('setpriv', `touch ${begun}; sleep 1; echo $$ > ${begun}`, `exec ${stdout.trim()} "$@"`);
  process.env.PATH = `${program('qemu-nbd', ...deaf)}:${slow}:${PATH}`;
  const owner = start(process.execPath, '--import', 'tsx', holder, folder);
  await until('setpriv has started', () => existsSync(begun));
  await owner.stop('SIGKILL');
  await until('setpriv goes on', () => readFileSync(begun, 'utf8') !== '');
  const pid = Number(readFileSync(begun, 'utf8'));
  await until('all has ended', () => !lives(pid));
  assert.not.ok(existsSync(join(folder, 'pid')));
});

test('how a program ended is told: its status, or the signal', async () => {
  const folder = tempDir('helper');
  process.env.PATH = `${program('qemu-nbd', 'echo "$1" >&2; exit 7')}:${PATH}`;
  const failed = await startHelper('qemu-nbd', ['a reason'], folder);
  assert.not.ok(await failed.made('pid'));
  assert.equal([failed.said(), failed.ended()], ['a reason', 'qemu-nbd ended with status 7']);

  process.env.PATH = `${program('qemu-nbd', 'touch pid', 'exec sleep 1000')}:${PATH}`;
  const stopped = await startHelper('qemu-nbd', [], folder);
  assert.ok(await stopped.made('pid'));
  await stopped.stop();
  assert.is(stopped.ended(), 'qemu-nbd was ended by SIGTERM');

  process.env.PATH = `${program('qemu-nbd', "trap '' TERM", 'echo $$ > number', 'touch ready', 'while :; do sleep 0.05; done')}:${PATH}`;
  const stubborn = await startHelper('qemu-nbd', [], folder);
  assert.ok(await stubborn.made('ready'));
  await stubborn.stop(300);
  await until('it has ended', () => !lives(Number(readFileSync(join(folder, 'number'), 'utf8'))));
});

test.run();
