/** What commands print when they have changed something. */
import type { CloneResult } from '../engine/duplicate/result.ts';
import type { ClonePlan } from '../engine/duplicate/plan.ts';
import { formatBytes, formatDuration, formatRate } from './format.ts';
import { facts } from './table.ts';

const bypasses: Readonly<Record<CloneResult['verified'], string>> = {
  direct: 'read back from the medium, past the cache',
  dropped: 'read back from the medium, after dropping the cache',
  none: 'read back, but not past the cache',
  skipped: 'not read back (--no-verify)',
};

export function cloneText(plan: ClonePlan, result: CloneResult): string {
  const { source, target, sourceSystem, identity } = plan;
  const was = sourceSystem?.hostname ?? source.path;
  const is = identity.bundle?.resolved.host;
  return [
    `${target.path} holds the parts of ${source.path}${is === undefined ? `: a twin of ${was}` : `, and is ${is}`}.\n`,
    facts([
      [
        'Written',
        `${formatBytes(result.written)} in ${formatDuration(result.seconds)} in all (${formatRate(result.written / result.seconds)})`,
      ],
      ['Zeroed', formatBytes(result.zeroed)],
      ['Discarded', formatBytes(result.discarded)],
      ['Verified', bypasses[result.verified]],
      [
        'Identity',
        is === undefined ? 'as the source (--as none)' : `${is} instead of ${was}, ${result.filesChanged} files changed`,
      ],
      ...result.regions.map(({ name, sha256 }) => ['Protected', `${name}: unchanged, sha256 ${sha256.slice(0, 16)}…`] as const),
    ]),
  ].join('\n');
}
