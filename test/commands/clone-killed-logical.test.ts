import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { sweep } from './clone-killed.ts';

test('a killed clone of an MBR disk with logical partitions is finished by the same command', async () => {
  const outcomes = await sweep('logical', { some: { fence: 1, copy: 1, commit: 1 }, every: false, share: 0, shares: 1 });
  assert.ok(outcomes.some(({ states }) => states.includes('fenced')));
});

test.run();
