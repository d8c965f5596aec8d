import { readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { executeClone } from '../../../src/engine/duplicate/execute.ts';
import { planClone } from '../../../src/engine/duplicate/make-plan.ts';
import type { EngineEvent } from '../../../src/engine/events.ts';
import { attachLoop, mount } from '../../fixtures/loop.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { filesOf, hashOf } from './disk-facts.ts';
import { attempt, type Served, serve } from './faulty.ts';
import { refusal, requestOf, targetWithProfile } from './requests.ts';
import { copyDisk, MiB, makeSmallDisk, newFile, parts, smallSize, tool, writeInto } from './small-disk.ts';

const folder = tempDir('faults-target');
const source = join(folder, 'source.img');
const at = (name: string) => join(folder, name);
const regionRange = { offset: 32_768, length: 1_015_808 };

test.before(() => makeSmallDisk(source));

function blank(name: string, size: number = smallSize): string {
  newFile(at(name), size);
  return at(name);
}

function checkWhole(target: string): void {
  for (const name of ['root', 'app'] as const) assert.equal([...filesOf(target, parts[name])], [...filesOf(source, parts[name])]);
}

const starting = (phase: string) => (event: EngineEvent) => event.type === 'phase' && event.phase === phase;

/** nbdkit whose writes and zeroings fail as long as the file `trigger` is there. */
async function failingWrites(file: string, error: string, trigger: string): Promise<Served> {
  const when = ['pwrite', 'zero'].flatMap((what) => [
    `error-${what}=${error}`,
    `error-${what}-rate=1`,
    `error-${what}-file=${trigger}`,
  ]);
  return serve(`${trigger}.socket`, '--filter=error', 'file', file, ...when);
}

const copied = (event: EngineEvent): boolean => event.type === 'progress' && event.phase === 'copy';

for (const code of ['EIO', 'ENOSPC']) {
  test(`${code} of a write in the middle leaves the target fenced, and the same command finishes it when that is over`, async () => {
    const file = await targetWithProfile(folder, `${code}.img`);
    const region = hashOf(file, regionRange);
    const trigger = at(`${code}-now`);
    const server = await failingWrites(file, code, trigger);
    const failed = await attempt(source, server.uri, {}, (event) => copied(event) && writeFileSync(trigger, ''));
    assert.is(failed.error?.code, 'IMAGE_IO');
    assert.is(failed.error?.exitCode, 7);
    assert.match(failed.error?.message ?? '', /^(write|zero) of \d+ bytes at byte \d+ failed on nbd\+unix:/);
    assert.is(failed.state, 'fenced');
    assert.is(hashOf(file, regionRange), region);
    rmSync(trigger);
    assert.is((await attempt(source, server.uri)).state, 'committed');
    assert.is(hashOf(file, regionRange), region);
    checkWhole(file);
    await server.stop();
  });
}

test('a server that dies under the copy is a lost connection, and the same command finishes when it is back', async () => {
  const file = blank('dies.img');
  const server = await serve(at('dies.socket'), '--filter=delay', 'file', file, 'delay-write=20ms');
  const stateDir = { path: at('states'), required: true };
  let gone: Promise<void> | undefined;
  const failed = await attempt(source, server.uri, { stateDir }, (event) => {
    if (copied(event)) gone ??= server.stop('SIGKILL');
  });
  await gone;
  assert.is(failed.error?.exitCode, 9);
  assert.is(failed.error?.code, 'NBD_CONNECTION_LOST');
  assert.is(failed.state, 'fenced');
  await server.restart();
  assert.is((await attempt(source, server.uri, { stateDir })).state, 'committed');
  checkWhole(file);
  await server.stop();
});

test('a target that does not keep what it was given is found out, with the place, and stays fenced', async () => {
  const file = blank('wrong.img');
  const server = await serve(at('wrong.socket'), 'file', file);
  const place = readFileSync(source).indexOf('a large file that is not compressible', parts.app.offset) + MiB;
  const { error, state } = await attempt(source, server.uri, {}, (event) => {
    if (starting('verify')(event)) writeInto(file, Buffer.from([1]), place);
  });
  assert.is(error?.exitCode, 8);
  assert.is(error?.code, 'TARGET_DIFFERS');
  assert.equal(error?.data, { range: { offset: place, length: 1 }, part: 'partition 4 ("app")' });
  assert.is(state, 'fenced');
  assert.is((await attempt(source, server.uri)).state, 'committed');
  checkWhole(file);
  await server.stop();
});

test('a server that is smaller than it was is refused before anything is written', async () => {
  const file = blank('shrinks.img');
  const socket = at('shrinks.socket');
  const server = await serve(socket, 'file', file);
  const plan = await planClone(requestOf(source, server.uri, { as: 'none' }));
  await server.stop();
  const smaller = await serve(socket, '--filter=truncate', 'file', file, 'truncate=60M');
  const changed = await refusal(() => executeClone(plan));
  assert.is(changed.exitCode, 4);
  assert.is(changed.code, 'PLAN_OUTDATED');
  const small = await refusal(() => planClone(requestOf(source, smaller.uri, { as: 'none' })));
  assert.is(small.exitCode, 4);
  assert.is(tool('du', [file]).split('\t')[0], '0');
  await smaller.stop();
});

test('a slow server takes its time', async () => {
  const file = blank('slow.img');
  const server = await serve(at('slow.socket'), '--filter=delay', 'file', file, 'rdelay=5ms', 'wdelay=10ms');
  assert.is((await attempt(source, server.uri)).state, 'committed');
  checkWhole(file);
  await server.stop();
});

test('a loop device whose file has no space below it ends with an error, and is finished when there is space', async () => {
  const small = mount('none', 'tmpfs', 'size=8m');
  const file = join(small.path, 'target.img');
  newFile(file, smallSize);
  const loop = attachLoop(file);
  try {
    const failed = await attempt(source, loop.device);
    assert.is(failed.error?.exitCode, 7);
    assert.match(failed.error?.message ?? '', /EIO|ENOSPC/);
    assert.is(failed.state, 'fenced');
    tool('mount', ['-o', 'remount,size=80m', small.path]);
    assert.is((await attempt(source, loop.device)).state, 'committed');
    checkWhole(file);
  } finally {
    loop.detach();
    small.unmount();
  }
});

test('a file that has no space is not begun', async () => {
  const small = mount('none', 'tmpfs', 'size=8m');
  const file = join(small.path, 'target.img');
  newFile(file, smallSize);
  const { error, state } = await attempt(source, file);
  assert.is(error?.exitCode, 7);
  assert.match(error?.message ?? '', 'ENOSPC');
  assert.is(state, 'untouched');
  assert.is(tool('du', [file]).split('\t')[0], '0');
  small.unmount();
});

test('a file that is cut off under the copy is not taken for a clone', async () => {
  const file = blank('cut.img');
  const { error, state } = await attempt(source, file, {}, (event) => {
    if (starting('verify')(event)) truncateSync(file, 30 * MiB);
  });
  assert.ok(error?.exitCode === 7 || error?.exitCode === 8, `${error?.exitCode}`);
  assert.is(state, 'fenced');
});

test('a loop device whose file is cut off under the copy is not taken for a clone', async () => {
  const file = blank('cut-below.img');
  const loop = attachLoop(file);
  try {
    const { error, state } = await attempt(source, loop.device, {}, (event) => {
      if (starting('verify')(event)) truncateSync(file, 30 * MiB);
    });
    assert.ok(error?.exitCode === 7 || error?.exitCode === 8, `${error?.exitCode}`);
    assert.is(state, 'fenced');
  } finally {
    loop.detach();
  }
});

test('a loop device of the source whose file is cut off while it is copied is noticed', async () => {
  const file = at('source-cut.img');
  copyDisk(source, file);
  const loop = attachLoop(file);
  const target = blank('of-cut.img');
  try {
    const { error, state } = await attempt(loop.device, target, { readErrors: 'zero' }, (event) => {
      if (starting('copy')(event)) truncateSync(file, parts.app.offset);
    });
    assert.is(error?.exitCode, 7);
    assert.is(error?.code, 'IMAGE_SHRUNK');
    assert.is(state, 'fenced');
    const before = await refusal(() => planClone(requestOf(loop.device, blank('of-short.img'), { as: 'none' })));
    assert.is(before.code, 'IMAGE_SHRUNK');
  } finally {
    loop.detach();
  }
});

test.run();
