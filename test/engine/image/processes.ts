/** Other programs that hold an image while a test looks. */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { atEnd } from '../../fixtures/cleanup.ts';

export interface Running {
  readonly child: ChildProcess;
  /** Ends it with a signal and waits until it is gone. */
  stop(signal?: NodeJS.Signals): Promise<void>;
}

/** Starts a program with an open standard input, at the end of which most programs end. */
export function start(command: string, ...args: string[]): Running {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const gone = new Promise<void>((resolve, reject) => {
    child.once('exit', () => resolve());
    child.once('error', reject);
  });
  const takeBack = atEnd(() => child.kill('SIGKILL'));
  const stop = async (signal: NodeJS.Signals = 'SIGTERM'): Promise<void> => {
    child.kill(signal);
    await gone;
    takeBack();
  };
  return { child, stop };
}

/** Asks again until the answer is yes. @throws after ten seconds */
export async function until(what: string, answer: () => boolean | Promise<boolean>): Promise<void> {
  for (let attempt = 0; attempt < 500; attempt++) {
    if (await answer()) return;
    await setTimeout(20);
  }
  throw new Error(`waited in vain until ${what}`);
}

/** Whether somebody listens on the socket: the file is there a moment before. Field `Flags` of /proc/net/unix (proc(5)). */
export function isListening(socket: string): boolean {
  return readFileSync('/proc/net/unix', 'utf8')
    .split('\n')
    .some((line) => line.endsWith(` ${socket}`) && line.split(/\s+/)[3] === '00010000');
}

/** The first line that the program writes. */
export async function firstLine({ child }: Running): Promise<string> {
  let text = '';
  for await (const piece of child.stdout ?? []) {
    text += String(piece);
    if (text.includes('\n')) return text.slice(0, text.indexOf('\n'));
  }
  throw new Error(`the program ended before it wrote a line: ${text}`);
}
