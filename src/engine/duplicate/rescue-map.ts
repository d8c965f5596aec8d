/**
 * Map files of GNU ddrescue: which bytes of a failing disk were read, which could not be, which were not tried. Offsets and
 * lengths are bytes. Format: chapter "Mapfile structure" of the ddrescue manual: `#` comments, a line with the current
 * position, status and pass, then lines `position size status` in ascending order without gaps.
 */
import { constants } from 'node:fs';
import { access, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { CorruptInputError, IoError, UsageError } from '../errors.ts';
import type { ByteRange } from '../image/contract.ts';
import type { DigestLog } from '../lanes/digests.ts';
import { IntervalBuilder, IntervalSet } from '../protect/intervals.ts';
import type { ClonePlan } from './plan.ts';

export interface RescueMap {
  /** Status `+`. */
  readonly finished: IntervalSet;
  /**
   * Everything else: bad sectors, what was not tried, trimmed or scraped; and what lies before the first line and behind the last,
   * without end. A map that was cut off must not make what is lost look read.
   */
  readonly missing: IntervalSet;
}

const statuses = /^[?*/+-]$/;

/**
 * Whether a map can be written there later, asked before anything is done.
 * @throws UsageError for what is neither missing nor a map that may be replaced, or in a folder that cannot be written
 */
export async function checkMapPlace(path: string, sourceMap: string | undefined): Promise<void> {
  const refused = (why: string, cause?: unknown): UsageError =>
    new UsageError(`--map ${path}: ${why}`, {
      code: 'MAP_FILE',
      todo: 'Name a file that does not exist yet, in a folder that can be written, or an older map file.',
      data: { path },
      cause,
    });
  if (sourceMap !== undefined && resolve(sourceMap) === resolve(path)) {
    throw refused('that is the map file of the source, which knows more than one of this run would');
  }
  try {
    await access(dirname(resolve(path)), constants.W_OK);
  } catch (cause) {
    throw refused(`its folder cannot be written (${(cause as Error).message})`, cause);
  }
  const stats = await stat(path).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT') return undefined;
    throw refused(cause.message, cause);
  });
  if (stats === undefined) return;
  if (!stats.isFile()) throw refused('that is no regular file');
  if (stats.size === 0) return;
  if (stats.size > LARGEST_MAP) throw refused('that is no map file');
  await readRescueMap(path).catch((cause: unknown) => {
    throw cause instanceof RescueMapError ? refused('that file is there already, and it is no map file', cause) : cause;
  });
}

/** A line has some 30 bytes: a million bad areas. */
const LARGEST_MAP = 64 << 20;

/** @throws RescueMapError for what is no map file, IoError */
export async function readRescueMap(path: string): Promise<RescueMap> {
  let text: string;
  try {
    const stats = await stat(path);
    if (!stats.isFile() || stats.size > LARGEST_MAP) throw new RescueMapError(path, 0, '');
    text = await readFile(path, 'latin1');
  } catch (cause) {
    if (cause instanceof RescueMapError) throw cause;
    throw new IoError(`the map file ${path} cannot be read: ${(cause as Error).message}`, {
      code: 'MAP_FILE',
      todo: 'Check its path. It is the file that ddrescue was given as its third argument.',
      data: { path },
      cause,
    });
  }
  return parseRescueMap(text, path);
}

/** @throws RescueMapError with the line */
export function parseRescueMap(text: string, path: string): RescueMap {
  const finished = new IntervalBuilder();
  const missing = new IntervalBuilder();
  let seenState = false;
  let expected: number | undefined;
  for (const { number, raw } of linesOf(text)) {
    const comment = raw.indexOf('#');
    const line = (comment < 0 ? raw : raw.slice(0, comment)).trim();
    if (line === '') continue;
    const fields = line.split(/\s+/);
    if (!seenState) {
      if (toNumber(fields[0]) === undefined || !/^[?*/\-F+G]$/.test(fields[1] ?? '')) throw new RescueMapError(path, number, raw);
      seenState = true;
      continue;
    }
    const [offset, length] = [toNumber(fields[0]), toNumber(fields[1])];
    const status = fields[2] ?? '';
    const ordered = expected === undefined || offset === expected;
    const fits = offset !== undefined && length !== undefined && Number.isSafeInteger(offset + length);
    if (fields.length !== 3 || !fits || !statuses.test(status) || !ordered) throw new RescueMapError(path, number, raw);
    if (expected === undefined) missing.add(0, offset);
    (status === '+' ? finished : missing).add(offset, length);
    expected = offset + length;
  }
  if (expected === undefined) throw new RescueMapError(path, 0, '');
  missing.add(expected, Number.MAX_SAFE_INTEGER - expected);
  return { finished: finished.build(), missing: missing.build() };
}

/** One after the other: a list of all lines of a large file that is no map would take a gigabyte. */
function* linesOf(text: string): Iterable<{ readonly number: number; readonly raw: string }> {
  for (let at = 0, number = 1; at <= text.length; number++) {
    const end = text.indexOf('\n', at);
    const stop = end < 0 ? text.length : end;
    yield { number, raw: text.slice(at, stop) };
    at = stop + 1;
  }
}

