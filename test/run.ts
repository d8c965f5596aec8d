/**
 * Runs the checks and every test file, each in a process of its own, and closes with `N passed, N failed`.
 *
 *   node --import tsx test/run.ts [WORD...]     only files whose path contains one of the words, and no checks
 *     --dir DIR       look for test files there instead of in test/
 *     --timeout SEC   for each file (default 240)
 *     --jobs N        at a time (default: one a core)
 */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { type Job, type JobResult, killAll, runJob } from './runner/run-file.ts';

const here = dirname(fileURLToPath(import.meta.url));
const root = dirname(here);
const { values, positionals: words } = parseArgs({
  allowPositionals: true,
  options: { dir: { type: 'string' }, timeout: { type: 'string' }, jobs: { type: 'string' } },
});

const checks: Job[] = [
  // First and alone: tests start the built program.
  { name: 'build', command: ['node', 'scripts/build.mjs'], kind: 'check', alone: true },
  { name: 'typecheck', command: ['npx', '--no-install', 'tsc', '-p', '.'], kind: 'check', alone: false },
  { name: 'biome', command: ['npx', '--no-install', 'biome', 'ci', '--colors=off', '.'], kind: 'check', alone: false },
  { name: 'import order', command: ['node', '--import', 'tsx', 'scripts/lint-imports.ts'], kind: 'check', alone: false },
];

function testJobs(): Job[] {
  const folder = resolve(values.dir ?? here);
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.test.ts'))
    .map((file) => join(folder, file))
    .filter((file) => words.length === 0 || words.some((word) => relative(folder, file).includes(word)))
    .sort();
  const preload = pathToFileURL(join(here, 'runner', 'preload.mjs')).href;
  return files.map((file) => ({
    name: relative(root, file).startsWith('..') ? file : relative(root, file),
    command: ['node', '--import', 'tsx', '--import', preload, file],
    kind: 'tests',
    alone: file.endsWith('.serial.test.ts'),
  }));
}

const say = (text: string): void => void process.stdout.write(`${text}\n`);

function report(job: Job, result: JobResult): void {
  const time = `${result.seconds.toFixed(1)} s`;
  if (result.failed === 0) {
    say(`ok    ${job.name} (${job.kind === 'tests' ? `${result.passed} tests, ` : ''}${time})`);
    return;
  }
  say(`FAIL  ${job.name} (${time})`);
  for (const problem of result.problems) say(`      ${problem}`);
  say(result.output.replace(/^/gm, '    | ').trimEnd());
}

async function main(): Promise<void> {
  const tests = testJobs();
  const jobs = [...(words.length === 0 && values.dir === undefined ? checks : []), ...tests];
  const temp = mkdtempSync(join(tmpdir(), 'doppel-test-'));
  const totals = { passed: 0, failed: 0 };
  const options = { cwd: root, temp, timeoutSeconds: Number(values.timeout ?? 240) };
  const one = async (job: Job): Promise<void> => {
    const result = await runJob(job, options);
    totals.passed += result.passed;
    totals.failed += result.failed;
    report(job, result);
  };
  const stop = (signal: NodeJS.Signals): void => {
    killAll();
    rmSync(temp, { recursive: true, force: true });
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  };
  process.on('SIGINT', stop).on('SIGTERM', stop);

  if (tests.length === 0) {
    say(`FAIL  no test file matches ${words.join(' ') || 'at all'}`);
    totals.failed++;
  }
  const [first, ...others] = jobs.filter((job) => job.alone && job.kind === 'check').concat(jobs.filter((job) => !job.alone));
  if (first !== undefined) await one(first);
  const workers = Number(values.jobs ?? Math.max(1, availableParallelism()));
  await Promise.all(
    Array.from({ length: workers }, async () => {
      for (let job = others.shift(); job !== undefined; job = others.shift()) await one(job);
    }),
  );
  for (const job of jobs.filter((each) => each.alone && each.kind === 'tests')) await one(job);

  rmSync(temp, { recursive: true, force: true });
  process.exitCode = totals.failed === 0 && totals.passed > 0 ? 0 : 1;
  say(`${totals.passed} passed, ${totals.failed} failed`);
}

await main();
