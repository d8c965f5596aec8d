/** Says on stdout what was seen, and counts what was as expected and what was not. */
import { isDeepStrictEqual } from 'node:util';

export interface Report {
  /** A line without a verdict. */
  say(text: string): void;
  /** What was seen; it is right when it equals what was expected. */
  equal(what: string, seen: unknown, expected: unknown): void;
  /** What was seen, and whether it is right. */
  holds(what: string, right: boolean, seen: string): void;
  /** Runs a step under a heading. An error fails it; the steps after it still run. */
  step(heading: string, action: () => Promise<void>): Promise<void>;
  /** Prints `N passed, N failed`. @returns whether all was right, and anything was looked at */
  end(): boolean;
}

export function makeReport(): Report {
  let passed = 0;
  let failed = 0;
  const say = (text: string): void => void process.stdout.write(`${text}\n`);
  const verdict = (right: boolean, text: string): void => {
    if (right) passed++;
    else failed++;
    say(`${right ? 'ok   ' : 'FAIL '} ${text}`);
  };
  return {
    say: (text) => say(`      ${text}`),
    equal: (what, seen, expected) => {
      const right = isDeepStrictEqual(seen, expected);
      verdict(right, `${what}: ${plain(seen)}${right ? '' : `, expected ${plain(expected)}`}`);
    },
    holds: (what, right, seen) => verdict(right, `${what}: ${seen}`),
    step: async (heading, action) => {
      say(`\n== ${heading}`);
      const started = Date.now();
      try {
        await action();
      } catch (error) {
        verdict(false, `this step broke off: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
      }
      say(`      ${((Date.now() - started) / 1000).toFixed(1)} s`);
    },
    end: () => {
      say(`\n${passed} passed, ${failed} failed`);
      return failed === 0 && passed > 0;
    },
  };
}

function plain(value: unknown): string {
  return typeof value === 'string' && value !== '' ? value : JSON.stringify(value);
}
