import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { executeClone } from '../../../src/engine/duplicate/execute.ts';
import { planClone } from '../../../src/engine/duplicate/make-plan.ts';
import { IntervalSet } from '../../../src/engine/protect/intervals.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { hashOf } from './disk-facts.ts';
import { refusal, requestOf, targetWithProfile } from './requests.ts';
import { MiB, makeSmallDisk, parts, tool } from './small-disk.ts';

// What a wrong plan would do: the guard below must stop it, whatever set it is wrong in.
const folder = tempDir('guarded');
const source = join(folder, 'source.img');
const region = { offset: 32_768, length: 1_015_808 };

test.before(() => makeSmallDisk(source));

for (const set of ['copy', 'zero', 'discard'] as const) {
  test(`a plan whose ${set} set reaches into the region fails at the guard, and the region is whole`, async () => {
    const target = await targetWithProfile(folder, `${set}.img`);
    const before = hashOf(target, region);
    const plan = await planClone(requestOf(source, target));
    const wrong = IntervalSet.of({ offset: region.offset + region.length - 4096, length: 4096 });
    const error = await refusal(() => executeClone({ ...plan, [set]: plan[set].union(wrong) }));
    assert.is(error.code, 'PROTECTED_REGION');
    assert.match(error.message, 'profile partition');
    assert.is(hashOf(target, region), before);
  });
}

test('a plan that copies over a part that stays fails, and the part is whole', async () => {
  const target = await targetWithProfile(folder, 'kept.img');
  tool('sgdisk', [`--new=4:${parts.app.offset / 512}:+${parts.app.length / MiB}M`, '--change-name=4:mine', target]);
  tool('mkfs.ext4', ['-q', '-F', '-E', `offset=${parts.app.offset}`, target, '24M']);
  const before = hashOf(target, parts.app);
  const plan = await planClone(requestOf(source, target, { kinds: { skip: ['application'] } }));
  const wrong = IntervalSet.of({ offset: parts.app.offset + MiB, length: 512 });
  const error = await refusal(() => executeClone({ ...plan, copy: plan.copy.union(wrong) }));
  assert.is(error.code, 'PROTECTED_REGION');
  assert.match(error.message, 'which stays');
  assert.is(hashOf(target, parts.app), before);
});

test.run();
