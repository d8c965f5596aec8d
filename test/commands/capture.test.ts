/** `doppel capture`, `restore` and `inspect` of archives, as somebody types them. */
import { execFileSync, spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { filesOf, hashOf, loopsOn, textOf } from '../engine/duplicate/disk-facts.ts';
import { targetWithProfile } from '../engine/duplicate/requests.ts';
import { makeSmallDisk, newFile, parts, smallSize } from '../engine/duplicate/small-disk.ts';
import { tempDir } from '../fixtures/temp.ts';
import { doppel, doppelFails, doppelOk, launcher } from './run-doppel.ts';

const folder = tempDir('capture-command');
const source = join(folder, 'source.img');
const golden = join(folder, 'golden.tar');

test.before(async () => {
  await makeSmallDisk(source);
});

test('a disk becomes an archive, and a target with a profile becomes itself from it', async () => {
  const { stdout } = await doppelOk('capture', source, golden);
  assert.match(stdout, 'holds source-01');
  assert.match(stdout, /Codec +libzstd/);
  const inspected = await doppelOk('inspect', golden);
  assert.match(inspected.stdout, /Host +source-01|source-01/);
  assert.match(inspected.stdout, /Digest +sha256:[0-9a-f]{64}/);
  assert.match((await doppelOk('archive', 'verify', golden)).stdout, /is whole[\s\S]*Digest +sha256:[0-9a-f]{64}/);
  const target = await targetWithProfile(folder);
  const region = { offset: 32_768, length: 1_015_808 };
  const before = hashOf(target, region);
  const dry = await doppelOk('restore', golden, target, '--dry-run');
  assert.match(dry.stdout, 'Becomes  web-07');
  assert.match(dry.stdout, '+web-07');
  const restored = await doppelOk('restore', golden, target, '--yes', '--json');
  assert.is(JSON.parse(restored.stdout).target, 'committed');
  assert.is(textOf(target, parts.root, '/etc/hostname'), 'web-07\n');
  assert.is(hashOf(target, region), before);
  assert.match((await doppelOk('verify', golden, target)).stdout, 'is web-07, made from');
  assert.equal(loopsOn(folder), []);
});

test('through a pipe to standard output it is the same archive', async () => {
  const { stdout } = await doppelOk('capture', source, join(folder, 'again.tar'), '--json');
  execFileSync('sh', ['-c', `${launcher} capture ${source} - > ${join(folder, 'piped.tar')}`], { stdio: 'pipe' });
  execFileSync('cmp', [join(folder, 'piped.tar'), join(folder, 'again.tar')]);
  assert.match(JSON.parse(stdout).digest, /^sha256:/);
});

test('who stops reading a pipe does not have the archive, and capture says so', () => {
  const command = `${launcher} capture ${source} - | head -c 1000 > /dev/null; echo \${PIPESTATUS[0]}`;
  const { stdout, stderr } = spawnSync('bash', ['-c', command], { encoding: 'utf8' });
  assert.is(stdout, '7\n');
  assert.match(stderr, 'ARCHIVE_IO');
});

test('what cannot be is refused with the reason, and leaves nothing', async () => {
  const before = readdirSync(folder);
  const target = join(folder, 'plain.img');
  newFile(target, smallSize);
  for (const [code, exitCode, ...args] of [
    ['ARCHIVE_EXISTS', 4, 'capture', source, golden],
    ['BAD_SEGMENT_SIZE', 2, 'capture', source, 'x.tar', '--segment-size', '3M'],
    ['NOT_AN_ARCHIVE', 6, 'restore', source, target, '--as', 'none', '--yes'],
    ['NOT_AN_ARCHIVE', 6, 'archive', 'verify', source],
    ['NOT_AN_ARCHIVE', 6, 'restore', folder, target, '--as', 'none', '--yes'],
  ] as const) {
    const failure = await doppelFails(...args);
    assert.equal([failure.code, failure.exitCode], [code, exitCode]);
  }
  assert.match((await doppel('capture', source, '-', '--json')).stderr, 'OUTPUT_TAKEN (exit 2)');
  const { exitCode, stderr } = await doppel('restore', golden, target, '--yes');
  assert.is(exitCode, 4);
  assert.match(stderr, 'twin');
  assert.equal(
    readdirSync(folder).filter((name) => !before.includes(name)),
    ['plain.img'],
  );
  await doppelOk('restore', golden, target, '--as', 'none', '--yes');
  assert.equal([...filesOf(target, parts.app)], [...filesOf(source, parts.app)]);
});

test.run();
