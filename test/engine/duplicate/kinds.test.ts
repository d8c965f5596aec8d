import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { executeClone } from '../../../src/engine/duplicate/execute.ts';
import { planClone } from '../../../src/engine/duplicate/make-plan.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { checkGpt, filesOf, fingerprint, hashOf, tableOf, textOf } from './disk-facts.ts';
import { clone, refusal, requestOf, targetWithProfile } from './requests.ts';
import { copyDisk, MiB, makeSmallDisk, parts, tool } from './small-disk.ts';

const folder = tempDir('kinds');
const source = join(folder, 'source.img');
/** Has a profile and an application part of its own where the source has one, with its own number, name and contents. */
const owner = join(folder, 'owner.img');

test.before(async () => {
  await makeSmallDisk(source);
  copyDisk(await targetWithProfile(folder), owner);
  tool('sgdisk', [`--new=4:${parts.app.offset / 512}:+${parts.app.length / MiB}M`, '--change-name=4:mine', owner]);
  const content = join(folder, 'content');
  tool('mkdir', ['-p', `${content}/mine`]);
  tool('mkfs.ext4', ['-q', '-F', '-d', content, '-E', `offset=${parts.app.offset}`, owner, '24M']);
});

function ownTarget(name: string): string {
  const path = join(folder, name);
  copyDisk(owner, path);
  return path;
}

const line = (disk: string, number: number) => new RegExp(`^disk${number} .*$`, 'm').exec(tableOf(disk))?.[0];

test('with --skip application the target keeps its own, byte for byte, also when the clone is stopped half-way', async () => {
  const target = ownTarget('skip.img');
  const before = { app: hashOf(target, parts.app), entry: line(target, 4) };
  const wishes = { kinds: { skip: ['application'] as const } };
  const aborting = new AbortController();
  const plan = await planClone(requestOf(source, target, wishes));
  const outcome = await executeClone(plan, {
    signal: aborting.signal,
    onEvent: (event) => event.type === 'phase' && event.phase === 'verify' && aborting.abort(new Error('stop here')),
  }).catch((error: Error) => error.message);
  assert.is(outcome, 'stop here');
  assert.match(tableOf(target), 'doppel-incomplete');
  assert.is(line(target, 4), `${before.entry}, attrs="NoBlockIOProtocol"`, 'the fence keeps it, hidden from firmware');
  assert.is(hashOf(target, parts.app), before.app);
  await clone(source, target, wishes);
  assert.is(line(target, 4), before.entry);
  assert.is(hashOf(target, parts.app), before.app);
  assert.is(textOf(target, parts.root, '/etc/hostname'), 'web-07\n');
  checkGpt(target);
});

test('with --only os the other parts of the target stay', async () => {
  const target = ownTarget('only.img');
  const app = hashOf(target, parts.app);
  const { plan } = await clone(source, target, { kinds: { only: ['os'] } });
  assert.equal(
    plan.parts.map(({ number, fate }) => `${number} ${fate}`),
    ['2 copied', '4 kept', '0 protected'],
  );
  assert.is(hashOf(target, parts.app), app);
  assert.is(textOf(target, parts.root, '/etc/hostname'), 'web-07\n');
});

test('--kind makes a part of the source what the user says it is', async () => {
  const target = ownTarget('override.img');
  await clone(source, target, {
    kinds: { skip: ['application'] },
    kindOverrides: new Map([
      [2, 'os'],
      [3, 'application'],
    ]),
  });
  const table = tableOf(target);
  assert.not.match(table, /name="swap"/);
  assert.match(table, /name="mine"/);
  const { plan } = await clone(source, await targetWithProfile(folder, 'as-os.img'), {
    kinds: { only: ['os'] },
    kindOverrides: new Map([[4, 'os']]),
  });
  assert.equal(
    plan.parts.filter(({ fate }) => fate === 'copied').map(({ number }) => number),
    [2, 4],
  );
});

test('a part that stays where a part shall be copied is refused, naming both', async () => {
  const target = await targetWithProfile(folder, 'collide.img');
  tool('sgdisk', [`--new=7:${(parts.root.offset + MiB) / 512}:+4M`, '--change-name=7:precious', target]);
  const before = fingerprint(target);
  const error = await refusal(() => planClone(requestOf(source, target, { kinds: { skip: ['application'] } })));
  assert.is(error.code, 'PARTS_COLLIDE');
  assert.is(error.exitCode, 4);
  assert.match(error.message, 'partition 2 ("root")');
  assert.match(error.message, 'partition 7 ("precious")');
  assert.is(fingerprint(target), before);
});

test('a part that stays gives up its number to the source, but not its bytes', async () => {
  const target = await targetWithProfile(folder, 'number.img');
  tool('sgdisk', [`--new=2:${parts.app.offset / 512}:+8M`, '--change-name=2:moved', target]);
  tool('mkfs.ext4', ['-q', '-F', '-E', `offset=${parts.app.offset}`, target, '8M']);
  const range = { offset: parts.app.offset, length: 8 * MiB };
  const before = hashOf(target, range);
  const { plan } = await clone(source, target, { kinds: { skip: ['application'] } });
  assert.is(hashOf(target, range), before);
  const kept = plan.parts.find(({ fate }) => fate === 'kept');
  assert.is.not(kept?.number, 2);
  assert.match(line(target, kept?.number as number) ?? '', /name="moved"/);
  assert.match(line(target, 2) ?? '', /name="root"/);
  assert.ok(
    plan.notes.some((note) => note.includes('moved')),
    'the plan says so',
  );
  assert.is(filesOf(target, parts.root).size > 0, true);
});

test.run();
