import { closeSync, openSync, readdirSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { executeClone } from '../../../src/engine/duplicate/execute.ts';
import { planClone } from '../../../src/engine/duplicate/make-plan.ts';
import type { CloneResult } from '../../../src/engine/duplicate/result.ts';
import type { EngineEvent } from '../../../src/engine/events.ts';
import { attachLoop } from '../../fixtures/loop.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { bytesOf, checkFileSystem, filesOf, textOf } from './disk-facts.ts';
import { refusal, requestOf, targetWithProfile, type Wishes } from './requests.ts';
import { copyDisk, copyPart, MiB, makeSmallDisk, newFile, parts, smallSize, writeInto } from './small-disk.ts';

const folder = tempDir('resume');
const source = join(folder, 'source.img');
const states = join(folder, 'state');
const at = (name: string) => join(folder, name);

test.before(() => makeSmallDisk(source));

class Stopped extends Error {}

/** Stops the run at the first event that `when` picks. Every piece is noted in the journal at once. */
async function stopped(from: string, target: string, when: (event: EngineEvent) => boolean, wishes: Wishes = {}): Promise<void> {
  const controller = new AbortController();
  try {
    await executeClone(await planClone(requestOf(from, target, { stateDir: { path: states, required: true }, ...wishes })), {
      checkpointEvery: 0,
      signal: controller.signal,
      onEvent: (event) => when(event) && controller.abort(new Stopped()),
    });
    assert.unreachable('it was not stopped');
  } catch (error) {
    assert.instance(error, Stopped);
  }
}

async function again(from: string, target: string, wishes: Wishes = {}): Promise<CloneResult & { readonly durable: number }> {
  const plan = await planClone(requestOf(from, target, { stateDir: { path: states, required: true }, ...wishes }));
  return { ...(await executeClone(plan)), durable: plan.durable };
}

const halfway = (event: EngineEvent): boolean =>
  event.type === 'progress' && event.phase === 'copy' && event.done > event.total / 2;
const during = (phase: string) => (event: EngineEvent) => event.type === 'phase' && event.phase === phase;

function checkClone(from: string, target: string): void {
  assert.is(textOf(target, parts.root, '/etc/hostname'), 'web-07\n');
  assert.equal([...filesOf(target, parts.app)], [...filesOf(from, parts.app)]);
  checkFileSystem(target, parts.root, 'ext4');
  checkFileSystem(target, parts.app, 'ext4');
}

test('what was durable when a run was stopped is not copied again, and the clone is whole', async () => {
  const target = await targetWithProfile(folder, 'stopped.img');
  await stopped(source, target, halfway);
  assert.is(readdirSync(states).length, 1);
  const whole = await again(source, at('none.img'), await plain('none.img'));
  const result = await again(source, target);
  assert.ok(result.durable > 4 * MiB);
  assert.is(result.resumed, result.durable);
  assert.ok(result.written + result.resumed >= whole.written && result.written < whole.written - 2 * MiB);
  assert.is(result.verified, 'direct');
  checkClone(source, target);
  assert.equal(readdirSync(states), [], 'a journal that is not needed any more is removed');
});

async function plain(name: string): Promise<Wishes> {
  newFile(at(name), smallSize);
  return { as: 'none' };
}

test('what is resumed is read back, even with --no-verify, and wrong bytes are found; then everything is copied', async () => {
  const target = await targetWithProfile(folder, 'damaged.img');
  await stopped(source, target, during('verify'));
  const byte = bytesOf(target, { offset: parts.app.offset + 1024 + 56, length: 1 });
  writeInto(target, Buffer.from([(byte[0] as number) ^ 1]), parts.app.offset + 1024 + 56);
  const error = await refusal(() => again(source, target, { verify: false }));
  assert.is(error.code, 'TARGET_DIFFERS');
  const result = await again(source, target, { verify: false });
  assert.is(result.resumed, 0);
  checkClone(source, target);
});

test('a run that was stopped while files were changed compares, and writes only what differs', async () => {
  const target = await targetWithProfile(folder, 'persona.img');
  await stopped(source, target, during('commit'));
  const result = await again(source, target);
  assert.is(result.resumed, 0);
  assert.ok(result.same > 6 * MiB, `${result.same} bytes were found equal`);
  assert.ok(result.written < MiB, `${result.written} bytes were written`);
  checkClone(source, target);
});

test('a source that was written to meanwhile starts over', async () => {
  const changing = at('changing.img');
  copyDisk(source, changing);
  const target = await targetWithProfile(folder, 'changed.img');
  await stopped(changing, target, during('verify'));
  const place = parts.app.offset + parts.app.length - 4096;
  const file = openSync(changing, 'r+');
  writeSync(file, Buffer.from('new'), 0, 3, place);
  closeSync(file);
  const result = await again(changing, target);
  assert.is(result.resumed, 0);
  checkClone(changing, target);
});

test('a source that is written to while it is copied is no success, and the target stays fenced', async () => {
  const written = at('written.img');
  copyDisk(source, written);
  const target = await targetWithProfile(folder, 'torn.img');
  const states: string[] = [];
  let once = false;
  const plan = await planClone(requestOf(written, target));
  const error = await refusal(() =>
    executeClone(plan, {
      onEvent: (event) => {
        if (event.type === 'target') states.push(event.state);
        if (event.type !== 'progress' || once) return;
        once = true;
        writeInto(written, Buffer.from('new'), parts.app.offset + parts.app.length - 4096);
      },
    }),
  );
  assert.is(error.code, 'SOURCE_CHANGED');
  assert.equal(states, ['fenced']);
  await again(written, target);
  checkClone(written, target);
});

test('of a device, whose times tell nothing, every byte is read again and its digest compared', async () => {
  const file = at('device.img');
  copyDisk(source, file);
  const loop = attachLoop(file);
  try {
    const target = await targetWithProfile(folder, 'from-device.img');
    await stopped(loop.device, target, during('verify'));
    const marker = Buffer.from('a file that was written to');
    const large = readFileSync(file).indexOf('a large file that is not compressible', parts.app.offset);
    const device = openSync(loop.device, 'r+');
    writeSync(device, marker, 0, marker.length, large);
    closeSync(device);
    const result = await again(loop.device, target);
    assert.ok(result.resumed > 4 * MiB && result.resumed < result.durable);
    assert.equal(bytesOf(target, { offset: large, length: marker.length }), marker);
    checkClone(file, target);
  } finally {
    loop.detach();
  }
});

test('what a stopped delta wrote is not taken for what an earlier run had noted there', async () => {
  const changing = at('back-and-forth.img');
  copyDisk(source, changing);
  const target = await targetWithProfile(folder, 'forth.img');
  const place = readFileSync(changing).indexOf('a large file that is not compressible', parts.app.offset);
  const loop = attachLoop(changing);
  try {
    await stopped(loop.device, target, during('verify'));
    const before = bytesOf(loop.device, { offset: place, length: 4096 });
    writeInto(loop.device, Buffer.from('new'), place);
    await stopped(loop.device, target, during('verify'), { delta: true });
    writeInto(loop.device, before, place);
    const result = await again(loop.device, target);
    assert.equal(bytesOf(target, { offset: place, length: 4096 }), before);
    assert.is(result.resumed, 0);
    checkClone(changing, target);
  } finally {
    loop.detach();
  }
});

test('a journal that is damaged, torn or about other disks is not believed', async () => {
  const target = await targetWithProfile(folder, 'journal.img');
  await stopped(source, target, during('verify'));
  const [name] = readdirSync(states);
  const path = join(states, name as string);
  const journal = readFileSync(path, 'latin1');
  const fenced = at('journal-fenced.img');
  copyDisk(target, fenced);
  const lines = journal.split('\n');
  for (const [text, resumes] of [
    [journal.slice(0, -10), true],
    [lines.map((line, i) => (i === 1 ? line.replace(/[0-9a-f]{8}$/, 'deadbeef') : line)).join('\n'), false],
    [journal.replace('source.img', 'sOurce.img'), false],
    ['', false],
    ['rubbish\n'.repeat(1000), false],
    [`${lines[0]}\np 0 1\nend 00000000\n`, false],
  ] as const) {
    copyDisk(fenced, target);
    writeFileSync(path, text);
    const result = await again(source, target);
    assert.is(result.resumed > 0, resumes, text.slice(0, 200));
    checkClone(source, target);
  }
});

test('a disk without a table is resumed by the names of the disks', async () => {
  const whole = at('whole.img');
  copyPart(source, parts.app, whole);
  const target = at('whole-target.img');
  newFile(target, parts.app.length);
  await stopped(whole, target, during('verify'), { as: 'none' });
  const result = await again(whole, target, { as: 'none' });
  assert.ok(result.resumed > 4 * MiB);
  checkFileSystem(target, { offset: 0, length: parts.app.length }, 'ext4');
});

test('without a place for the journal a run goes on, unless the place was asked for', async () => {
  const target = await targetWithProfile(folder, 'no-journal.img');
  const occupied = at('occupied');
  writeFileSync(occupied, 'a file');
  const warnings: string[] = [];
  const error = await refusal(() => again(source, target, { stateDir: { path: occupied, required: true } }));
  assert.is(error.code, 'JOURNAL');
  const plan = await planClone(requestOf(source, target, { stateDir: { path: occupied, required: false } }));
  await executeClone(plan, { onEvent: (event) => event.type === 'warning' && warnings.push(event.message) });
  assert.match(warnings.join(), 'will have to copy everything again');
  checkClone(source, target);
});

test.run();
