/** Disks with faults: an nbdkit server whose requests fail where a test says, and the same as a block device. Undone at the end. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { executeClone } from '../../../src/engine/duplicate/execute.ts';
import { planClone } from '../../../src/engine/duplicate/make-plan.ts';
import type { CloneResult } from '../../../src/engine/duplicate/result.ts';
import { DoppelError } from '../../../src/engine/errors.ts';
import type { EngineEvent, TargetState } from '../../../src/engine/events.ts';
import type { ByteRange } from '../../../src/engine/image/contract.ts';
import { atEnd } from '../../fixtures/cleanup.ts';
import { attachLoop, type Loop } from '../../fixtures/loop.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { isListening, until } from '../image/processes.ts';
import { requestOf, type Wishes } from './requests.ts';
import { tool } from './small-disk.ts';

/** A server of `file` that cannot read these ranges; more arguments of nbdkit may follow those of its file plugin. */
export async function badSectors(file: string, bad: readonly ByteRange[], ...more: readonly string[]): Promise<Served & Healing> {
  const folder = tempDir('sectors');
  const map = join(folder, 'map');
  const set = (ranges: readonly ByteRange[]): void => {
    const sorted = ranges.toSorted((one, other) => one.offset - other.offset);
    const lines = ['0 + 1'];
    let at = 0;
    for (const { offset, length } of sorted) {
      // The filter overlooks whatever follows an empty range.
      lines.push(...(offset > at ? [`${at} ${offset - at} +`] : []), `${offset} ${length} -`);
      at = offset + length;
    }
    const left = statSync(file).size - at;
    writeFileSync(map, `${[...lines, ...(left > 0 ? [`${at} ${left} +`] : [])].join('\n')}\n`);
  };
  set(bad);
  const server = await serve(join(folder, 'socket'), '--filter=ddrescue', 'file', file, `ddrescue-mapfile=${map}`, ...more);
  return {
    ...server,
    async turn(ranges) {
      set(ranges);
      await server.restart();
    },
  };
}

export interface Healing {
  /** From now on these are what cannot be read. */
  turn(ranges: readonly ByteRange[]): Promise<void>;
}

export interface Served {
  readonly uri: string;
  /** Ends it, if it has not ended yet, and starts it again at the same place. */
  restart(): Promise<void>;
  stop(signal?: NodeJS.Signals): Promise<void>;
  send(signal: NodeJS.Signals): void;
}

/** nbdkit on `socket`; `args` are filters, plugin and parameters. What it says of injected faults is not shown. */
export async function serve(socket: string, ...args: readonly string[]): Promise<Served> {
  let running: Running | undefined;
  const stop = async (signal?: NodeJS.Signals): Promise<void> => {
    await running?.stop(signal);
    running = undefined;
  };
  const begin = async (): Promise<void> => {
    tool('rm', ['-f', socket]);
    running = quiet('nbdkit', '--foreground', '--unix', socket, ...args);
    await until('nbdkit listens', () => isListening(socket));
  };
  await begin();
  const restart = async (): Promise<void> => {
    await stop();
    await begin();
  };
  return { uri: `nbd+unix:///?socket=${encodeURIComponent(socket)}`, restart, stop, send: (signal) => running?.send(signal) };
}

interface Running {
  send(signal: NodeJS.Signals): void;
  stop(signal?: NodeJS.Signals): Promise<void>;
}

/** Says nothing, and does not keep the test from ending. */
function quiet(command: string, ...args: readonly string[]): Running {
  const child = spawn(command, args, { stdio: 'ignore' });
  const gone = once(child, 'exit');
  child.unref();
  const takeBack = atEnd(() => child.kill('SIGKILL'));
  return {
    send: (signal) => void child.kill(signal),
    async stop(signal = 'SIGTERM') {
      child.ref();
      child.kill(signal);
      await gone;
      takeBack();
    },
  };
}

/** A block device of what a server serves: read errors come out of the kernel, in sectors of 512 bytes. */
export async function asDevice(uri: string): Promise<Loop> {
  const file = join(tempDir('fuse'), 'disk');
  writeFileSync(file, '');
  quiet('nbdfuse', file, uri);
  await until('nbdfuse shows the disk', () => tool('stat', ['-c', '%s', file]).trim() !== '0');
  atEnd(() => tool('umount', ['--lazy', file]));
  const loop = attachLoop(file);
  // Else the loop device reads through the cache of the file, whole pages at a time.
  tool('losetup', ['--direct-io=on', loop.device]);
  return loop;
}

export interface Tried {
  readonly result?: CloneResult;
  /** What it ended with. */
  readonly error?: DoppelError;
  readonly state: TargetState;
  readonly warnings: readonly string[];
}

/** A clone that may fail; `during` is called at every event. */
export async function attempt(
  source: string,
  target: string,
  wishes: Wishes = {},
  during: (event: EngineEvent) => void = () => {},
): Promise<Tried> {
  let state: TargetState = 'untouched';
  const warnings: string[] = [];
  const onEvent = (event: EngineEvent): void => {
    if (event.type === 'target') state = event.state;
    if (event.type === 'warning') warnings.push(event.message);
    during(event);
  };
  try {
    const plan = await planClone(requestOf(source, target, { as: 'none', ...wishes }), { onEvent });
    return { result: await executeClone(plan, { onEvent }), state, warnings };
  } catch (error) {
    if (error instanceof DoppelError) return { error, state, warnings };
    throw error;
  }
}
