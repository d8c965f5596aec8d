/**
 * Fuzzes for a long time: `npm run test:fuzz -- [--seconds N] [--target NAME]...`
 *
 *   --seconds N     for each target (default 60)
 *   --target NAME   only targets whose name contains it
 *   --runs N        at most so many cases for each target
 *   --seed N        the first case (default: drawn, and told)
 *   --samples DIR   where samples are kept, or made if there are none (default: a new folder, kept only when something is found)
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { targets } from './targets/all.ts';
import { fuzz, keep, type Report, render } from './watch.ts';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string' },
    target: { type: 'string', multiple: true },
    runs: { type: 'string' },
    seed: { type: 'string' },
    samples: { type: 'string' },
  },
});
const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 30));
const budget = {
  seed,
  runs: Number(values.runs ?? Number.MAX_SAFE_INTEGER),
  milliseconds: Number(values.seconds ?? 60) * 1000,
};
const limits = { caseSeconds: 10, memory: 300e6 };
const samples = values.samples ?? mkdtempSync(join(tmpdir(), 'doppel-fuzz-'));
mkdirSync(samples, { recursive: true });
const chosen = targets.filter(({ name }) => (values.target ?? ['']).some((word) => name.includes(word)));
process.stdout.write(`seed ${seed}, samples in ${samples}\n`);
const reports: Report[] = [];
for (const target of chosen) {
  // A worker each: what one leaves behind is not counted as another's memory.
  for (const report of await fuzz([target], samples, budget, limits)) {
    reports.push(report);
    keep(report, samples);
    process.stdout.write(`${render(report, samples)}\n`);
  }
}
const finds = reports.reduce((sum, report) => sum + report.finds.length, 0);
const executions = reports.reduce((sum, report) => sum + report.executions, 0);
process.stdout.write(`${executions} executions of ${chosen.length} targets, ${finds} finds\n`);
if (finds === 0 && values.samples === undefined) rmSync(samples, { recursive: true });
process.exitCode = finds > 0 || chosen.length === 0 ? 1 : 0;
