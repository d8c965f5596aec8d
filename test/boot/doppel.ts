/** Runs the built program as a user does, and kills it in the middle of a copy. */
import { spawn } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { atEnd } from '../fixtures/cleanup.ts';

const launcher = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'bin', 'doppel.js');

/** The JSON document that the command prints. @throws when it fails, with all that it said */
export async function doppel(...args: string[]): Promise<unknown> {
  const { exitCode, signal, stdout, stderr } = await execa(process.execPath, [launcher, ...args, '--json'], { reject: false });
  if (exitCode !== 0)
    throw new Error(`doppel ${args.join(' ')} ended with ${exitCode ?? signal}:\n${stderr}\n${stdout.slice(0, 4000)}`);
  return JSON.parse(stdout);
}

/**
 * Starts the command and kills it without warning (SIGKILL) once a third of the copy is done.
 * @returns the bytes that it had reported as copied
 * @throws when it ended by itself before
 */
export function killInCopy(...args: string[]): Promise<number> {
  const child = spawn(process.execPath, [launcher, ...args, '--progress', 'json'], { stdio: ['ignore', 'ignore', 'pipe'] });
  const takeBack = atEnd(() => child.kill('SIGKILL'));
  let rest = '';
  let said = '';
  let copied = 0;
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text;
    const lines = `${rest}${text}`.split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines.filter((line) => line.startsWith('{'))) {
      const event = JSON.parse(line);
      if (event.type !== 'progress' || event.phase !== 'copy' || copied > 0 || event.done < event.total / 3) continue;
      copied = event.done;
      child.kill('SIGKILL');
    }
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => {
      takeBack();
      if (signal === 'SIGKILL' && copied > 0) resolve(copied);
      else reject(new Error(`doppel ${args.join(' ')} was to be killed, but ended with ${code ?? signal}:\n${said}`));
    });
  });
}
