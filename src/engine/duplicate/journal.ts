/**
 * What a run has made durable, kept outside of both disks, so that a run which was killed need not copy it again. Losing a
 * journal loses nothing else; whatever in it is torn or makes no sense counts as not written.
 *
 * Text, so that people can look into it: a first line `doppel-journal 1 {run, source, target, ...}`, then batches of
 * `p OFFSET LENGTH XXH64|zero` (a piece that is durable) and `d OFFSET LENGTH` (written otherwise since; the pieces there do not
 * count any more), each closed by `end CRC32`, the checksum of the batch's lines. Offsets and lengths are bytes.
 */
import { createHash } from 'node:crypto';
import { type FileHandle, mkdir, open, readdir, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { crc32 } from 'node:zlib';
import { IoError } from '../errors.ts';
import type { ByteRange } from '../image/contract.ts';
import { DigestLog, type DigestRecord } from '../lanes/digests.ts';
import { SystemCallError, tryLock } from '../native/libc.ts';
import { IntervalSet } from '../protect/intervals.ts';

/** Root's is the system's; others have one of their own (XDG base directory specification). */
export function defaultStateDir(): string {
  if (process.getuid?.() === 0) return '/var/lib/doppel';
  const state = process.env.XDG_STATE_HOME;
  return join(state !== undefined && isAbsolute(state) ? state : join(homedir(), '.local/state'), 'doppel');
}

/** What must be the same for a journal to count. */
export interface JournalFacts {
  readonly runId: string;
  /** What the source was: identity and hash of its tables; plain data. */
  readonly source: unknown;
  readonly target: unknown;
}

const MAGIC = 'doppel-journal 1 ';
const LONGEST_HEADER = 1 << 16;
const READ_STEP = 1 << 20;
/** Lines that are closed by one checksum; more are taken for something else than a journal. */
const LONGEST_BATCH = 1 << 16;

/** Pieces that a journal proves durable. */
export class DurableIndex {
  readonly dirty: IntervalSet;
  readonly #log: DigestLog;
  readonly #order: Uint32Array;

  constructor(log: DigestLog, dirty: IntervalSet) {
    this.#log = log;
    this.dirty = dirty;
    // Of two records of one piece the later one counts.
    this.#order = Uint32Array.from({ length: log.count }, (_, i) => i).sort((a, b) => log.offsetAt(a) - log.offsetAt(b) || a - b);
  }

  /** The record of exactly this piece. */
  find(piece: ByteRange): DigestRecord | undefined {
    let low = 0;
    let high = this.#order.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#log.offsetAt(this.#order[middle] as number) <= piece.offset) low = middle + 1;
      else high = middle;
    }
    if (low === 0) return undefined;
    const record = this.#log.at(this.#order[low - 1] as number);
    const same = record.offset === piece.offset && record.length === piece.length && !this.dirty.touches(piece);
    return same ? record : undefined;
  }

  /** Bytes that are durable. */
  get bytes(): number {
    let sum = 0;
    for (const [i, index] of this.#order.entries()) {
      const next = this.#order[i + 1];
      const record = this.#log.at(index);
      if (next !== undefined && this.#log.offsetAt(next) === record.offset) continue;
      if (!this.dirty.touches(record)) sum += record.length;
    }
    return sum;
  }
}

export interface FoundJournal {
  readonly facts: JournalFacts;
  readonly durable: DurableIndex;
  /** Bytes of the file up to the last whole batch. */
  readonly valid: number;
}

/** Where the journal of a run stands; the name says nothing of the disks. */
export function journalPath(stateDir: string, runId: string): string {
  const name = /^[0-9A-Fa-f-]{36}$/.test(runId) ? runId.toUpperCase() : createHash('sha256').update(runId).digest('hex');
  return join(stateDir, `${name}.journal`);
}

/** The journal of an earlier run; undefined when there is none, or nothing in it can be made out. @throws JournalError */
export async function readJournal(stateDir: string, runId: string): Promise<FoundJournal | undefined> {
  const path = journalPath(stateDir, runId);
  let file: FileHandle;
  try {
    file = await open(path, 'r');
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'EACCES') return undefined;
    throw new JournalError(path, cause);
  }
  try {
    return await parse(file);
  } catch (cause) {
    throw new JournalError(path, cause);
  } finally {
    await file.close();
  }
}

