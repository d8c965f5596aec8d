/**
 * Helper processes that serve an image as long as we want it: qemu-nbd and nbdfuse. Each is in a session of its own, so that
 * Ctrl-C on the terminal reaches only us and it can still finish its work, and the kernel ends it when we die, however we die.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { access } from 'node:fs/promises';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { leasedFolder } from './leased-folder.ts';
import { isMissing } from './sysfs.ts';
import { findTool, ImageToolError, type ToolName } from './tools.ts';

export interface Helper {
  /**
   * Waits until it has made a file in its folder, which it does when it is ready; false when it ended instead, or is not ready
   * after `patience` milliseconds.
   */
  made(file: string, patience?: number): Promise<boolean>;
  /** What it wrote to its standard error lately, trimmed. */
  said(): string;
  /** A clause about how it ended; undefined while it runs. */
  ended(): string | undefined;
  /** Waits until it ends by itself, at most `patience` milliseconds; whether it did. */
  gone(patience: number): Promise<boolean>;
  /** Ends it, with force when it takes longer than `patience` milliseconds, a minute unless given. */
  stop(patience?: number): Promise<void>;
}

/** Characters of its standard error that are kept. */
const MEMORY = 4096;
const PATIENCE = 60_000;

/**
 * Runs a program as long as the process named first lives. That may have died before the kernel was asked to tell; and a program
 * that is just starting may miss a signal, so that it is sent until it is gone.
 */
const keeper = `
[ "$PPID" = "$1" ] || exit 1
shift
trap 'while kill -TERM "$child" 2>/dev/null; do sleep 0.1; done; wait "$child"; exit $?' TERM
"$@" & child=$!
wait "$child"
exit $?`;

/** @throws MissingToolError; ImageToolError when it cannot be started at all. */
export async function startHelper(tool: ToolName, args: readonly string[], folder: string): Promise<Helper> {
  return startProgram(tool, await findTool(tool), args, folder);
}

/** The same with the path of the program; `tool` is its name for messages. */
export async function startProgram(tool: string, path: string, args: readonly string[], folder: string): Promise<Helper> {
  const setpriv = await findTool('setpriv');
  const kept = ['/bin/sh', '-c', keeper, tool, String(process.pid), path, ...args];
  const child = spawn(setpriv, ['--pdeathsig', 'TERM', '--', ...kept], {
    cwd: folder,
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, LC_ALL: 'C.UTF-8' },
  });
  return new Promise((resolve, reject) => {
    child.once('spawn', () => resolve(watch(tool, child, folder)));
    child.once('error', (cause) => reject(new ImageToolError(tool, `starting ${tool}`, cause.message, cause)));
  });
}

function watch(tool: string, child: ChildProcess, folder: string): Helper {
  let heard = '';
  child.stderr?.setEncoding('utf8').on('data', (piece: string) => {
    heard = (heard + piece).slice(-MEMORY);
  });
  let ending: string | undefined;
  const closed = new Promise<void>((resolve) => {
    child.once('close', (code) => {
      // As shells have it, a status above 128 is that of a signal.
      const signal = Object.entries(constants.signals).find(([, number]) => code === 128 + number)?.[0];
      ending = signal === undefined ? `${tool} ended with status ${code}` : `${tool} was ended by ${signal}`;
      resolve();
    });
  });
  const gone = async (patience: number): Promise<boolean> => {
    const timer = new AbortController();
    // An aborted timer rejects; nothing is left to do then.
    const late = setTimeout(patience, undefined, { signal: timer.signal }).catch(() => undefined);
    await Promise.race([closed, late]);
    timer.abort();
    return ending !== undefined;
  };
  return {
    async made(file, patience = Number.POSITIVE_INFINITY) {
      const begun = performance.now();
      while (ending === undefined && !(await exists(join(folder, file)))) {
        if (performance.now() - begun > patience) return false;
        await setTimeout(5);
      }
      return ending === undefined;
    },
    said: () => heard.trim(),
    ended: () => ending,
    gone,
    async stop(patience = PATIENCE) {
      child.kill('SIGTERM');
      // With all that it has started.
      if (!(await gone(patience))) process.kill(-(child.pid as number), 'SIGKILL');
      await closed;
    },
  };
}

/** A private folder for sockets and mounts, to be removed with `endLease`; its path is short, as that of a socket may have only 107 bytes. */
export async function privateFolder(): Promise<string> {
  const parent = tmpdir();
  return leasedFolder(join(Buffer.byteLength(parent) <= 80 ? parent : '/tmp', 'doppel-nbd-'));
}

async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}
