import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { fingerprint, hashOf, loopsOn, tableOf, textOf } from '../engine/duplicate/disk-facts.ts';
import { targetWithProfile } from '../engine/duplicate/requests.ts';
import { copyDisk, makeSmallDisk, newFile, parts, profileFile, smallSize, writeInto } from '../engine/duplicate/small-disk.ts';
import { tempDir } from '../fixtures/temp.ts';
import { eventuallyEmpty, killPointsOf, runUntil } from './kill-points.ts';
import { doppel, doppelFails, doppelOk } from './run-doppel.ts';

const folder = tempDir('commands');
const source = join(folder, 'source.img');
const region = { offset: 32_768, length: 1_015_808 };
let target: string;

test.before(async () => {
  await makeSmallDisk(source);
  target = await targetWithProfile(folder);
});

test('without a terminal and without --yes a clone is refused, and nothing is written', async () => {
  const before = fingerprint(target);
  const { exitCode, stderr, stdout } = await doppel('clone', source, target);
  assert.is(exitCode, 4);
  assert.match(stderr, 'Add --yes');
  assert.match(stderr, 'NO_TERMINAL (exit 4), target untouched');
  assert.is(stdout, '');
  assert.is(fingerprint(target), before);
});

test('--dry-run prints the plan with all differences and writes nothing', async () => {
  const before = [fingerprint(target), fingerprint(source)];
  const { stdout } = await doppelOk('clone', source, target, '--dry-run');
  assert.match(stdout, 'Becomes  web-07');
  assert.match(stdout, '+web-07');
  assert.match(stdout, '-source-01');
  assert.not.match(stdout, /PRIVATE KEY/);
  const pending = await doppel('clone', source, target, '--dry-run', '--detailed-exitcode', '--json');
  assert.is(pending.exitCode, 3);
  const { plan, target: state } = JSON.parse(pending.stdout);
  assert.is(state, 'untouched');
  assert.is(plan.identity.host, 'web-07');
  assert.ok(plan.copy.bytes > 0);
  assert.equal([fingerprint(target), fingerprint(source)], before);
  assert.equal(loopsOn(folder), []);
});

test('--json prints one document on stdout, --progress json lines on stderr', async () => {
  const before = hashOf(target, region);
  const { stdout, stderr } = await doppelOk('clone', source, target, '--yes', '--json', '--progress', 'json');
  const document = JSON.parse(stdout);
  assert.is(document.target, 'committed');
  assert.is(document.plan.identity.host, 'web-07');
  assert.is(document.result.regions[0].sha256, before);
  assert.is(hashOf(target, region), before);
  const lines = stderr
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  assert.ok(lines.some(({ type, phase }) => type === 'phase' && phase === 'commit'));
  assert.ok(lines.some(({ type, done, total }) => type === 'progress' && done === total));
  assert.not.match(stdout + stderr, /PRIVATE KEY/);
  assert.is(textOf(target, parts.root, '/etc/hostname'), 'web-07\n');
});

test('--progress json without --json leaves stderr to the lines', async () => {
  const { stdout, stderr } = await doppelOk('clone', source, target, '--yes', '--progress', 'json');
  assert.match(stdout, 'is web-07');
  for (const line of stderr.trimEnd().split('\n')) assert.type(JSON.parse(line), 'object');
});

test('personalize after a clone has nothing to do; inspect tells who it is', async () => {
  const before = fingerprint(target);
  assert.match((await doppelOk('personalize', target)).stdout, 'is web-07 already');
  assert.match((await doppelOk('inspect', target)).stdout, 'web-07');
  assert.is(fingerprint(target), before);
});

