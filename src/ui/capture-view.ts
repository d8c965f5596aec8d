/** What `capture` prints when it is done. */
import type { CaptureResult } from '../engine/duplicate/capture.ts';
import type { CapturePlan } from '../engine/duplicate/capture-plan.ts';
import type { ByteRange } from '../engine/image/contract.ts';
import { optional } from './disk-view.ts';
import { formatBytes, formatDuration, formatRate, printable } from './format.ts';
import { style } from './style.ts';
import { facts, table } from './table.ts';

type Captured = CaptureResult & { readonly plan: CapturePlan };

const columns = [
  { title: '#', align: 'right' as const },
  { title: 'Kind' },
  { title: 'Holds', shrink: true },
  { title: 'Mounted on', shrink: true },
  { title: 'Fate' },
  { title: 'Data', align: 'right' as const },
];

export function captureText(archive: string, base: string | undefined, { plan, ...result }: Captured): string {
  const { source, sourceSystem, parts } = plan;
  return [
    `${archive === '-' ? 'The archive' : archive} holds ${sourceSystem?.hostname ?? source.path}.\n`,
    lostText(source.path, result.unreadable),
    table(
      columns,
      parts.map((part) => [
        part.number === 0 ? '-' : String(part.number),
        part.kind,
        part.holds,
        part.mountPoint ?? '-',
        part.fate,
        part.fate === 'captured' ? formatBytes(part.data) : '-',
      ]),
    ),
    parts.map((part) => `${part.number === 0 ? 'Disk' : part.number}: ${printable(part.how)}\n`).join(''),
    facts([
      ['Data', `${formatBytes(result.data)} in ${result.segments} segments`],
      ...(result.present === undefined
        ? []
        : [['There already', `${result.present} of ${result.segments} segments, not sent again`] as const]),
      [
        'Archive',
        `${formatBytes(result.bytes)} in ${formatDuration(result.seconds)} (${formatRate(result.data / result.seconds)})`,
      ],
      ...(base === undefined
        ? []
        : [
            [
              'Base',
              `${result.reused.segments} segments (${formatBytes(result.reused.bytes)}) are those of ${base}; ${formatBytes(result.bytes - result.reused.bytes)} are new`,
            ] as const,
          ]),
      ['Codec', result.codec],
      ...(result.encrypted ? ([['Encrypted', 'with age']] as const) : []),
      ...optional('Signed by', result.signedBy),
      ...optional('Profile', plan.profile && `that of ${plan.profile.host}, encrypted with age`),
      ['Digest', result.digest],
    ]),
    ...plan.notes.map((note) => `Note: ${note}\n`),
  ].join('\n');
}

/** Empty when nothing was lost. */
export function lostText(source: string, unreadable: readonly ByteRange[]): string {
  const lost = unreadable.reduce((sum, { length }) => sum + length, 0);
  if (lost === 0) return '';
  return `${style(['red', 'bold'], `It is NOT whole: ${formatBytes(lost)} of ${source} could not be read and are zeros in it.`)}\n`;
}

export function captureDocument(archive: string, base: string | undefined, { plan, ...result }: Captured): object {
  const { source, sourceSystem, profile, parts, notes, warnings } = plan;
  return {
    archive,
    ...(base === undefined ? {} : { base }),
    source,
    ...(sourceSystem === undefined ? {} : { sourceSystem }),
    ...(profile === undefined ? {} : { profile: { host: profile.host } }),
    parts,
    notes,
    warnings,
    ...result,
  };
}

/** What other tools show of an archive. */
export function described({ sourceSystem }: CapturePlan): {
  readonly platform: { readonly architecture: string; readonly os: string };
  readonly labels: Readonly<Record<string, string>>;
} {
  const labels = {
    'vnd.doppel.os': sourceSystem?.os.pretty,
    'vnd.doppel.host': sourceSystem?.hostname,
  };
  return {
    platform: { architecture: process.arch === 'x64' ? 'amd64' : process.arch, os: 'linux' },
    labels: Object.fromEntries(Object.entries(labels).filter((entry): entry is [string, string] => entry[1] !== undefined)),
  };
}