/** The journal of a run whose id is not known: by the disks that it was about. */
export async function findJournal(stateDir: string, isIt: (facts: JournalFacts) => boolean): Promise<FoundJournal | undefined> {
  for (const runId of await runsIn(stateDir)) {
    const found = await readJournal(stateDir, runId);
    if (found !== undefined && isIt(found.facts)) return found;
  }
  return undefined;
}

/** Ids of the runs that have journals. */
async function runsIn(stateDir: string): Promise<string[]> {
  try {
    const names = await readdir(stateDir);
    return names.filter((name) => /^[0-9A-F-]{36}\.journal$/.test(name)).map((name) => name.slice(0, -'.journal'.length));
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'EACCES') return [];
    throw new JournalError(stateDir, cause);
  }
}

async function parse(file: FileHandle): Promise<FoundJournal | undefined> {
  const log = new DigestLog();
  const dirty: ByteRange[] = [];
  let facts: JournalFacts | undefined;
  let valid = 0;
  let batch: string[] = [];
  let batchBytes = 0;
  for await (const line of linesOf(file)) {
    if (facts === undefined) {
      facts = parseHeader(line);
      if (facts === undefined) return undefined;
      valid = line.length + 1;
      continue;
    }
    batchBytes += line.length + 1;
    if (!line.startsWith('end ')) {
      if (batch.length === LONGEST_BATCH) break;
      batch.push(line);
      continue;
    }
    const records = line === endOf(batch) ? batch.map(parseRecord) : [undefined];
    if (!records.every((record) => record !== undefined)) break;
    for (const record of records) {
      if ('digest' in record) log.add(record);
      else dirty.push(record);
    }
    valid += batchBytes;
    batch = [];
    batchBytes = 0;
  }
  return facts && { facts, durable: new DurableIndex(log, IntervalSet.of(...dirty)), valid };
}

/** Lines without their newlines; stops at what cannot be a line of a journal, and at an unfinished last line. */
async function* linesOf(file: FileHandle): AsyncGenerator<string> {
  const buffer = Buffer.alloc(READ_STEP);
  let rest = '';
  for (let at = 0; ; ) {
    const { bytesRead } = await file.read(buffer, 0, buffer.length, at);
    if (bytesRead === 0) return;
    at += bytesRead;
    const lines = (rest + buffer.toString('latin1', 0, bytesRead)).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      if (line.length > LONGEST_HEADER) return;
      yield line;
    }
    if (rest.length > LONGEST_HEADER) return;
  }
}

