import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { sweep } from './clone-killed.ts';

test('killed while it makes a blank disk somebody, a clone is finished by the same command', async () => {
  const outcomes = await sweep('blank', { some: { fence: 2, copy: 1 }, every: false, share: 0, shares: 1 });
  assert.ok(outcomes.some(({ states }) => states.includes('fenced')));
});

test.run();
