/** The question before something is overwritten. Asked on the controlling terminal, never on stdin, which may be data. */
import { closeSync, openSync, writeSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { ReadStream } from 'node:tty';
import { RefusedError } from '../engine/errors.ts';
import { InterruptedError } from './signals.ts';
import { facts } from './table.ts';

export interface Question {
  /** What is about to happen, as `This overwrites /dev/sdb.` */
  readonly statement: string;
  /** What the person should check before answering: model, serial, size, whose system it is. */
  readonly facts: readonly (readonly [name: string, value: string])[];
}

/** No terminal to ask on, or the answer was not `yes`. */
export class NotConfirmedError extends RefusedError {}

/**
 * Returns when the person typed `yes`, or at once when `yes` was given on the command line.
 * @throws NotConfirmedError without a terminal, or after any other answer
 * @throws InterruptedError, or another reason of the signal, when it is aborted while waiting
 */
export async function confirm(
  question: Question,
  options: { readonly yes: boolean; readonly signal?: AbortSignal },
): Promise<void> {
  if (options.yes) return;
  const terminal = openTerminal(question);
  try {
    writeSync(terminal, `${question.statement}\n${facts(question.facts, { indent: '  ' })}Type "yes" to go on: `);
  } catch (error) {
    closeSync(terminal);
    throw error;
  }
  const answer = await readLine(terminal, options.signal);
  if (answer.trim() === 'yes') return;
  throw new NotConfirmedError('Not confirmed; nothing was written.', {
    code: 'NOT_CONFIRMED',
    todo: 'Run it again and type "yes" in full, or add --yes.',
  });
}

function openTerminal(question: Question): number {
  try {
    return openSync('/dev/tty', 'r+');
  } catch (cause) {
    throw new NotConfirmedError(`${question.statement} There is no terminal to ask on; nothing was written.`, {
      code: 'NO_TERMINAL',
      todo: 'Add --yes if that is what you want.',
      cause,
    });
  }
}

/** One line from the terminal; takes over the descriptor. */
function readLine(descriptor: number, signal: AbortSignal | undefined): Promise<string> {
  return new Promise((resolve, reject) => {
    const input = new ReadStream(descriptor);
    const lines = createInterface({ input });
    const finish = (action: () => void): void => {
      signal?.removeEventListener('abort', onAbort);
      lines.removeAllListeners();
      lines.close();
      input.destroy();
      action();
    };
    const onAbort = (): void => {
      const { reason } = signal as AbortSignal;
      try {
        writeSync(descriptor, '\n');
      } catch {
        // After a hang-up there is no terminal to end the line on.
      }
      finish(() => reject(reason instanceof InterruptedError ? new InterruptedError(reason.signal, true) : reason));
    };
    lines.once('line', (line) => finish(() => resolve(line)));
    lines.once('close', () => finish(() => resolve('')));
    input.once('error', (error) => finish(() => reject(error)));
    if (signal?.aborted === true) onAbort();
    else signal?.addEventListener('abort', onAbort, { once: true });
  });
}
