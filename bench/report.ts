/** The outcome of a contest as a table for a terminal and for the README. */
import { execFileSync } from 'node:child_process';
import { cpus, release, totalmem } from 'node:os';
import type { Contestant, Score } from './contest.ts';

const MiB = 2 ** 20;

export function report(title: string, scores: readonly Score[]): string {
  const mebibytes = (bytes: number): string => `${Math.round(bytes / MiB)} MiB`;
  const stores = scores.some(({ stored }) => stored !== undefined);
  const rows = scores.map(({ name, median, ratio, stored = 0 }, index) => [
    name,
    `${median.seconds.toFixed(2)} s`,
    index === 0 ? '1' : ratio.toFixed(2),
    `${median.cpu.toFixed(2)} s`,
    mebibytes(median.read),
    mebibytes(median.written),
    ...(stores ? [mebibytes(stored)] : []),
    mebibytes(median.memory),
  ]);
  const head = ['', 'Time', 'doppel takes', 'CPU', 'Read', 'Written', ...(stores ? ['Stored'] : []), 'Peak memory'];
  return `### ${title}\n\n${markdown(head, rows)}`;
}

export function markdown(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, column) => Math.max(title.length, 3, ...rows.map((row) => row[column]?.length ?? 0)));
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, column) => (column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0))).join(' | ')} |`;
  const rule = `|${widths.map((width, column) => (column === 0 ? `:${'-'.repeat(width + 1)}` : `${'-'.repeat(width + 1)}:`)).join('|')}|`;
  return `${[line(head), rule, ...rows.map(line)].join('\n')}\n`;
}

/** What ran, with which version and which flags. */
export function commandsRun(contestants: readonly Contestant[]): string {
  return contestants.map(({ name, command, version }) => `${name} (${versionOf(version)}):\n    ${command}\n`).join('');
}

export function machine(): string {
  return `${cpus()[0]?.model ?? 'unknown processor'}, ${cpus().length} cores, ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release()}, Node ${process.version}`;
}

function versionOf([program, ...args]: readonly string[]): string {
  try {
    return (
      execFileSync('bash', ['-c', '"$@" 2>&1 | head -n 1', 'version', program as string, ...args], { encoding: 'utf8' }).trim() ||
      'unknown'
    );
  } catch (error) {
    return error instanceof Error ? error.message : 'unknown';
  }
}
