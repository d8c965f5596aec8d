/** What a test process says about itself, and what is wrong with it. */

export interface TestAccount {
  readonly registered: number;
  /** Registered without a `run()` after it. */
  readonly waiting: number;
  readonly started: number;
  readonly passed: number;
  readonly failed: readonly string[];
  readonly skipped: readonly string[];
  readonly focused: readonly string[];
  /** The test that started last. */
  readonly last?: string;
}

/** How a test process ended. */
export interface Ending {
  readonly code: number | null;
  readonly signal: string | null;
  /** Seconds that it was given, if it used them up. */
  readonly timedOut?: number;
  /** Undefined when it left none. */
  readonly account?: TestAccount;
  /** Loop devices and mounts left behind. */
  readonly leaks: readonly string[];
}

/** What is wrong beyond failed tests, a sentence each; empty for a file that did all it said it would. */
export function problems({ code, signal, timedOut, account, leaks }: Ending): string[] {
  const found = leaks.map((leak) => `left behind: ${leak}`);
  if (timedOut !== undefined) return [...found, `timed out after ${timedOut} s${account === undefined ? '' : during(account)}`];
  if (signal !== null) return [...found, `killed by ${signal}`];
  if (account === undefined)
    return [...found, code === 0 ? 'has no uvu tests' : `ended with exit code ${code} before any test was registered`];

  if (account.registered === 0) found.push('has no tests');
  if (account.skipped.length > 0) found.push(`skips tests: ${account.skipped.join(', ')}`);
  if (account.focused.length > 0) found.push(`focuses on tests with .only: ${account.focused.join(', ')}`);
  if (account.waiting > 0) found.push(`registers ${account.waiting} tests without run() after them`);
  const ended = account.passed + account.failed.length;
  if (ended < account.started) found.push(`ended in the middle of a test${during(account)}`);
  const expected = account.registered - account.waiting;
  if (account.started < expected && account.focused.length === 0)
    found.push(`left ${expected - account.started} of ${account.registered} tests unexecuted`);
  if (code !== 0 && account.failed.length === 0 && found.length === leaks.length)
    found.push(`ended with exit code ${code} although no test failed: a hook or something after the tests threw`);
  return found;
}

function during(account: TestAccount): string {
  return account.last === undefined ? '' : `, last started: "${account.last}"`;
}
