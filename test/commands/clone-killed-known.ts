/** The plain scene: a target that has a profile. Its many points are shared by two test files. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { sweep } from './clone-killed.ts';

/** Points of CI by phase; the persona has by far the most calls, and they are much alike. */
const some = { plan: 1, fence: 3, copy: 2, persona: 2, commit: 2 };

export function killedKnown(share: number, shares: number): void {
  test(`killed anywhere, a clone leaves the region alone and is finished by the same command (share ${share})`, async () => {
    const outcomes = await sweep('known', { some, every: true, share, shares });
    for (const { phase, states } of outcomes) {
      const [state] = states;
      if (phase === 'plan' || phase === 'start') assert.is(state, 'untouched', phase);
      else if (phase === 'fence') assert.is.not(state, 'committed', phase);
      else if (phase !== 'commit') assert.is(state, 'fenced', phase);
    }
    assert.ok(outcomes.some(({ states }) => states.includes('fenced')));
  });
  test.run();
}
