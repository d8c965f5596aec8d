/** One target's end of a copy: zeros become holes, what is there already is not written again, every piece leaves a digest. */
import { alignedBuffers } from '../image/aligned.ts';
import type { ByteRange, GuardedTarget, ReadBack } from '../image/contract.ts';
import { end, overlaps } from '../image/contract.ts';
import { type Action, CHUNK, type Task } from './blocks.ts';
import { DigestLog, type DigestRecord, digestOf } from './digests.ts';
import { LANES } from './lanes.ts';
import { merged, READ_THROUGH, within, without } from './ranges.ts';
import { allSettled } from './settled.ts';
import { isZero, type Run, runsOf } from './zeros.ts';

/** Differences are written in multiples of this. */
const PAGE = 4096;

/** What an earlier run left on stable storage. */
export interface DurablePieces {
  /** The record of exactly this piece. */
  find(piece: ByteRange): DigestRecord | undefined;
  /** The source has not changed since: what is durable need not be read again. */
  readonly sourceUnchanged: boolean;
}

export interface Compared {
  /** Whether the target may hold the range already. */
  has(range: ByteRange): boolean;
  /** Of the target, past the cache: after a failed write that shows what never got to the medium. */
  readonly medium: Pick<ReadBack, 'read'>;
}

const nothing: Compared = {
  has: () => false,
  medium: { read: () => Promise.reject(new TypeError('nothing of the target is compared')) },
};

export interface SinkOptions {
  /** What the target may hold already is read first, and written only where it differs. */
  readonly compared?: Compared;
  readonly durable?: DurablePieces;
  /** Whether the range read as zeros before the copy began, so that zeros need not be written there. */
  readonly isHole?: (range: ByteRange) => boolean;
  /** Called with zeros that stand on the target without having been written: they need no space there. Never with what is written later. */
  readonly onUnwritten?: (range: ByteRange) => void;
  /** Bytes of the source that cannot be read keep what the target has there; otherwise they become zeros. */
  readonly skipBad?: boolean;
  /** Called when a piece stands on the target as the source has it; it is not flushed yet. */
  readonly onPiece?: (record: DigestRecord) => void;
}

/** What was read of one block: `bytes` begins at byte `offset` of the source. `bad` could not be read. */
export interface ReadBlock {
  readonly bytes: Uint8Array;
  readonly offset: number;
  readonly bad: readonly ByteRange[];
}

/** With what the target holds, where it is compared. */
interface ComparedBlock extends ReadBlock {
  readonly held: Uint8Array | undefined;
}

/** Bytes of the target by what happened to them. */
export interface CopySums {
  readonly written: number;
  readonly zeroed: number;
  readonly discarded: number;
  /** Found durable, from an earlier run. */
  readonly resumed: number;
  /** Compared and found equal. */
  readonly same: number;
}

export class Sink {
  readonly digests = new DigestLog();
  /** Why this target takes nothing more. */
  error: unknown;
  readonly #target: GuardedTarget;
  readonly #options: SinkOptions;
  readonly #compared: Compared;
  readonly #sums = { written: 0, zeroed: 0, discarded: 0, resumed: 0, same: 0 };
  readonly #spare: Uint8Array[] = [];

  constructor(target: GuardedTarget, options: SinkOptions = {}) {
    this.#target = target;
    this.#options = options;
    this.#compared = options.compared ?? nothing;
  }

  get sums(): CopySums {
    return this.#sums;
  }

