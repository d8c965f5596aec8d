import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { sceneWithProfile, sweep } from './clone-killed.ts';

// KILL_POINTS=all tries every point, KILL_POINTS=fence,commit all of these phases; this file takes a third of them.
test('killed anywhere, a clone leaves the region alone and is finished by the same command (share 2)', async () => {
  const scene = await sceneWithProfile();
  const outcomes = await sweep(scene, { share: 2, shares: 3, sameIdentity: true });
  for (const { point, phase, state } of outcomes) {
    const where = `${point.call} ${point.count} in phase ${phase}`;
    if (phase === 'plan' || phase === 'start') assert.is(state, 'untouched', where);
    else if (phase === 'fence') assert.is.not(state, 'committed', where);
    else if (phase !== 'commit') assert.is(state, 'fenced', where);
  }
  assert.ok(outcomes.some(({ state }) => state === 'fenced'));
});

test.run();
