/** Machines that come out of a pipe: nothing of it is put to use before its end was seen. */
import { randomBytes } from 'node:crypto';
import { createReadStream, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { TarSink } from '../../../src/engine/archive/tar-sink.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { capture } from './captures.ts';
import { checkFileSystem, checkGpt, filesOf, hashOf, loopsOn, tableOf, textOf } from './disk-facts.ts';
import { restorePipe } from './pipes.ts';
import { refusal, targetWithProfile } from './requests.ts';
import { copyDisk, MiB, makeSmallDisk, newFile, parts, smallSize, tool } from './small-disk.ts';

const folder = tempDir('restore-pipe');
const source = join(folder, 'source.img');
const golden = join(folder, 'golden.tar');
const regionRange = { offset: 32_768, length: 1_015_808 };

test.before(async () => {
  await makeSmallDisk(source);
  await capture(source, await TarSink.toFile(golden));
});

test('a target with a profile becomes itself from a pipe, and its region is as it was', async () => {
  const target = await targetWithProfile(folder);
  const before = hashOf(target, regionRange);
  const { plans, results } = await restorePipe(createReadStream(golden), [target]);
  assert.match(plans[0]?.warnings.join(' ') ?? '', 'shows only after the copy');
  assert.is(results[0]?.verified, 'direct');
  assert.ok((results[0]?.filesChanged ?? 0) > 5);
  assert.is(hashOf(target, regionRange), before);
  assert.is(textOf(target, parts.root, '/etc/hostname'), 'web-07\n');
  checkGpt(target);
  for (const name of ['root', 'app'] as const) checkFileSystem(target, parts[name], 'ext4');
  assert.equal([...filesOf(target, parts.app)], [...filesOf(source, parts.app)]);
  assert.equal(loopsOn(folder), []);
});

test('one pipe goes to several targets, and parts that are not wanted pass by', async () => {
  const targets = ['one.img', 'two.img'].map((name) => join(folder, name));
  for (const target of targets) newFile(target, smallSize);
  await restorePipe(createReadStream(golden), targets, { as: 'none', kinds: { skip: ['os'] } });
  for (const target of targets) assert.equal([...filesOf(target, parts.app)], [...filesOf(source, parts.app)]);
});

test('what is cut off or damaged is never committed, and the same command with all of it finishes', async () => {
  const target = await targetWithProfile(folder, 'cut.img');
  const before = hashOf(target, regionRange);
  const good = readFileSync(golden);
  const index = good.lastIndexOf('index.json');
  const flipped = Buffer.from(good);
  flipped[good.length >> 1] = (flipped[good.length >> 1] as number) ^ 1;
  for (const bytes of [good.subarray(0, good.length >> 1), flipped, good.subarray(0, index - 200), good.subarray(0, index + 4)]) {
    const error = await refusal(() => restorePipe(Readable.from([bytes]), [target]));
    assert.is(error.exitCode, 6);
    assert.match(tableOf(target), 'doppel-incomplete');
    assert.is(hashOf(target, regionRange), before);
  }
  await restorePipe(Readable.from([good]), [target]);
  assert.is(textOf(target, parts.root, '/etc/hostname'), 'web-07\n');
});

test('what would have to be looked at before is refused, and nothing is written', async () => {
  const target = join(folder, 'looked-at.img');
  newFile(target, smallSize);
  const blank = hashOf(target);
  const renamed = await refusal(() => restorePipe(createReadStream(golden), [target], { as: 'none', newGuids: true }));
  assert.is(renamed.code, 'ARCHIVE_ARRIVING');
  truncateSync(target, smallSize - 8 * MiB);
  const smaller = await refusal(() => restorePipe(createReadStream(golden), [target], { as: 'none' }));
  assert.ok(smaller.exitCode === 4, smaller.message);
  truncateSync(target, smallSize);
  assert.is(hashOf(target), blank);
  const other = join(folder, 'profile.img');
  copyDisk(join(folder, 'blank-with-profile.img'), other);
  const rootless = await refusal(() => restorePipe(createReadStream(golden), [other], { kinds: { only: ['application'] } }));
  assert.is(rootless.code, 'NO_SYSTEM');
});

test('the head of a disk without a table comes last, from a pipe too', async () => {
  const bare = join(folder, 'bare.img');
  newFile(bare, 300 * MiB);
  tool('mkfs.ext4', ['-q', bare]);
  // More than is kept of what came by.
  const random = join(folder, 'random');
  writeFileSync(random, randomBytes(100 * MiB));
  tool('debugfs', ['-w', '-R', `write ${random} random`, bare]);
  const target = join(folder, 'bare-restored.img');
  newFile(target, 300 * MiB);
  for (const segmentSize of [MiB, 8 * MiB]) {
    const tar = join(folder, `bare-${segmentSize}.tar`);
    await capture(bare, await TarSink.toFile(tar), { exact: true, segmentSize });
    truncateSync(target, 0);
    truncateSync(target, 300 * MiB);
    await restorePipe(createReadStream(tar), [target], { as: 'none' });
    tool('e2fsck', ['-f', '-n', target]);
    assert.is(hashOf(target), hashOf(bare));
  }
});

test.run();