  /** The ranges of the source that these tasks need. */
  wanted(tasks: readonly Task[]): ByteRange[] {
    if (this.error !== undefined) return [];
    return tasks.filter((task) => task.action === 'copy' && this.#unread(task) === undefined);
  }

  /** What these tasks miss when `bad` cannot be read; they leave it for `takeLost`. */
  lostOf(tasks: readonly Task[], bad: readonly ByteRange[]): ByteRange[] {
    return this.wanted(tasks).flatMap((range) => within(range, bad));
  }

  /**
   * What the target holds where data is compared with it, each byte at its place in a block that begins at byte `offset`;
   * undefined when nothing is. Never rejects.
   */
  async held(pieces: readonly (ByteRange & { readonly action?: Action })[], offset: number): Promise<Uint8Array | undefined> {
    const compared = merged(
      pieces.filter((piece) => (piece.action ?? 'copy') === 'copy' && this.#compared.has(piece)),
      READ_THROUGH,
    );
    if (compared.length === 0 || this.error !== undefined) return undefined;
    const buffer = this.#buffer();
    await this.#each(compared, (range) =>
      this.#compared.medium.read(buffer.subarray(range.offset - offset, end(range) - offset), range.offset),
    );
    return buffer;
  }

  /** Carries the tasks out, but for what is `bad`; `held` is for it to keep. Never rejects: what goes wrong is `error`. */
  async take(tasks: readonly Task[], block: ReadBlock, held?: Uint8Array): Promise<void> {
    await this.#each(tasks, (task) => this.#takeOne(task, { ...block, held }));
    this.#giveBack(held);
  }

  /** Takes what `take` had to leave; `bad` is what could not be read in the end. Never rejects. */
  async takeLost(pieces: readonly ByteRange[], block: ReadBlock): Promise<void> {
    const held = await this.held(pieces, block.offset);
    await this.#each(pieces, async (piece) => {
      const rest = this.#options.skipBad === true ? without(piece, block.bad) : [piece];
      for (const part of rest) await this.#data(part, { ...block, held }, false);
    });
    this.#giveBack(held);
  }

  /** Side by side: what stands in one block is on its way together. */
  async #each<T>(items: readonly T[], step: (item: T) => Promise<void>): Promise<void> {
    if (this.error !== undefined) return;
    try {
      await allSettled(items.map(step));
    } catch (error) {
      this.error ??= error;
    }
  }

  async #takeOne(task: Task, block: ComparedBlock): Promise<void> {
    const { action, length } = task;
    if (action === 'discard') {
      await this.#target.discard(task.offset, length);
      this.#sums.discarded += length;
      return;
    }
    if (action === 'zero') return this.#zeros(task);
    const durable = this.#unread(task);
    if (durable !== undefined) return this.#resume(durable);
    if (!block.bad.some((range) => overlaps(range, task))) return this.#data(task, block, true);
    // Not told to anybody as done: a later run may be able to read the rest.
    for (const piece of without(task, block.bad)) await this.#data(piece, block, false);
  }

  /** A piece that is durable and need not even be read. */
  #unread(piece: ByteRange): DigestRecord | undefined {
    const { durable } = this.#options;
    return durable?.sourceUnchanged === true && !this.#compared.has(piece) ? durable.find(piece) : undefined;
  }

  #resume(record: DigestRecord): void {
    this.#sums.resumed += record.length;
    this.digests.add(record);
    if (record.digest === undefined) this.#options.onUnwritten?.(record);
  }

  async #data(piece: ByteRange, block: ComparedBlock, whole: boolean): Promise<void> {
    const at = (buffer: Uint8Array): Uint8Array => buffer.subarray(piece.offset - block.offset, end(piece) - block.offset);
    const bytes = at(block.bytes);
    if (block.held !== undefined && this.#compared.has(piece)) {
      await this.#differences(piece.offset, bytes, at(block.held));
      // Without anybody to tell, nothing is digested that is not written.
      if (whole) this.#options.onPiece?.(recordOf(piece.offset, bytes));
      return;
    }
    const record = recordOf(piece.offset, bytes);
    const before = this.#options.durable?.find(piece);
    if (before !== undefined && before.digest === record.digest) return this.#resume(record);
    await this.#write(piece.offset, bytes);
    await this.#target.startWriteback(piece.offset, piece.length);
    this.digests.add(record);
    if (whole) this.#options.onPiece?.(record);
  }

  async #write(offset: number, bytes: Uint8Array): Promise<void> {
    const writeRun = async ({ start, end: stop, zero }: Run): Promise<void> => {
      const size = stop - start;
      if (zero) {
        const range = { offset: offset + start, length: size };
        if (this.#options.isHole?.(range) === true) this.#options.onUnwritten?.(range);
        else await this.#target.zero(range.offset, size);
        this.#sums.zeroed += size;
      } else {
        await this.#target.write(bytes.subarray(start, stop), offset + start);
        this.#sums.written += size;
      }
    };
    await allSettled(runsOf(bytes).map(writeRun));
  }

  async #differences(offset: number, bytes: Uint8Array, held: Uint8Array): Promise<void> {
    const writeRun = async ({ start, stop }: { start: number; stop: number }): Promise<void> => {
      const run = bytes.subarray(start, stop);
      await this.#write(offset + start, run);
      this.digests.add(recordOf(offset + start, run));
      this.#sums.same -= run.length;
    };
    const runs = differingRuns(bytes, held);
    await allSettled(runs.map(writeRun));
    const [first, last] = [runs[0], runs.at(-1)];
    if (first !== undefined && last !== undefined)
      await this.#target.startWriteback(offset + first.start, last.stop - first.start);
    this.#sums.same += bytes.length;
  }

  async #zeros(task: Task): Promise<void> {
    const { offset, length } = task;
    const record = { offset, length, digest: undefined };
    if (!this.#compared.has(task)) {
      const before = this.#options.durable?.find(task);
      if (before !== undefined && before.digest === undefined) return this.#resume(record);
      await this.#zero(offset, length);
    } else {
      for (let at = offset; at < offset + length; at += CHUNK) {
        const step = Math.min(CHUNK, offset + length - at);
        if (await this.#holdsZeros(at, step)) this.#sums.same += step;
        else await this.#zero(at, step);
      }
    }
    this.#options.onPiece?.(record);
  }

  async #zero(offset: number, length: number): Promise<void> {
    await this.#target.zero(offset, length);
    this.#sums.zeroed += length;
    this.digests.add({ offset, length, digest: undefined });
  }

  async #holdsZeros(offset: number, length: number): Promise<boolean> {
    const buffer = this.#buffer();
    try {
      const bytes = buffer.subarray(0, length);
      await this.#compared.medium.read(bytes, offset);
      return isZero(bytes);
    } finally {
      this.#giveBack(buffer);
    }
  }

  #buffer(): Uint8Array {
    return this.#spare.pop() ?? (alignedBuffers(1, CHUNK)[0] as Uint8Array);
  }

  #giveBack(buffer: Uint8Array | undefined): void {
    if (buffer !== undefined && this.#spare.length < LANES) this.#spare.push(buffer);
  }
}

function recordOf(offset: number, bytes: Uint8Array): DigestRecord {
  return { offset, length: bytes.length, digest: isZero(bytes) ? undefined : digestOf(bytes) };
}

/** Runs of whole pages in which the two differ, touching ones merged. */
function differingRuns(wanted: Uint8Array, held: Uint8Array): { start: number; stop: number }[] {
  if (Buffer.compare(wanted, held) === 0) return [];
  const all = Buffer.from(wanted.buffer, wanted.byteOffset, wanted.length);
  const runs: { start: number; stop: number }[] = [];
  for (let start = 0; start < wanted.length; start += PAGE) {
    const stop = Math.min(start + PAGE, wanted.length);
    if (all.compare(held, start, stop, start, stop) === 0) continue;
    const last = runs.at(-1);
    if (last?.stop === start) last.stop = stop;
    else runs.push({ start, stop });
  }
  return runs;
}
