/** Mutated real file systems: no throw, no endless reading, and no used block lost. `fuzz.ts` runs by itself for longer sweeps. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { fuzz, makeSamples } from './fuzz.ts';

const samples = await makeSamples();

test('a few thousand changes to superblocks, descriptors, B+trees, FATs and logs', async () => {
  const { known, unknown, reasons } = await fuzz(samples, 4000, 1);
  assert.is(known + unknown, 4000);
  // Otherwise the changes would not reach what they are meant to test.
  assert.ok(reasons.size > 50, `${reasons.size} different reasons`);
  assert.ok(known > 400 && unknown > 400);
});

test.run();
