import { statfsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { executeClones } from '../../../src/engine/duplicate/execute.ts';
import { planClones } from '../../../src/engine/duplicate/make-plan.ts';
import type { TargetRequest } from '../../../src/engine/duplicate/request.ts';
import type { EngineEvent } from '../../../src/engine/events.ts';
import { atEnd } from '../../fixtures/cleanup.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { checkGpt, filesOf, hashOf, textOf } from './disk-facts.ts';
import { clone, refusal, requestOf, targetWithProfile } from './requests.ts';
import { MiB, makeSmallDisk, newFile, parts, profileFile, smallSize, tool } from './small-disk.ts';

const folder = tempDir('several');
const source = join(folder, 'source.img');
const at = (name: string) => join(folder, name);
const regionRange = { offset: 32_768, length: 1_015_808 };

test.before(() => makeSmallDisk(source));

function as(target: string, host: string): TargetRequest {
  const profile = profileFile(folder, (text) => text.replace(/^host: .*$/m, `host: ${host}`), `${host}.yaml`);
  return requestOf(source, target, { as: profile });
}

test('each target becomes itself, with a region of its own, from one read', async () => {
  const known = await targetWithProfile(folder, 'known.img');
  const before = hashOf(known, regionRange);
  for (const name of ['new-1.img', 'new-2.img']) newFile(at(name), smallSize + 8 * MiB);
  const targets = [as(at('new-1.img'), 'web-01'), requestOf(source, known), as(at('new-2.img'), 'web-02')];
  const plans = await planClones(requestOf(source, known), targets);
  const events: EngineEvent[] = [];
  const outcomes = await executeClones(plans, { onEvent: (event) => events.push(event) });
  assert.equal(
    outcomes.map((outcome) => 'result' in outcome),
    [true, true, true],
  );
  assert.is(hashOf(known, regionRange), before);
  for (const [target, host] of [
    [at('new-1.img'), 'web-01'],
    [known, 'web-07'],
    [at('new-2.img'), 'web-02'],
  ] as const) {
    assert.is(textOf(target, parts.root, '/etc/hostname'), `${host}\n`);
    assert.equal([...filesOf(target, parts.app)], [...filesOf(source, parts.app)]);
    checkGpt(target);
  }
  const ids = [at('new-1.img'), known, at('new-2.img')].map((target) => textOf(target, parts.root, '/etc/machine-id'));
  assert.is(new Set(ids).size, 3);
  const committed = events.filter((event) => event.type === 'target' && event.state === 'committed');
  assert.is(committed.length, 3);
});

test('a target that has no space is dropped before it is touched, the other is finished', async () => {
  const small = at('small');
  tool('mkdir', [small]);
  tool('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'doppel-test', small]);
  atEnd(() => tool('umount', [small]));
  assert.ok(statfsSync(small).blocks > 0);
  const full = join(small, 'full.img');
  newFile(full, smallSize);
  newFile(at('fine.img'), smallSize);
  const targets = [as(full, 'web-03'), as(at('fine.img'), 'web-04')];
  const warnings: string[] = [];
  const states = new Map<string, string>();
  const outcomes = await executeClones(await planClones(requestOf(source, full), targets), {
    onEvent: (event) => {
      if (event.type === 'warning') warnings.push(event.message);
      if (event.type === 'target') states.set(event.name, event.state);
    },
  });
  const [lost, won] = outcomes;
  assert.match(lost !== undefined && 'error' in lost ? String(lost.error) : '', 'ENOSPC');
  assert.ok(won !== undefined && 'result' in won);
  assert.match(warnings.join(), /full\.img is dropped, the others go on: .*ENOSPC/);
  assert.equal([...states], [[at('fine.img'), 'committed']]);
  assert.is(textOf(at('fine.img'), parts.root, '/etc/hostname'), 'web-04\n');
});

test('two targets that are one disk, or the source, are refused before anything is written', async () => {
  newFile(at('twice.img'), smallSize);
  const before = hashOf(at('twice.img'));
  for (const targets of [
    [as(at('twice.img'), 'web-05'), as(at('./twice.img'), 'web-06')],
    [as(at('twice.img'), 'web-05'), as(source, 'web-06')],
  ]) {
    const error = await refusal(() => planClones(requestOf(source, at('twice.img')), targets));
    assert.is(error.code, 'SAME_STORAGE');
  }
  assert.is(hashOf(at('twice.img')), before);
});

test('of several targets the one that is refused is named', async () => {
  newFile(at('large.img'), smallSize);
  newFile(at('little.img'), MiB);
  const targets = [as(at('large.img'), 'web-05'), as(at('little.img'), 'web-06')];
  const warnings: string[] = [];
  const onEvent = (event: EngineEvent): void => void (event.type === 'warning' && warnings.push(event.message));
  await refusal(() => planClones(requestOf(source, at('large.img')), targets, { onEvent }));
  assert.equal(warnings, [`no target is touched, because of ${at('little.img')}`]);
});

test('a delta writes only what differs, and the target is what a full copy makes', async () => {
  const target = await targetWithProfile(folder, 'delta.img');
  const first = await clone(source, target);
  const second = await clone(source, target, { delta: true });
  assert.ok(first.result.written > 6 * MiB);
  assert.ok(second.result.written < MiB, `${second.result.written} bytes were written`);
  assert.ok(second.result.same > 6 * MiB);
  assert.is(textOf(target, parts.root, '/etc/hostname'), 'web-07\n');
  for (const name of ['app'] as const) assert.equal([...filesOf(target, parts[name])], [...filesOf(source, parts[name])]);
  checkGpt(target);
});

test('a delta onto a target that holds something else is a full copy', async () => {
  const target = at('garbage.img');
  newFile(target, smallSize);
  tool('dd', ['if=/dev/urandom', `of=${target}`, 'bs=1M', `count=${smallSize / MiB}`, 'conv=notrunc', 'status=none']);
  const { result } = await clone(source, target, { delta: true, as: 'none' });
  assert.is(result.same, 0);
  for (const name of ['root', 'app'] as const) assert.equal([...filesOf(target, parts[name])], [...filesOf(source, parts[name])]);
});

test.run();
