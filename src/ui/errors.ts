/** Errors as messages for people, as documents for scripts, and as exit codes. */
import { constants } from 'node:os';
import { DoppelError, ExitCode } from '../engine/errors.ts';
import type { TargetState } from '../engine/events.ts';
import { printable } from './format.ts';
import { InterruptedError } from './signals.ts';
import { style } from './style.ts';
import { usageMistake } from './usage.ts';

/** What `--json` prints when a command fails. */
export interface ErrorDocument {
  readonly error: {
    readonly code: string;
    readonly message: string;
    readonly todo: string;
    readonly exitCode: number;
    readonly data: Readonly<Record<string, unknown>>;
    /** Only of bugs. */
    readonly stack?: string;
  };
  readonly target: TargetState;
}

/** The parts of oclif's errors that matter here; testing for the class would load oclif. */
interface OclifError extends Error {
  readonly oclif: { readonly exit?: number | false };
}

function isOclifError(error: unknown): error is OclifError {
  return error instanceof Error && 'oclif' in error && typeof error.oclif === 'object' && error.oclif !== null;
}

/** oclif's `this.exit(code)`: the end of a command, with nothing to say. */
export function isPlainExit(error: unknown): error is OclifError {
  return isOclifError(error) && 'code' in error && error.code === 'EEXIT';
}

/** Errors of the engine carry their exit code; oclif's mean a command line that cannot be understood; all else is a bug. */
export function exitCodeOf(error: unknown): number {
  // What a shell makes of a process that ended by a signal, as this one will.
  if (error instanceof InterruptedError) return 128 + constants.signals[error.signal];
  if (error instanceof DoppelError) return error.exitCode;
  if (isPlainExit(error)) return typeof error.oclif.exit === 'number' ? error.oclif.exit : ExitCode.done;
  if (isOclifError(error)) return ExitCode.usage;
  return ExitCode.bug;
}

/** `commands`: the ids of those that exist, for suggestions. */
export function errorDocument(error: unknown, target: TargetState, commands: readonly string[] = []): ErrorDocument {
  const exitCode = exitCodeOf(error);
  if (error instanceof DoppelError) {
    const { code, message, todo, data } = error;
    return { error: { code, message, todo, exitCode, data }, target };
  }
  const message = error instanceof Error ? error.message : String(error);
  if (isOclifError(error)) {
    return { error: { code: 'USAGE', ...usageMistake(error, commands), exitCode, data: {} }, target };
  }
  const stack = error instanceof Error && error.stack !== undefined ? { stack: error.stack } : {};
  return { error: { code: 'BUG', message, todo: bugTodo, exitCode, data: {}, ...stack }, target };
}

const bugTodo = 'This is a bug in doppel: please report it with the lines above.';

/** The message for a person, with a final newline: what happened, why, what to do, the error's code and the target's state. */
export function errorText(error: unknown, target: TargetState, commands: readonly string[] = []): string {
  const document = errorDocument(error, target, commands);
  if (document.error.todo === '') return `${printable(document.error.message)}\n`;
  const heading = style(['red', 'bold'], 'doppel:', 'stderr');
  const lines = [`${heading} ${printable(message(error, document))}`];
  if (error instanceof DoppelError) lines.push(...causes(error).map(printable));
  if (document.error.stack !== undefined) lines.push(...stackLines(error).map(printable));
  lines.push(`  ${printable(document.error.todo)}`);
  // A command line that was not understood has touched nothing, and nobody would think it had.
  const state = exitCodeOf(error) === ExitCode.usage ? '' : `, target ${target}`;
  lines.push(style('dim', `  ${document.error.code} (exit ${document.error.exitCode})${state}`, 'stderr'));
  return `${lines.join('\n')}\n`;
}

function message(error: unknown, document: ErrorDocument): string {
  if (document.error.stack === undefined) return document.error.message;
  const name = error instanceof Error ? error.name : 'Error';
  return `this is a bug: ${name}: ${document.error.message}`;
}

function causes(error: Error): string[] {
  const lines: string[] = [];
  let cause = error.cause;
  // A chain that refers to itself must not keep us here.
  for (let depth = 0; depth < 5 && cause instanceof Error; depth++) {
    if (!error.message.includes(cause.message)) lines.push(`  because: ${firstLine(cause.message)}`);
    cause = cause.cause;
  }
  return lines;
}

function stackLines(error: unknown): string[] {
  if (!(error instanceof Error) || error.stack === undefined) return [];
  const frames = error.stack.split('\n').filter((line) => /^\s+at /.test(line));
  const cause =
    error.cause instanceof Error
      ? ['  caused by:', ...(error.cause.stack ?? error.cause.message).split('\n').map((line) => `  ${line}`)]
      : [];
  return [...frames, ...cause];
}

function firstLine(text: string): string {
  return text.split('\n', 1)[0] ?? '';
}
