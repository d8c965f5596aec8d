/** What `doppel archive diff` prints. */
import type { ArchiveDiff } from '../engine/duplicate/archive-diff.ts';
import type { PartDiff } from '../engine/duplicate/archive-diff-contents.ts';
import type { DifferingFact } from '../engine/duplicate/archive-diff-facts.ts';
import { formatBytes } from './format.ts';
import { table } from './table.ts';

const partColumns = [
  { title: '#', align: 'right' as const },
  { title: 'Kind' },
  { title: 'Holds', shrink: true },
  { title: 'Mounted on', shrink: true },
  { title: 'Data', align: 'right' as const },
  { title: 'Result' },
];

const factColumns = [{ title: 'What' }, { title: 'Old', shrink: true }, { title: 'New', shrink: true }];

export function archiveDiffText(diff: ArchiveDiff): string {
  const { facts, parts, fetch, read } = diff;
  const verdict = diff.equal
    ? `${diff.old} and ${diff.new} hold the same.\n`
    : `A disk that holds ${diff.old} lacks ${formatBytes(fetch.bytes)} of ${diff.new}: ${fetch.segments} of its ${fetch.ofSegments} segments.\n`;
  return [
    ...(facts.length === 0 ? [] : [table(factColumns, facts.map(factRow))]),
    table(partColumns, parts.map(partRow)),
    ...(read === 0 ? [] : [`Note: digests alone could not tell, and ${formatBytes(read)} of content were compared\n`]),
    verdict,
  ].join('\n');
}

function factRow({ what, old, new: now }: DifferingFact): string[] {
  const isLong = [old, now].some((text) => text?.includes('\n'));
  const shown = (text: string | undefined): string => (text === undefined ? '-' : isLong ? '(a text)' : text);
  return [what, shown(old), shown(now)];
}

function partRow(part: PartDiff): string[] {
  return [
    part.number === undefined || part.number === 0 ? '-' : String(part.number),
    part.kind ?? '-',
    part.holds ?? (part.number === undefined ? part.label : '-'),
    part.mountPoint ?? '-',
    formatBytes(part.data),
    resultOf(part),
  ];
}

function resultOf({ what, changed, segments, zeroed, freed }: PartDiff): string {
  if (what !== 'differs') return what === 'equal' ? what : what.toUpperCase();
  const found = [
    changed > 0 ? `${formatBytes(changed)} in ${segments} ${segments === 1 ? 'segment' : 'segments'}` : undefined,
    zeroed > 0 ? `${formatBytes(zeroed)} now zeros` : undefined,
    freed > 0 ? `${formatBytes(freed)} now free` : undefined,
  ];
  return `DIFFERS: ${found.filter((each) => each !== undefined).join(', ')}`;
}
