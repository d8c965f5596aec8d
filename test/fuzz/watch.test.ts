/** That the fuzzer finds what it is there for: targets with every kind of fault. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { targets } from './targets/broken.ts';
import { fuzz, type Report, render } from './watch.ts';

const folder = mkdtempSync(join(tmpdir(), 'doppel-fuzz-'));
test.after(() => rmSync(folder, { recursive: true }));

/** The cases of one target; those of a new worker begin anew to count, so that one of every ten has the fault. */
async function run(name: string): Promise<Report> {
  const chosen = targets.filter((target) => target.name === name);
  const module = new URL('./targets/broken.ts', import.meta.url);
  // Filling the memory takes time as well, on a busy machine more than a second.
  const caseSeconds = name.startsWith('takes') ? 60 : 1;
  const [report] = await fuzz(chosen, folder, { seed: 100, runs: 10 }, { caseSeconds, memory: 250e6 }, module);
  assert.ok(report);
  return report;
}

test('where nothing is wrong nothing is found, and what never occurred is told', async () => {
  const report = await run('none');
  assert.equal([report.executions, report.finds, report.outcomes, report.missing], [10, [], { fine: 10 }, ['never']]);
});

for (const [name, what] of [
  ['throws', /TypeError: a fault/],
  ['rejects', /RangeError: another fault/],
  ['hangs', /took longer than 1 s/],
  ['waits', /took longer than 1 s/],
  ['takes memory', /MB of memory/],
  ['takes heap', /MB of memory|MiB of heap/],
] as const) {
  test(`a case that ${name} is found by its seed, and the others go on`, async () => {
    const report = await run(name);
    assert.is(report.executions, 10);
    assert.equal(
      report.finds.map(({ seed }) => seed),
      [106],
    );
    assert.match(report.finds[0]?.what ?? '', what);
    assert.match(render(report), new RegExp(`npm run test:fuzz -- --target '${name}' --seed 106 --runs 1`));
  });
}

test.run();
