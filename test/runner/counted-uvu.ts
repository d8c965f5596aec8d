/**
 * uvu, with an account of what happened. uvu lets pass a file that runs nothing, that skips or focuses tests, and a `before`
 * hook that throws; the account lets the runner see them. It is written when the process ends, so that an end in the middle shows.
 */
import { writeFileSync } from 'node:fs';
import * as uvu from 'uvu';
import type { TestAccount } from './account.ts';

type AnySuite = uvu.Test<Record<string, unknown>>;
type Handler = uvu.Callback<Record<string, unknown>>;

const account = {
  registered: 0,
  waiting: 0,
  started: [] as string[],
  passed: 0,
  failed: [] as string[],
  skipped: [] as string[],
  focused: [] as string[],
};

function counted(inner: AnySuite): AnySuite {
  let registered = 0;
  const add = (name: string, handler: Handler): [string, Handler] => {
    account.registered++;
    account.waiting++;
    registered++;
    return [name, watched(name, handler)];
  };
  const outer = ((name: string, handler: Handler) => inner(...add(name, handler))) as AnySuite;
  return Object.assign(outer, {
    before: inner.before,
    after: inner.after,
    only: (name: string, handler: Handler) => {
      account.focused.push(name);
      inner.only(...add(name, handler));
    },
    skip: (name?: string) => {
      account.skipped.push(name ?? 'without a name');
      inner.skip();
    },
    run: () => {
      account.waiting -= registered;
      registered = 0;
      inner.run();
    },
  });
}

function watched(name: string, handler: Handler): Handler {
  return async (context) => {
    account.started.push(name);
    try {
      await handler(context);
      account.passed++;
    } catch (error) {
      account.failed.push(name);
      throw error;
    }
  };
}

export const test: AnySuite = counted(uvu.test as AnySuite);

export function suite(name?: string, context?: Record<string, unknown>): AnySuite {
  return counted(uvu.suite(name, context) as AnySuite);
}

export const exec = uvu.exec;

process.on('exit', () => {
  const file = process.env.DOPPEL_TEST_ACCOUNT;
  if (file === undefined) return;
  const { started, ...rest } = account;
  const last = started.at(-1);
  const complete: TestAccount = { ...rest, started: started.length, ...(last === undefined ? {} : { last }) };
  writeFileSync(file, JSON.stringify(complete));
});
