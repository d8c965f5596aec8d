/**
 * A mount namespace of its own that a child process holds, and commands run in it. The child is a shell that takes commands from
 * a pipe of this process: when doppel ends, however it ends, the child ends, and the kernel takes the mounts down with it.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { mkdir, readFile } from 'node:fs/promises';
import type { Readable, Writable } from 'node:stream';
import { ToolFailedError } from '../errors.ts';
import { missingTool } from './tool.ts';

/** A tool and its arguments. */
export type Command = readonly [tool: string, ...args: string[]];

/** Behind the output of every command: its exit status. A NUL does not occur in what tools say. */
const MARK = '\0doppel ';
const NOT_FOUND = 127;
const LONGEST_OUTPUT = 1 << 16;

/** Covered by a tmpfs inside the namespace, so that it need not be created or cleaned; the host never sees that. */
const base = '/tmp';

export class MountNamespace {
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #ended: Promise<unknown>;
  /** Commands run one after the other, in the order in which they were asked for. */
  #last: Promise<unknown> = Promise.resolve();
  readonly #ready: Promise<void>;
  #places = 0;
  #said = '';
  #failure: Error | undefined;
  #wake: () => void = () => undefined;

  /** Needs root. Whatever goes wrong is thrown by the first command: one may be made ahead of time, while others work. */
  constructor() {
    const args = ['--mount', '--propagation', 'slave', '--', 'sh'];
    // A session of its own: Ctrl-C reaches doppel, which then closes what it opened, and not the holder of the mounts.
    const env = { ...process.env, LC_ALL: 'C.UTF-8' };
    const child = spawn('unshare', args, { stdio: ['pipe', 'pipe', 'pipe'], detached: true, cwd: '/', env });
    this.#child = child;
    // Comes behind "error" too; `once` would reject then.
    this.#ended = new Promise((resolve) => child.once('close', resolve));
    // Writing to a child that is gone must not end the process; its end is told below.
    child.stdin.on('error', () => {});
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8');
      stream.on('data', (text: string) => {
        this.#said = (this.#said + text).slice(-LONGEST_OUTPUT);
        this.#wake();
      });
    }
    child.once('error', (error: NodeJS.ErrnoException) => {
      this.#failure =
        error.code === 'ENOENT'
          ? missingTool('unshare')
          : new ToolFailedError('unshare', [], String(error.code), error.message, error);
      this.#wake();
    });
    child.once('close', (code, signal) => {
      this.#failure ??= new ToolFailedError('unshare', [], String(signal ?? `exit ${code}`), this.#said);
      this.#wake();
    });
    this.#ready = this.#prepare();
    this.#ready.catch(() => {});
  }

  /** A fresh, empty directory to mount something on; it goes away with the namespace. */
  async place(): Promise<string> {
    await this.#ready;
    const place = `${base}/${this.#places++}`;
    await mkdir(this.path(place)).catch((error: NodeJS.ErrnoException) => {
      throw new ToolFailedError('mkdir', [place], String(error.code), error.message, error);
    });
    return place;
  }

  /** Where a path of the namespace is seen from outside. */
  path(inside: string): string {
    return `/proc/${this.#child.pid}/root${inside}`;
  }

  /** Runs commands one after the other. @throws MissingToolError, ToolFailedError of the first that fails */
  async run(...commands: readonly Command[]): Promise<void> {
    await this.#ready;
    const turn = this.#last.then(() => this.#runAll(commands));
    this.#last = turn.catch(() => {});
    return turn;
  }

  async #runAll(commands: readonly Command[]): Promise<void> {
    for (const [tool, ...args] of commands) {
      const { status, said } = await this.#ask([tool, ...args]);
      if (status === NOT_FOUND) throw missingTool(tool);
      if (status !== 0) throw new ToolFailedError(tool, args, `exit ${status}`, said);
    }
  }

  async #prepare(): Promise<void> {
    await this.#runAll([[':']]);
    await this.#letGo();
    await this.#runAll([['mount', '-n', '-t', 'tmpfs', '-o', 'mode=0700,size=64k,nosuid,nodev,noexec', 'doppel', base]]);
  }

  async close(): Promise<void> {
    this.#child.stdin.end();
    await this.#ended;
  }

  async #ask(command: Command): Promise<{ readonly status: number; readonly said: string }> {
    this.#said = '';
    this.#child.stdin.write(`${command.map(quoted).join(' ')} </dev/null 2>&1; printf '\\0doppel %s\\n' $?\n`);
    for (;;) {
      const at = this.#said.indexOf(MARK);
      const [, status] = at < 0 ? [] : (/^(\d+)\n/.exec(this.#said.slice(at + MARK.length)) ?? []);
      if (status !== undefined) return { status: Number(status), said: this.#said.slice(0, at) };
      if (this.#failure !== undefined) throw this.#failure;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /**
   * The new namespace begins with copies of all mounts of the host. They are let go, but for what the tools here need: else a file
   * system that the host unmounts meanwhile would live on in here, with its device busy and its last writes not yet on the disk.
   */
  async #letGo(): Promise<void> {
    const mounts = await readFile(`/proc/${this.#child.pid}/mountinfo`, 'latin1');
    const places = mounts
      .split('\n')
      .map((line) => line.split(' ')[4])
      .filter((place) => place !== undefined && !needed.test(place))
      // proc(5) writes blanks and backslashes as octal numbers; bytes stay bytes.
      .map((place) =>
        (place as string).replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8))),
      );
    // What is inside another that has gone is gone with it, and that is no error.
    if (places.length > 0)
      await this.#ask(['umount', '-n', '-l', ...places.map((place) => Buffer.from(place, 'latin1').toString())]);
  }
}

const needed = /^\/($|(proc|sys|dev|usr|etc|nix|gnu)(\/|$)|(bin|sbin)$|lib)/;

function quoted(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}
