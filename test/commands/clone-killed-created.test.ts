import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { sweep } from './clone-killed.ts';

test('a disk that is made by the run is finished by the same command, wherever it was killed', async () => {
  const outcomes = await sweep('created', { some: { fence: 1, copy: 1, commit: 1 }, every: false, share: 0, shares: 1 });
  assert.ok(outcomes.some(({ states }) => states.includes('fenced')));
});

test.run();
