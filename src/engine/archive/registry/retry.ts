/** Tries again what may have failed for a passing reason. The one place that decides how often, and how long is waited in between. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { DoppelError } from '../../errors.ts';

/** Failed, and may succeed when it is tried again. */
export class PassingError extends Error {
  /** Milliseconds that the server asks to wait. */
  readonly wait: number | undefined;
  /** What to say when it did not pass; the connection counts as lost unless given. */
  readonly lasting: DoppelError | undefined;

  constructor(message: string, { cause, wait, lasting }: { cause?: unknown; wait?: number; lasting?: DoppelError } = {}) {
    super(message, { cause });
    this.wait = wait;
    this.lasting = lasting;
  }
}

export interface RetryPolicy {
  /** How often it is tried without getting any further. */
  readonly tries: number;
  /** Milliseconds before the second try; doubled for each that follows, and up to half as long again by chance. */
  readonly firstWait: number;
  /** Milliseconds: who asks for more patience than that does not get it. */
  readonly longestWait: number;
}

export const usualRetries: RetryPolicy = { tries: 7, firstWait: 500, longestWait: 300_000 };

/**
 * `action` may fail with PassingErrors; it calls `further` whenever it got further than any time before. `onWait` is told how long is waited
 * (milliseconds), and why. @throws the last PassingError when tries or patience are used up; the signal's reason
 */
export async function retrying<T>(
  { tries, firstWait, longestWait }: RetryPolicy,
  action: (further: () => void) => Promise<T>,
  { signal, onWait }: { readonly signal: AbortSignal; readonly onWait: (wait: number, error: PassingError) => void },
): Promise<T> {
  let failures = 0;
  for (;;) {
    signal.throwIfAborted();
    try {
      return await action(() => {
        failures = 0;
      });
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof PassingError)) throw error;
      failures++;
      const wait = Math.max(error.wait ?? 0, firstWait * 2 ** (failures - 1)) * (1 + Math.random() / 2);
      if (failures >= tries || (error.wait ?? 0) > longestWait) throw error;
      onWait(wait, error);
      await sleep(wait, undefined, { signal }).catch(() => signal.throwIfAborted());
    }
  }
}

/** Milliseconds, of a header Retry-After: seconds, or a date (RFC 9110, section 10.2.3). */
export function retryAfter(header: string | undefined): number | undefined {
  if (header === undefined) return undefined;
  const wait = /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now();
  return Number.isNaN(wait) ? undefined : Math.max(0, wait);
}
