/**
 * A target that keeps a list of what was written and flushed, and disks as they could stand after the power fails at any place in that
 * list: what was flushed is there, and of what was written since any part may be. The idea is that of dm-log-writes(8) of Linux.
 *
 * What the kernel writes through a window is found by comparing the range before and after. Ranges are bytes.
 */
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { open } from 'node:fs/promises';
import type { ByteRange, Window } from '../../src/engine/image/contract.ts';
import { DescriptorImage } from '../../src/engine/image/descriptor-image.ts';
import { bytesOf } from '../engine/duplicate/disk-facts.ts';

interface WriteOp {
  readonly kind: 'write';
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** What has happened, in the order of time. A write is under way from `begin` to `end`; a flush covers what ended before it began. */
type Entry =
  | { readonly at: 'begin' | 'end'; readonly op: WriteOp }
  | { readonly at: 'begin flush' | 'end flush'; readonly flush: number }
  | { readonly at: 'journal'; readonly durable: Buffer }
  | { readonly at: 'phase'; readonly phase: string };

const page = 4096;
const sector = 512;

export class WriteLog {
  readonly entries: Entry[] = [];
  #flushes = 0;

  phase(phase: string): void {
    this.entries.push({ at: 'phase', phase });
  }

  async write(op: WriteOp, step: () => Promise<void>): Promise<void> {
    this.entries.push({ at: 'begin', op });
    await step();
    this.entries.push({ at: 'end', op });
  }

  async flush(step: () => Promise<void>): Promise<void> {
    const flush = this.#flushes++;
    this.entries.push({ at: 'begin flush', flush });
    await step();
    this.entries.push({ at: 'end flush', flush });
  }

  async window(path: string, range: ByteRange, inner: () => Promise<Window>): Promise<Window> {
    const before = bytesOf(path, range);
    const window = await inner();
    let closing: Promise<void> | undefined;
    const close = async (): Promise<void> => {
      await window.close();
      const after = bytesOf(path, range);
      const ops = differingPages(before, after).map(
        ([start, stop]): WriteOp => ({ kind: 'write', offset: range.offset + start, bytes: after.subarray(start, stop) }),
      );
      for (const at of ['begin', 'end'] as const) for (const op of ops) this.entries.push({ at, op });
    };
    return {
      device: window.device,
      close: () => {
        closing ??= close();
        return closing;
      },
    };
  }

  /** What the journal holds when it has been made durable. */
  journal(durable: Buffer): void {
    this.entries.push({ at: 'journal', durable });
  }
}

function differingPages(before: Buffer, after: Buffer): [start: number, stop: number][] {
  const found: [number, number][] = [];
  for (let start = 0; start < after.length; start += page) {
    const stop = Math.min(start + page, after.length);
    if (before.compare(after, start, stop, start, stop) !== 0) found.push([start, stop]);
  }
  return found;
}

/** Notes what the engine does to the image at `path` while `action` runs. */
export async function recorded<T>(path: string, log: WriteLog, action: () => Promise<T>): Promise<T> {
  const real = pick(DescriptorImage.prototype);
  const own = DescriptorImage.prototype;
  own.write = function (from, offset) {
    const step = () => real.write.call(this, from, offset);
    return this.path === path ? log.write({ kind: 'write', offset, bytes: Uint8Array.from(from) }, step) : step();
  };
  own.zero = function (offset, length) {
    const step = () => real.zero.call(this, offset, length);
    return this.path === path ? log.write({ kind: 'write', offset, bytes: new Uint8Array(length) }, step) : step();
  };
  own.discard = async () => {
    throw new Error('nobody asked for a discard');
  };
  own.flush = function () {
    const step = () => real.flush.call(this);
    return this.path === path ? log.flush(step) : step();
  };
  own.openWindow = function (range, options) {
    const step = () => real.openWindow.call(this, range, options);
    return this.path === path && !options.readOnly ? log.window(path, range, step) : step();
  };
  const handle = await open('/dev/null');
  const files = Object.getPrototypeOf(handle);
  await handle.close();
  const { datasync } = files;
  // Only the journal is made durable by this call.
  files.datasync = async function (this: { fd: number }): Promise<void> {
    await datasync.call(this);
    log.journal(bytesOfDescriptor(this.fd));
  };
  try {
    return await action();
  } finally {
    Object.assign(own, real);
    files.datasync = datasync;
  }
}

type Watched = 'write' | 'zero' | 'discard' | 'flush' | 'openWindow';

function pick(from: DescriptorImage): Pick<DescriptorImage, Watched> {
  const { write, zero, discard, flush, openWindow } = from;
  return { write, zero, discard, flush, openWindow };
}

function bytesOfDescriptor(fd: number): Buffer {
  // It was opened for appending: reading needs a descriptor of its own.
  const file = openSync(`/proc/self/fd/${fd}`, 'r');
  try {
    const bytes = Buffer.alloc(1 << 20);
    return bytes.subarray(0, readSync(file, bytes, 0, bytes.length, 0));
  } finally {
    closeSync(file);
  }
}

export interface Crash {
  readonly phase: string;
  /** How many entries of the log had happened. */
  readonly position: number;
  readonly durable: readonly WriteOp[];
  /** Written or being written, in that order: any part of it may be on the medium. */
  readonly pending: readonly WriteOp[];
  /** The journal as it is for sure; undefined when it is not there yet. */
  readonly journal: Buffer | undefined;
}

/** The crash right after the first `position` entries. */
export function crashAt(entries: readonly Entry[], position: number): Crash {
  const begun: WriteOp[] = [];
  const ended = new Set<WriteOp>();
  const coverage = new Map<number, ReadonlySet<WriteOp>>();
  let safe: ReadonlySet<WriteOp> = new Set();
  let phase = 'plan';
  let journal: Buffer | undefined;
  for (const entry of entries.slice(0, position)) {
    switch (entry.at) {
      case 'begin':
        begun.push(entry.op);
        break;
      case 'end':
        ended.add(entry.op);
        break;
      case 'begin flush':
        coverage.set(entry.flush, new Set(ended));
        break;
      case 'end flush':
        safe = new Set([...safe, ...(coverage.get(entry.flush) ?? [])]);
        break;
      case 'journal':
        journal = entry.durable;
        break;
      case 'phase':
        phase = entry.phase;
    }
  }
  return {
    phase,
    position,
    durable: begun.filter((op) => safe.has(op)),
    pending: begun.filter((op) => !safe.has(op)),
    journal,
  };
}

/** What of a pending write is on the medium: all, nothing, or each sector of small and each page of large ones by chance. */
export type Fate = 'whole' | 'lost' | 'torn';

/** Brings a copy of the old disk to where it would be. */
export function applyCrash(disk: string, { durable, pending }: Crash, fates: readonly Fate[], random: () => number): void {
  const file = openSync(disk, 'r+');
  try {
    for (const { offset, bytes } of durable) writeSync(file, bytes, 0, bytes.length, offset);
    for (const [index, { offset, bytes }] of pending.entries()) {
      const fate = fates[index];
      if (fate === 'lost') continue;
      const grain = fate === 'whole' ? bytes.length : bytes.length > 64 * 1024 ? page : sector;
      for (let at = 0; at < bytes.length; at += grain) {
        const length = Math.min(grain, bytes.length - at);
        if (fate === 'whole' || random() < 0.5) writeSync(file, bytes, at, length, offset + at);
      }
    }
  } finally {
    closeSync(file);
  }
}
