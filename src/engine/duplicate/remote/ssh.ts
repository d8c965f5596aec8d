/** A doppel on another computer, reached by ssh: what it reads, and what it says. */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { StreamBytes } from '../../archive/stream-bytes.ts';
import type { SshTarget } from './address.ts';
import { RemoteLostError, RemoteMissingError, RemoteNoiseError, SshFailedError } from './errors.ts';
import { LONGEST_LINE, type Message, parseMessage } from './protocol.ts';

export interface SshOptions {
  /** The program and its options, separated by blanks. */
  readonly ssh: string;
  /** How doppel is started there, as its shell understands it. */
  readonly remoteCommand: string;
}

/** What ssh itself ends with when it fails, and shells when there is no such program. */
const SSH_FAILED = 255;
const NOT_FOUND = 127;
/** Characters of what it wrote to its standard error that are kept. */
const MEMORY = 4096;
/** Seconds without a sign of life from the other side, and how often. */
const alive = ['-o', 'ServerAliveInterval=15', '-o', 'ServerAliveCountMax=4'];

export class SshConnection {
  readonly host: string;
  readonly #command: string;
  readonly #child: ChildProcess;
  readonly #output: StreamBytes;
  readonly #ended: Promise<{ readonly code: number | null; readonly signal: string | null; readonly error?: Error }>;
  #said = '';
  #heard = false;

  constructor({ host, user, port }: SshTarget, { ssh, remoteCommand }: SshOptions) {
    this.host = host;
    this.#command = remoteCommand;
    const [program = 'ssh', ...options] = ssh.split(/\s+/).filter((word) => word !== '');
    const where = [...(port === undefined ? [] : ['-p', String(port)]), ...(user === undefined ? [] : ['-l', user]), host];
    this.#child = spawn(program, [...options, '-T', ...alive, ...where, `${remoteCommand} receive`], {
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.#ended = new Promise((resolve) => {
      this.#child.once('error', (error) => resolve({ code: null, signal: null, error }));
      this.#child.once('close', (code, signal) => resolve({ code, signal }));
    });
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#said = (this.#said + text).slice(-MEMORY);
    });
    // Whoever writes is told, and `failure` says why.
    this.#child.stdin?.on('error', () => {});
    this.#output = new StreamBytes(host, this.#child.stdout as Readable);
  }

  /** Where the other side reads. */
  get input(): Writable {
    return this.#child.stdin as Writable;
  }

  /** @throws RemoteNoiseError, and the errors of `failure` when it ends */
  async next(): Promise<Message> {
    const line = await this.#output.line(LONGEST_LINE);
    if (line === undefined) throw await this.failure();
    const message = parseMessage(line);
    if (message === undefined) throw new RemoteNoiseError(this.host, line);
    this.#heard = true;
    return message;
  }

  /** Why it ended, though it should not have. */
  async failure(): Promise<Error> {
    const { code, signal, error } = await this.#ended;
    const said = this.#said.trim().split('\n').at(-1)?.trim() ?? '';
    if (error !== undefined) return new SshFailedError(this.host, error.message);
    if (this.#heard) return new RemoteLostError(this.host, said || (signal === null ? `exit ${code}` : `ended by ${signal}`));
    if (code === NOT_FOUND) return new RemoteMissingError(this.host, this.#command, said);
    return new SshFailedError(this.host, said || `${code === SSH_FAILED ? 'it' : 'the other side'} ended with ${code ?? signal}`);
  }

  /** Ends it; the other side reads the end of its input. */
  async close(): Promise<void> {
    this.#child.stdin?.destroy();
    // What nobody reads any more would keep it open.
    this.#child.stdout?.destroy();
    const timer = setTimeout(() => this.#child.kill(), 5000);
    await this.#ended;
    clearTimeout(timer);
  }
}
