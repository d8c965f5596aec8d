import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { sweep } from './clone-killed.ts';

test('killed while a file system grows, a clone is finished by the same command', async () => {
  const outcomes = await sweep('grow', { some: { grow: 1, persona: 1 }, every: false, share: 0, shares: 1 });
  assert.ok(outcomes.some(({ states }) => states.includes('fenced')));
});

test.run();
