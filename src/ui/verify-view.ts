/** What `doppel verify` prints. */
import { describePart, type VerifyResult } from '../engine/duplicate/verify.ts';
import { formatBytes, formatDuration } from './format.ts';
import { table } from './table.ts';

const columns = [
  { title: '#', align: 'right' as const },
  { title: 'Part', shrink: true },
  { title: 'Compared' },
  { title: 'Bytes', align: 'right' as const },
  { title: 'Files', align: 'right' as const },
  { title: 'Result' },
];

export function verifyText(result: VerifyResult): string {
  const rows = result.parts.map((part) => [
    part.number === 0 ? '-' : String(part.number),
    part.label,
    part.method === 'skipped' ? 'not' : `by ${part.method}`,
    part.method === 'skipped' ? '-' : formatBytes(part.bytes),
    part.method === 'files' ? String(part.files) : '-',
    part.equal ? (part.method === 'skipped' ? (part.reason ?? '-') : 'equal') : 'DIFFERS',
  ]);
  const found = [
    ...result.differences.map(({ message }) => message),
    ...result.parts.filter((part) => !part.equal).map(describePart),
    ...result.parts.flatMap(({ paths }) => (paths ?? []).slice(1).map(({ path, detail }) => `${path} ${detail}`)),
  ];
  const others = result.renames.map(
    ({ what, from, to }) => `Note: ${what === 'disk' ? 'the disk id' : 'the PARTUUID'} ${from} is ${to} on the target\n`,
  );
  const lost = result.parts.flatMap((part) => part.lost ?? []);
  const past = result.bypass === 'none' ? ', but not past the cache' : ', past the cache';
  const whom = result.host === undefined ? 'a plain copy of' : `${result.host}, made from`;
  const verdict = result.equal
    ? `${result.target} is ${whom} ${result.source}: compared in ${formatDuration(result.seconds)}${past}.\n`
    : `${result.target} is not what a clone of ${result.source} would be.\n`;
  return [
    table(columns, rows),
    ...(found.length === 0 ? [] : [found.map((each) => `- ${each}\n`).join('')]),
    ...(others.length === 0 ? [] : [others.join('')]),
    ...(lost.length === 0
      ? []
      : [lost.map((path) => `Note: ${path} could not be read on the source and is not compared\n`).join('')]),
    ...(result.notes.length === 0 ? [] : [result.notes.map((note) => `Note: ${note}\n`).join('')]),
    verdict,
  ].join('\n');
}