test('a profile that is replaced on the way is drawn once', async () => {
  const blank = join(folder, 'blank.img');
  newFile(blank, smallSize);
  const file = profileFile(folder);
  await doppelOk('clone', source, blank, '--as', file, '--yes');
  const first = (await doppelOk('profile', 'show', blank, '--json')).stdout;
  const before = hashOf(blank, region);
  await doppelOk('clone', source, blank, '--as', file, '--yes');
  assert.is((await doppelOk('profile', 'show', blank, '--json')).stdout, first);
  assert.is(hashOf(blank, region), before);
});

test('errors come as documents with the code, what to do, and the state of the target', async () => {
  const before = fingerprint(target);
  const cases = [
    [['clone', source, source, '--yes'], 4, 'SAME_STORAGE'],
    [['clone', join(folder, 'missing.img'), target, '--yes'], 7, 'IMAGE_IO'],
    [['clone', source, target, '--kind', '9', '--yes'], 2, 'BAD_KIND'],
    [['clone', source, target, '--expect', 'colour=red', '--yes'], 2, 'BAD_EXPECTATION'],
    [['clone', source, target, '--expect', 'host=db-01', '--yes'], 4, 'UNEXPECTED_TARGET'],
    [['clone', source], 2, 'NO_TARGET'],
    [['clone', source, target, '--detailed-exitcode'], 2, 'USAGE'],
  ] as const;
  for (const [words, exitCode, code] of cases) {
    const failure = await doppelFails(...words);
    assert.is(failure.code, code, failure.message);
    assert.is(failure.exitCode, exitCode);
    assert.is(failure.target, 'untouched');
    assert.ok(failure.todo.length > 5);
    assert.is(failure.stack, undefined);
  }
  assert.is(fingerprint(target), before);
});

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  test(`${signal} in the middle cleans up, says that the target is fenced, and ends by the signal`, async () => {
    const stopped = join(folder, `${signal}.img`);
    copyDisk(await targetWithProfile(folder, 'fresh.img'), stopped);
    const command = ['clone', source, stopped, '--yes', '--progress', 'json'];
    const reference = join(folder, 'reference.img');
    copyDisk(stopped, reference);
    const points = await killPointsOf(['clone', source, reference, '--yes', '--progress', 'json']);
    const before = hashOf(stopped, region);
    for (const phase of ['copy', 'persona']) {
      const inPhase = points.filter((point) => point.phase === phase);
      const middle = inPhase[Math.floor(inPhase.length / 2)] ?? { count: 0 };
      const ended = await runUntil(middle, signal, command);
      assert.is(ended.signal, signal, `${phase}: ${ended.stderr}`);
      assert.match(ended.stderr, `Stopped by ${signal}`);
      assert.match(ended.stderr, 'target fenced');
      await eventuallyEmpty(() => loopsOn(folder));
      assert.match(tableOf(stopped), 'doppel-incomplete');
      assert.is(hashOf(stopped, region), before);
    }
    await doppelOk(...command);
    assert.is(tableOf(stopped), tableOf(reference));
    assert.is(textOf(stopped, parts.root, '/etc/hostname'), 'web-07\n');
  });
}

test('a profile with a mistake is told with line and column, and the target stays', async () => {
  const bad = profileFile(folder, (text) => text.replace('ethernets:', 'ethernet:'), 'bad.yaml');
  const failure = await doppelFails('clone', source, target, '--as', bad, '--replace-profile', '--yes');
  assert.is(failure.exitCode, 5);
  assert.match(failure.message, /bad\.yaml:\d+:\d+/);
  assert.is(failure.target, 'untouched');
});

test('a disk that holds nothing is told apart from one that cannot be read', async () => {
  const noise = join(folder, 'noise.img');
  writeFileSync(noise, '');
  assert.is((await doppelFails('clone', noise, target, '--yes')).code, 'TRUNCATED_IMAGE');
  newFile(noise, statSync(source).size);
  writeInto(noise, Buffer.from('nothing that anybody knows'), 4096);
  assert.is((await doppelFails('clone', noise, target, '--yes')).code, 'SOURCE_EMPTY');
});

test.run();
