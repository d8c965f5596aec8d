/** Runs the built program, as a person or a script would. */
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';

export const launcher = join(dirname(fileURLToPath(import.meta.url)), '../../bin/doppel.js');

export interface Ended {
  /** Undefined when a signal ended it. */
  readonly exitCode: number | undefined;
  readonly signal: string | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

/** Without a terminal, whatever ours is. */
export function doppel(...args: string[]): Promise<Ended> {
  return doppelWith({}, ...args);
}

/** As `doppel`, with more in its environment. */
export async function doppelWith(env: Readonly<Record<string, string>>, ...args: string[]): Promise<Ended> {
  const { exitCode, signal, stdout, stderr } = await execa('setsid', ['--wait', process.execPath, launcher, ...args], {
    reject: false,
    stdin: 'ignore',
    env: { NO_COLOR: '1', ...env },
  });
  return { exitCode, signal, stdout, stderr };
}

/** @throws with what it said unless it ends with 0 */
export async function doppelOk(...args: string[]): Promise<Ended> {
  const ended = await doppel(...args);
  if (ended.exitCode !== 0) throw new Error(`doppel ${args.join(' ')} ended with ${ended.exitCode}:\n${ended.stderr}`);
  return ended;
}

/** The error document of a failed command. */
export interface Failure {
  readonly exitCode: number;
  readonly code: string;
  readonly message: string;
  readonly todo: string;
  readonly data: Readonly<Record<string, unknown>>;
  readonly target: string;
  readonly stack?: string;
}

/** Runs a command with `--json` that must fail, and gives its error. */
export async function doppelFails(...args: string[]): Promise<Failure> {
  const { exitCode, stdout } = await doppel(...args, '--json');
  const { error, target } = JSON.parse(stdout);
  if (error.exitCode !== exitCode) throw new Error(`exit code ${exitCode}, but the document says ${error.exitCode}`);
  return { ...error, target };
}
