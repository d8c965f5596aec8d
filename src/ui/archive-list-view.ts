/** What `doppel archive list` prints. */
import type { ArchiveList, UnlistedArchive } from '../engine/duplicate/list-archives.ts';
import { formatBytes, printable } from './format.ts';
import { table } from './table.ts';

const columns = [
  { title: 'Archive' },
  { title: 'Host', shrink: true },
  { title: 'System', shrink: true },
  { title: 'Parts', shrink: true },
  { title: 'Data', align: 'right' as const },
  { title: 'Stored', align: 'right' as const },
  { title: 'Digest' },
];

export function archiveListText({ archives, others }: ArchiveList): string {
  const rows = archives.map(({ name, system, parts, data, stored, digest }) => [
    name,
    system?.hostname ?? '-',
    system?.os.pretty ?? '-',
    parts.map(({ kind }) => kind).join(' ') || '-',
    formatBytes(data),
    formatBytes(stored),
    shortDigest(digest),
  ]);
  return [
    archives.length === 0 ? 'No archive was found.\n' : table(columns, rows),
    ...(others.length === 0 ? [] : [others.map(otherText).join('')]),
  ].join('\n');
}

function otherText({ name, what, error }: UnlistedArchive): string {
  return what === 'unfinished'
    ? `Not listed: ${printable(name)} is being written, or its capture was interrupted\n`
    : `Not listed: ${printable(error.message)}\n`;
}

/** Enough to tell archives apart. */
export function shortDigest(digest: string): string {
  return digest.slice(0, 'sha256:'.length + 12);
}

export function archiveListDocument({ archives, others }: ArchiveList): object {
  return {
    archives: archives.map(({ parts, ...archive }) => ({
      ...archive,
      parts: parts.map(({ number, kind, label, fs, mountPoint, range }) => ({ number, kind, label, fs, mountPoint, ...range })),
    })),
    others: others.map(({ name, what, error: { code, message, todo } }) => ({ name, what, code, message, todo })),
  };
}
