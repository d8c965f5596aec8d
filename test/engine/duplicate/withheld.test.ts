/** The first bytes of a disk without a table, which come last, belong to the same state of the source as the rest. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { executeClones } from '../../../src/engine/duplicate/execute.ts';
import { planClones } from '../../../src/engine/duplicate/make-plan.ts';
import type { EngineEvent } from '../../../src/engine/events.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { assertBytes } from '../image/conformance.ts';
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

test.run();
