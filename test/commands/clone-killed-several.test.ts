import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { sweep } from './clone-killed.ts';

test('with two targets, the same command finishes both', async () => {
  const outcomes = await sweep('several', { some: { copy: 1, commit: 1 }, every: false, share: 0, shares: 1 });
  assert.ok(outcomes.some(({ states }) => states.includes('fenced')));
});

test.run();