function parseHeader(line: string): JournalFacts | undefined {
  if (!line.startsWith(MAGIC)) return undefined;
  try {
    // Written as ASCII; what is not JSON is no journal of ours.
    const facts: unknown = JSON.parse(line.slice(MAGIC.length));
    return typeof facts === 'object' && facts !== null && typeof (facts as JournalFacts).runId === 'string'
      ? (facts as JournalFacts)
      : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function parseRecord(line: string): DigestRecord | ByteRange | undefined {
  const [, kind, offsetText, lengthText, digest] = /^([pd]) (\d{1,16}) (\d{1,16})(?: ([0-9a-f]{16}|zero))?$/.exec(line) ?? [];
  const [offset, length] = [Number(offsetText), Number(lengthText)];
  if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || !Number.isSafeInteger(offset + length)) return undefined;
  if (kind === 'd') return digest === undefined ? { offset, length } : undefined;
  if (digest === undefined) return undefined;
  return { offset, length, digest: digest === 'zero' ? undefined : BigInt(`0x${digest}`) };
}

function endOf(lines: readonly string[]): string {
  return `end ${crc32(lines.map((line) => `${line}\n`).join(''))
    .toString(16)
    .padStart(8, '0')}`;
}

/** Writes one run's journal. */
export class Journal {
  readonly #path: string;
  readonly #file: FileHandle;
  #closed = false;

  private constructor(path: string, file: FileHandle) {
    this.#path = path;
    this.#file = file;
  }

  /**
   * Goes on with the journal that was found, or begins a new one and removes older ones about the same target. A new one is on
   * stable storage when its first entries are, or with `durable` at once: when nothing else tells of the run.
   * @throws JournalError when the directory cannot be made or written
   */
  static async open(
    stateDir: string,
    facts: JournalFacts,
    found: FoundJournal | undefined,
    { durable = false }: { readonly durable?: boolean } = {},
  ): Promise<Journal> {
    const path = journalPath(stateDir, facts.runId);
    let file: FileHandle | undefined;
    try {
      await mkdir(stateDir, { recursive: true, mode: 0o700 });
      if (found !== undefined && found.facts.runId === facts.runId) {
        file = await open(path, 'a');
        holds(file);
        await file.truncate(found.valid);
        return new Journal(path, file);
      }
      await removeOthers(stateDir, facts);
      file = await open(path, 'w', 0o600);
      holds(file);
      const header = JSON.stringify(facts).replace(/[^\x20-\x7e]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
      await file.appendFile(`${MAGIC}${header}\n`);
      if (durable) await file.sync();
      return new Journal(path, file);
    } catch (cause) {
      await file?.close();
      throw new JournalError(path, cause);
    }
  }

  /** To be called when the target has flushed these pieces. @throws JournalError */
  append(pieces: readonly DigestRecord[]): Promise<void> {
    return this.#batch(
      pieces.map(
        ({ offset, length, digest }) =>
          `p ${offset} ${length} ${digest === undefined ? 'zero' : digest.toString(16).padStart(16, '0')}`,
      ),
    );
  }

  /** To be called before these ranges are written by something else than the copy. @throws JournalError */
  markDirty(ranges: Iterable<ByteRange>): Promise<void> {
    return this.#batch([...ranges].map(({ offset, length }) => `d ${offset} ${length}`));
  }

  async #batch(lines: readonly string[]): Promise<void> {
    if (lines.length === 0) return;
    try {
      // All of it or an error: a full disk takes a part of what it is given.
      for (let from = 0; from < lines.length; from += LONGEST_BATCH) {
        const batch = lines.slice(from, from + LONGEST_BATCH);
        await this.#file.appendFile(`${batch.join('\n')}\n${endOf(batch)}\n`);
      }
      await this.#file.datasync();
    } catch (cause) {
      throw new JournalError(this.#path, cause);
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#file.close();
  }

  /** The run is done, or what the journal says is not true: nothing shall be resumed from it. @throws JournalError */
  async remove(): Promise<void> {
    try {
      await this.close();
      await rm(this.#path, { force: true });
    } catch (cause) {
      throw new JournalError(this.#path, cause);
    }
  }
}

/** Journals about the same target, and those that nobody can make out any more, unless somebody is just beginning one. */
async function removeOthers(stateDir: string, facts: JournalFacts): Promise<void> {
  for (const runId of await runsIn(stateDir)) {
    const path = journalPath(stateDir, runId);
    const other = await readJournal(stateDir, runId);
    const useless = other === undefined ? await isFree(path) : isDeepStrictEqual(other.facts.target, facts.target);
    if (useless) await rm(path, { force: true });
  }
}

async function isFree(path: string): Promise<boolean> {
  try {
    const file = await open(path, 'r');
    try {
      return holds(file);
    } finally {
      await file.close();
    }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'EACCES') return false;
    throw error;
  }
}

/** The lock tells that a run is writing it. True also where there are no locks. */
function holds(file: FileHandle): boolean {
  try {
    return tryLock(file.fd);
  } catch (error) {
    if (error instanceof SystemCallError) return true;
    throw error;
  }
}

/** The journal cannot be read or written; the disks have nothing to do with it. */
export class JournalError extends IoError {
  constructor(path: string, cause: unknown) {
    super(`the journal ${path} cannot be used: ${cause instanceof Error ? cause.message : String(cause)}`, {
      code: 'JOURNAL',
      todo: 'Name another directory with --state-dir. Without a journal a run that was killed copies everything again.',
      data: { path },
      cause,
    });
  }
}
