/** Text tables: aligned columns, fitted to the terminal's width. */
import { printable } from './format.ts';
import { style } from './style.ts';

export interface Column {
  readonly title: string;
  /** Default left; numbers belong right. */
  readonly align?: 'left' | 'right';
  /** May be shortened with `…` when the table is wider than the terminal; default false. */
  readonly shrink?: boolean;
}

export interface TableOptions {
  /** Columns of text available. Default: of the terminal; unlimited in a pipe, so that scripts see whole values. */
  readonly width?: number;
  /** Text before each line. */
  readonly indent?: string;
}

const gap = '  ';
const narrowest = 8;

/**
 * The table's lines, joined, with a final newline; without rows only the heading. Cells are made printable.
 * When a table does not fit, the widest column marked `shrink` loses characters first.
 */
export function table(columns: readonly Column[], rows: readonly (readonly string[])[], options: TableOptions = {}): string {
  const indent = options.indent ?? '';
  const cells = rows.map((row) => columns.map((_, index) => printable(row[index] ?? '').replace(/[\n\t]+/g, ' ')));
  const widths = columns.map((column, index) =>
    Math.max(textWidth(column.title), ...cells.map((row) => textWidth(row[index] ?? ''))),
  );
  fit(columns, widths, (options.width ?? terminalWidth()) - textWidth(indent));

  const line = (row: readonly string[]): string =>
    (indent + row.map((cell, index) => pad(cell, widths[index] ?? 0, columns[index]?.align)).join(gap)).trimEnd();
  const heading = columns.some((column) => column.title !== '')
    ? [style('bold', line(columns.map((column) => column.title)))]
    : [];
  return [...heading, ...cells.map(line)].map((text) => `${text}\n`).join('');
}

/** Facts as two columns without a heading: name, value. A long value goes on below itself; nothing of it is lost. */
export function facts(pairs: readonly (readonly [name: string, value: string])[], options: TableOptions = {}): string {
  const indent = textWidth(options.indent ?? '');
  const names = Math.max(0, ...pairs.map(([name]) => textWidth(name)));
  const room = (options.width ?? terminalWidth()) - indent - names - gap.length;
  const rows = pairs.flatMap(([name, value]) => wrapped(value, room).map((line, index) => [index === 0 ? name : '', line]));
  return table([{ title: '' }, { title: '' }], rows, options);
}

/** Broken between words; a word that is longer than a line stays whole, so that it can be copied. */
function wrapped(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last !== undefined && textWidth(printable(`${last} ${word}`)) <= width) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

export function terminalWidth(): number {
  const columns = process.stdout.isTTY ? process.stdout.columns : 0;
  return columns > 0 ? columns : Number.POSITIVE_INFINITY;
}

function fit(columns: readonly Column[], widths: number[], available: number): void {
  let excess = widths.reduce((sum, width) => sum + width, 0) + gap.length * (widths.length - 1) - available;
  while (excess > 0) {
    const widest = widths.reduce(
      (best, width, index) =>
        columns[index]?.shrink === true && width > narrowest && width > (widths[best] ?? 0) ? index : best,
      -1,
    );
    if (widest < 0) return;
    widths[widest] = (widths[widest] ?? 0) - 1;
    excess--;
  }
}

function pad(text: string, width: number, align: Column['align']): string {
  const shown = textWidth(text) > width ? `${cut(text, width - 1)}…` : text;
  const space = ' '.repeat(Math.max(0, width - textWidth(shown)));
  return align === 'right' ? space + shown : shown + space;
}

function cut(text: string, width: number): string {
  let result = '';
  let used = 0;
  for (const character of text) {
    used += characterWidth(character);
    if (used > width) break;
    result += character;
  }
  return result;
}

function textWidth(text: string): number {
  let width = 0;
  for (const character of text) width += characterWidth(character);
  return width;
}

/** Columns a character takes: 0 for combining marks, 2 for East Asian wide ones, else 1. */
function characterWidth(character: string): number {
  if (/^\p{Mark}$/u.test(character)) return 0;
  return /^[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]$|^[\u{1f300}-\u{1faff}]$/u.test(
    character,
  )
    ? 2
    : 1;
}
