/** The first bytes of a disk without a table, which come last, belong to the same state of the source as the rest. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { executeClones } from '../../../src/engine/duplicate/execute.ts';
import { planClones } from '../../../src/engine/duplicate/make-plan.ts';
import { headFor, readHead } from '../../../src/engine/duplicate/withheld.ts';
import type { EngineEvent } from '../../../src/engine/events.ts';
import { end } from '../../../src/engine/image/contract.ts';
import { FileImage } from '../../../src/engine/image/file.ts';
import { SourceReader } from '../../../src/engine/lanes/source-reader.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { assertBytes } from '../image/conformance.ts';
import { failingSource } from '../lanes/failing-source.ts';
import { bytesOf } from './disk-facts.ts';
import { attempt } from './faulty.ts';
import { requestOf } from './requests.ts';
import { MiB, newFile, tool, writeInto } from './small-disk.ts';

const folder = tempDir('withheld');
const at = (name: string) => join(folder, name);
const SIZE = 16 * MiB;

/** An ext4 file system with a file, of which every byte is copied. */
function makeSource(name: string): string {
  const content = at('content');
  writeFileSync(content, Buffer.alloc(4 * MiB, 'what was there first '));
  newFile(at(name), SIZE);
  tool('mkfs.ext4', ['-q', '-F', '-b', '4096', at(name)]);
  tool('debugfs', ['-w', '-R', `write ${content} file`, at(name)]);
  return at(name);
}

function blank(name: string): string {
  newFile(at(name), SIZE);
  return at(name);
}

const wishes = { as: 'none', exact: true } as const;
/** Writes into the head and behind it, as somebody who mounts it does. */
function writeTo(source: string): void {
  for (const offset of [1024 + 48, 9 * MiB]) writeInto(source, Buffer.from('something new'), offset);
}

test('what is written to the source when its copy is read back is in no part of the copy', async () => {
  for (const phase of ['flush', 'verify', 'commit']) {
    const source = makeSource(`${phase}.source`);
    const before = readFileSync(source);
    const target = blank(`${phase}.img`);
    const { state } = await attempt(source, target, wishes, (event) => {
      if (event.type === 'phase' && event.phase === phase) writeTo(source);
    });
    assert.is(state, 'committed');
    assert.not(before.equals(readFileSync(source)));
    assertBytes(readFileSync(target), before, phase);
  }
});

test('of several targets each has the head of the state that was copied', async () => {
  const source = makeSource('several.source');
  const before = readFileSync(source);
  const targets = ['one.img', 'two.img'].map((name) => requestOf(source, blank(name), wishes));
  const onEvent = (event: EngineEvent): void => {
    if (event.type === 'target' && event.state === 'committed') writeTo(source);
  };
  const outcomes = await executeClones(await planClones(requestOf(source, at('one.img'), wishes), targets), { onEvent });
  assert.equal(
    outcomes.map((outcome) => 'error' in outcome),
    [false, false],
  );
  for (const { target } of targets) assertBytes(readFileSync(target), before, target);
});

test('a source that is written to before its head was read is noticed, and the head stays withheld', async () => {
  const source = makeSource('changed.source');
  const target = blank('changed.img');
  const { error, state } = await attempt(source, target, wishes, (event) => {
    if (event.type === 'progress' && event.phase === 'copy' && event.done === event.total) writeTo(source);
  });
  assert.is(error?.code, 'SOURCE_CHANGED');
  assert.is(state, 'fenced');
  assert.ok(bytesOf(target, { offset: 0, length: MiB }).every((byte) => byte === 0));
});

test('what of the head cannot be read at first is tried once more; what stays bad is zeros, or what the target had', async () => {
  const image = await FileImage.open(makeSource('failing.source'), 'read');
  const stays = { offset: 8192, length: 512 };
  const bad = [{ offset: 1024, length: 2048 }, stays];
  const onAgain = (): void => void bad.splice(0, 1);
  const reader = new SourceReader(failingSource(image, bad), { policy: 'skip', patience: 0, onAgain });
  const head = await readHead(reader, MiB);
  await image.close();
  const wanted = readFileSync(at('failing.source')).subarray(0, MiB).fill(0, stays.offset, end(stays));
  assert.equal(head.bad, [stays]);
  assertBytes(head.bytes, wanted, 'the head');
  assert.equal(reader.bad, [stays]);
  assertBytes(headFor({ withheld: MiB, readErrors: 'zero' }, head, undefined), wanted, 'with zero');
  const old = Buffer.alloc(MiB, 'old');
  assertBytes(
    headFor({ withheld: MiB, readErrors: 'skip' }, head, old),
    Buffer.concat([wanted.subarray(0, 8192), old.subarray(8192, 8704), wanted.subarray(8704)]),
    'with skip',
  );
});

test.run();