/** What a map says; whatever is in neither set needs nothing more. */
export interface MapContent {
  /** Could not be read. */
  readonly bad: IntervalSet;
  /** Not on the target yet. */
  readonly pending: IntervalSet;
}

/** What became of one target. `durable`: what is on it of an unfinished copy. */
export interface MappedTarget {
  readonly plan: Pick<ClonePlan, 'copy' | 'withheld' | 'regions' | 'kept' | 'knownBad' | 'tableLoss'>;
  readonly done: boolean;
  readonly durable: DigestLog | undefined;
}

/**
 * The map of a run. Only what was to be copied, or is the source's table, can be missing in it, and no protected or kept byte of any
 * target is, nor its table where that says something else than the source's, or the fence of one that is not done: ddrescue may be
 * told to write by this map to the target itself, and will fetch what is missing and touch nothing else.
 */
export function mapOf(targets: readonly MappedTarget[], unreadable: readonly ByteRange[]): MapContent {
  const union = (pick: (each: MappedTarget) => IntervalSet): IntervalSet =>
    targets.reduce((sum, each) => sum.union(pick(each)), IntervalSet.empty);
  const wanted = union(({ plan }) => wantedOf(plan));
  const untouchable = union(({ plan }) => IntervalSet.of(...plan.regions).union(plan.kept));
  const lost = new IntervalBuilder();
  for (const { offset, length } of unreadable) lost.add(offset, length);
  const bad = lost
    .build()
    .union(union(({ plan }) => plan.knownBad))
    .intersect(wanted)
    .union(badInTable(targets))
    .subtract(untouchable);
  const pending = union(({ plan, done, durable }) => (done ? IntervalSet.empty : wantedOf(plan).subtract(placesOf(durable))));
  return { bad, pending: pending.subtract(bad).subtract(untouchable) };
}

/** What is copied in the end, the withheld head of a disk without a table included. */
function wantedOf({ copy, withheld }: MappedTarget['plan']): IntervalSet {
  return copy.union(IntervalSet.of({ offset: 0, length: withheld }));
}

/** What may be fetched onto all of them. */
function badInTable(targets: readonly MappedTarget[]): IntervalSet {
  const each = targets.map(({ plan, done }) => (done ? plan.tableLoss.bad : IntervalSet.empty));
  return each.reduce((common, one) => common.intersect(one), each[0] ?? IntervalSet.empty);
}

function placesOf(log: DigestLog | undefined): IntervalSet {
  if (log === undefined) return IntervalSet.empty;
  const order = Uint32Array.from({ length: log.count }, (_, index) => index).sort((a, b) => log.offsetAt(a) - log.offsetAt(b));
  const places = new IntervalBuilder();
  for (const index of order) places.add(log.offsetAt(index), log.at(index).length);
  return places.build();
}

/** Replaces the file at once or not at all. `size` is the source's. @throws IoError */
export async function writeRescueMap(path: string, size: number, { bad, pending }: MapContent): Promise<void> {
  const finished = IntervalSet.of({ offset: 0, length: size }).subtract(bad).subtract(pending);
  const lines = [
    ...[...finished].map((range) => ({ ...range, status: '+' })),
    ...[...bad].map((range) => ({ ...range, status: '-' })),
    ...[...pending].map((range) => ({ ...range, status: '?' })),
  ]
    .sort((a, b) => a.offset - b.offset)
    .map(({ offset, length, status }) => `${hex(offset)}  ${hex(length)}  ${status}`);
  const state = pending.count === 0 ? '+' : '?';
  const text = [
    '# Mapfile. Created by doppel',
    '# + is copied, or nobody needs it; - could not be read; ? was not copied yet',
    '# current_pos  current_status  current_pass',
    `0x00000000     ${state}               1`,
  ];
  try {
    await writeFile(`${path}.new`, `${[...text, '#      pos        size  status', ...lines].join('\n')}\n`);
    await rename(`${path}.new`, path);
  } catch (cause) {
    await rm(`${path}.new`, { force: true }).catch(() => undefined);
    throw new IoError(`the map file ${path} cannot be written: ${(cause as Error).message}`, {
      code: 'MAP_FILE',
      todo: 'Name a place that can be written with --map.',
      data: { path },
      cause,
    });
  }
}

function toNumber(text: string | undefined): number | undefined {
  if (text === undefined || !/^(0x[0-9A-Fa-f]+|\d+)$/.test(text)) return undefined;
  const value = Number(text);
  return Number.isSafeInteger(value) ? value : undefined;
}

function hex(value: number): string {
  return `0x${value.toString(16).toUpperCase().padStart(8, '0')}`;
}

export class RescueMapError extends CorruptInputError {
  constructor(path: string, line: number, text: string) {
    const what = line === 0 ? 'has no ranges' : `line ${line} is not understood: "${text.slice(0, 80)}"`;
    super(`${path} is no ddrescue map file: ${what}`, {
      code: 'MAP_FILE',
      todo: 'Give the map file that ddrescue wrote for this source, or none.',
      data: { path, line },
    });
  }
}
