/** The share of fuzzing that every run of the tests does, with fixed seeds: the cases of `npm run test:fuzz` from seed 1 on. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { targets } from './targets/all.ts';
import { fuzz, render } from './watch.ts';

const samples = mkdtempSync(join(tmpdir(), 'doppel-fuzz-'));
test.after(() => rmSync(samples, { recursive: true }));

// All share a worker, and its memory.
const reports = await fuzz(targets, samples, { seed: 1 }, { caseSeconds: 30, memory: 500e6 });
for (const { name, share } of targets) {
  test(`${name}: ${share} changed inputs end in an answer or in an error of ours`, () => {
    const report = reports.find(({ target }) => target === name);
    assert.ok(report, 'it was given up');
    process.stdout.write(`${render(report)}\n`);
    assert.is(report.finds.length, 0, render(report));
    assert.is(report.executions, share);
    // Otherwise the changes would not reach what they are meant to test.
    assert.equal(report.missing, []);
  });
}

test.run();
