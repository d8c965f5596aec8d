import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { sceneBlank, sweep } from './clone-killed.ts';

test('killed while it makes a blank disk somebody, a clone is finished by the same command, with the identity that was drawn', async () => {
  const scene = await sceneBlank();
  // One with every kind of fence: before the table, with the region still empty, with the profile in it.
  const outcomes = await sweep(scene, { share: 1, shares: 4, sameIdentity: false });
  assert.ok(outcomes.some(({ state }) => state === 'fenced'));
});

test.run();
