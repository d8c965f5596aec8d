/**
 * Map files of GNU ddrescue: which bytes of a failing disk were read, which could not be, which were not tried. Offsets and
 * lengths are bytes. Format: chapter "Mapfile structure" of the ddrescue manual: `#` comments, a line with the current
 * position, status and pass, then lines `position size status` in ascending order without gaps.
 */
import { readFile, rename, writeFile } from 'node:fs/promises';
import { CorruptInputError, IoError } from '../errors.ts';
import { IntervalBuilder, IntervalSet } from '../protect/intervals.ts';

export interface RescueMap {
  /** Status `+`. */
  readonly finished: IntervalSet;
  /** Everything else up to the end of the map: bad sectors, and what was not tried, trimmed or scraped. */
  readonly missing: IntervalSet;
}

const statuses = /^[?*/+-]$/;

/** @throws RescueMapError for what is no map file, IoError */
export async function readRescueMap(path: string): Promise<RescueMap> {
  let text: string;
  try {
    text = await readFile(path, 'latin1');
  } catch (cause) {
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
  for (const [index, raw] of text.split('\n').entries()) {
    const line = raw.replace(/#.*$/, '').trim();
    if (line === '') continue;
    const fields = line.split(/\s+/);
    if (!seenState) {
      if (toNumber(fields[0]) === undefined || !/^[?*/\-F+G]$/.test(fields[1] ?? ''))
        throw new RescueMapError(path, index + 1, raw);
      seenState = true;
      continue;
    }
    const [offset, length] = [toNumber(fields[0]), toNumber(fields[1])];
    const status = fields[2] ?? '';
    const ordered = expected === undefined || offset === expected;
    if (fields.length !== 3 || offset === undefined || length === undefined || !statuses.test(status) || !ordered) {
      throw new RescueMapError(path, index + 1, raw);
    }
    (status === '+' ? finished : missing).add(offset, length);
    expected = offset + length;
  }
  if (expected === undefined) throw new RescueMapError(path, 0, '');
  return { finished: finished.build(), missing: missing.build() };
}

/** Replaces the file at once or not at all. `size` is the source's. @throws IoError */
export async function writeRescueMap(
  path: string,
  size: number,
  { finished, bad }: { readonly finished: IntervalSet; readonly bad: IntervalSet },
): Promise<void> {
  const rest = IntervalSet.of({ offset: 0, length: size }).subtract(finished).subtract(bad);
  const lines = [
    ...[...finished.subtract(bad)].map((range) => ({ ...range, status: '+' })),
    ...[...bad].map((range) => ({ ...range, status: '-' })),
    ...[...rest].map((range) => ({ ...range, status: '?' })),
  ]
    .sort((a, b) => a.offset - b.offset)
    .map(({ offset, length, status }) => `${hex(offset)}  ${hex(length)}  ${status}`);
  const state = rest.count === 0 ? '+' : '?';
  const text = [
    '# Mapfile. Created by doppel',
    '# current_pos  current_status  current_pass',
    `0x00000000     ${state}               1`,
  ];
  try {
    await writeFile(`${path}.new`, `${[...text, '#      pos        size  status', ...lines].join('\n')}\n`);
    await rename(`${path}.new`, path);
  } catch (cause) {
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
