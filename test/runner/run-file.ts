/** Runs one test file, or one check, in a process group of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type Ending, problems, type TestAccount } from './account.ts';
import { clearLeaks } from './leaks.ts';

export interface Job {
  readonly name: string;
  readonly command: readonly string[];
  /** Checks pass or fail as a whole; test files give an account. */
  readonly kind: 'check' | 'tests';
  /** Runs while nothing else runs. */
  readonly alone: boolean;
}

export interface JobResult {
  readonly passed: number;
  readonly failed: number;
  /** What went wrong, a line each, and the process's output if anything did. */
  readonly problems: readonly string[];
  readonly output: string;
  readonly seconds: number;
}

export interface JobOptions {
  readonly cwd: string;
  /** Folder of this whole run; each job gets a temporary folder in it. */
  readonly temp: string;
  readonly timeoutSeconds: number;
}

const running = new Set<ChildProcess>();

/** Ends every process group that is still running. */
export function killAll(): void {
  for (const child of running) killGroup(child, 'SIGKILL');
}

export async function runJob(job: Job, options: JobOptions): Promise<JobResult> {
  const started = performance.now();
  const folder = mkdtempSync(join(options.temp, 'job-'));
  const temp = join(folder, 'tmp');
  mkdirSync(temp);
  const outputFile = join(folder, 'output');
  const accountFile = join(folder, 'account.json');

  const end = await run(
    job,
    options,
    { ...process.env, TMPDIR: temp, DOPPEL_TEST_ACCOUNT: accountFile, NO_COLOR: '1' },
    outputFile,
  );
  const leaks = clearLeaks(temp);
  const output = readFileSync(outputFile, 'utf8');
  const result = judge(job, { ...end, leaks, ...readAccount(accountFile) });
  rmSync(folder, { recursive: true, force: true });
  return { ...result, output, seconds: (performance.now() - started) / 1000 };
}

function judge(job: Job, ending: Ending): Pick<JobResult, 'passed' | 'failed' | 'problems'> {
  if (job.kind === 'check') {
    const bad =
      ending.timedOut !== undefined
        ? [`timed out after ${ending.timedOut} s`]
        : ending.code === 0
          ? []
          : [`exit code ${ending.code ?? ending.signal}`];
    return { passed: bad.length === 0 ? 1 : 0, failed: bad.length, problems: bad };
  }
  const found = problems(ending);
  const failed = ending.account?.failed ?? [];
  return {
    passed: ending.account?.passed ?? 0,
    failed: failed.length + found.length,
    problems: [...failed.map((name) => `failed: ${name}`), ...found],
  };
}

function run(
  job: Job,
  options: JobOptions,
  env: NodeJS.ProcessEnv,
  outputFile: string,
): Promise<Pick<Ending, 'code' | 'signal' | 'timedOut'>> {
  // A file and not a pipe: what a grandchild still holds open must not keep us waiting.
  const output = openSync(outputFile, 'w');
  const [program = '', ...args] = job.command;
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd: options.cwd, env, detached: true, stdio: ['ignore', output, output] });
    closeSync(output);
    running.add(child);
    let timedOut = false;
    let kill: NodeJS.Timeout | undefined;
    const timer = setTimeout(() => {
      timedOut = true;
      killGroup(child, 'SIGTERM');
      kill = setTimeout(() => killGroup(child, 'SIGKILL'), 3000);
    }, options.timeoutSeconds * 1000);
    const finish = (action: () => void): void => {
      clearTimeout(timer);
      clearTimeout(kill);
      // Whatever the test started and did not end.
      killGroup(child, 'SIGKILL');
      running.delete(child);
      action();
    };
    child.once('error', (error) => finish(() => reject(error)));
    child.once('exit', (code, signal) =>
      finish(() => resolve({ code, signal, ...(timedOut ? { timedOut: options.timeoutSeconds } : {}) })),
    );
  });
}

/** The group has the number of its first process, which we started. */
function killGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch (error) {
    // Nobody left in it.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

function readAccount(file: string): { readonly account?: TestAccount } {
  try {
    return { account: JSON.parse(readFileSync(file, 'utf8')) };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {};
    throw error;
  }
}
