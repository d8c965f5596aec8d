/** What `clone` prints when it is done: what was written, what is wrong with it, and what became of each target. */
import type { ClonePlan } from '../engine/duplicate/plan.ts';
import type { CloneOutcome, CloneResult, Damage, DamagedPart } from '../engine/duplicate/result.ts';
import { ExitCode } from '../engine/errors.ts';
import { errorDocument, errorText, exitCodeOf } from './errors.ts';
import { formatBytes, formatDuration, formatRate, printable } from './format.ts';
import { planDocument } from './plan-view.ts';
import { style } from './style.ts';
import { facts } from './table.ts';
import { targetState } from './target-state.ts';

type Outcome = CloneOutcome<ClonePlan>;

const bypasses: Readonly<Record<CloneResult['verified'], string>> = {
  direct: 'read back from the medium, past the cache',
  dropped: 'read back from the medium, after dropping the cache',
  none: 'read back, but not past the cache',
  skipped: 'not read back (--no-verify)',
};

/** Paths listed; the rest is counted. `--json` has them all. */
const SHOWN_FILES = 20;
const SHOWN_RANGES = 6;

/** What happened to each target. */
export function cloneTexts(outcomes: readonly Outcome[]): string {
  return outcomes
    .map((outcome) =>
      'result' in outcome
        ? cloneText(outcome.plan, outcome.result)
        : `${outcome.plan.target.path} was not finished.\n${errorText(outcome.error, targetState(outcome.plan.target.path))}`,
    )
    .join('\n');
}

export function cloneText(plan: ClonePlan, result: CloneResult): string {
  const { source, target, sourceSystem, identity } = plan;
  const was = sourceSystem?.hostname ?? source.path;
  const is = identity.bundle?.resolved.host;
  const damaged = result.unreadable.bytes > 0;
  const amount = (name: string, bytes: number) => (bytes === 0 ? [] : [[name, formatBytes(bytes)] as const]);
  return [
    `${target.path} holds ${damaged ? 'what could be read' : 'the parts'} of ${source.path}${is === undefined ? `: a twin of ${was}` : `, and is ${is}`}.\n`,
    ...(damaged ? [`${style(['red', 'bold'], `It is NOT whole: ${lostWords(result.unreadable)}, see below.`)}\n\n`] : []),
    facts([
      [
        'Written',
        `${formatBytes(result.written)} in ${formatDuration(result.seconds)} in all (${formatRate(result.written / result.seconds)})`,
      ],
      ['Zeroed', formatBytes(result.zeroed)],
      ['Discarded', formatBytes(result.discarded)],
      ...amount('Resumed', result.resumed),
      ...amount('Equal', result.same),
      ['Verified', bypasses[result.verified]],
      [
        'Identity',
        is === undefined ? 'as the source (--as none)' : `${is} instead of ${was}, ${result.filesChanged} files changed`,
      ],
      ...result.regions.map(({ name, sha256 }) => ['Protected', `${name}: unchanged, sha256 ${sha256.slice(0, 16)}…`] as const),
    ]),
    ...(damaged ? [damageText(plan, result.unreadable)] : []),
    ...(result.mapProblem === undefined ? [] : [`${style(['red', 'bold'], 'No map:')} ${result.mapProblem}\n`]),
  ].join('\n');
}

function damageText({ source, readErrors, mapFile }: ClonePlan, damage: Damage): string {
  const { ranges, parts } = damage;
  const instead = readErrors === 'skip' ? 'the target keeps there what it had' : 'the target has zeros there';
  const shown = ranges.slice(0, SHOWN_RANGES).map(({ offset, length }) => `${length} at ${offset}`);
  const more = ranges.length - shown.length;
  const places = `  Bytes: ${shown.join(', ')}${more > 0 ? `, and ${more} more places (--json lists all)` : ''}\n`;
  const map = mapFile === undefined ? '' : `; ${mapFile} says where`;
  const todo = `  Restore these files from a backup, or rescue the source with ddrescue and clone its image (--source-map)${map}.\n`;
  return [
    `\n${style(['red', 'bold'], `DATA LOST: ${lostWords(damage)} of ${source.path} could not be read; ${instead}.`)}\n`,
    ...parts.flatMap(damagedPart),
    places,
    todo,
  ].join('');
}

/** `1536 bytes in 2 places`. */
function lostWords({ bytes, ranges }: Damage): string {
  return `${bytes} bytes in ${count(ranges.length, 'place')}`;
}

function count(number: number, thing: string): string {
  return `${number} ${thing}${number === 1 ? '' : 's'}`;
}

function damagedPart({ label, bytes, files, lost = [], elsewhere }: DamagedPart): string[] {
  const none = elsewhere === 0 ? '' : `${elsewhere} bytes belong to no file (the file system's own structures)`;
  const hit = files === undefined || files.length === 0 ? '' : `${count(files.length, 'file')} damaged`;
  const owners = files === undefined ? 'nobody can tell whose they are' : [hit, none].filter((text) => text !== '').join(', ');
  return [
    `  ${label}: ${bytes} bytes: ${owners}\n`,
    ...pathLines(files ?? []),
    ...(lost.length === 0 ? [] : ['  cannot be opened any more, with all that is in them:\n', ...pathLines(lost)]),
  ];
}

function pathLines(paths: readonly string[]): string[] {
  const more = paths.length - SHOWN_FILES;
  return [
    ...paths.slice(0, SHOWN_FILES).map((path) => `    ${printable(path)}\n`),
    ...(more > 0 ? [`    and ${more} more (--json lists all)\n`] : []),
  ];
}

/** For `--json`: one target as `plan` and `result`, several as a list. */
export function cloneDocument(outcomes: readonly Outcome[]): object {
  const documents = outcomes.map((outcome) =>
    'result' in outcome
      ? { plan: planDocument(outcome.plan), result: outcome.result }
      : { plan: planDocument(outcome.plan), ...errorDocument(outcome.error, targetState(outcome.plan.target.path)) },
  );
  if (documents.length === 1) return documents[0] as object;
  return { targets: outcomes.map(({ plan }, index) => ({ ...documents[index], target: targetState(plan.target.path) })) };
}

/** A changed region outranks everything, any failed target outranks what was lost of the source. */
export function cloneExitCode(outcomes: readonly Outcome[]): ExitCode {
  const failed = outcomes.flatMap((outcome) => ('error' in outcome ? [exitCodeOf(outcome.error) as ExitCode] : []));
  if (failed.includes(ExitCode.regionChanged)) return ExitCode.regionChanged;
  const lost = outcomes.some(
    (outcome) => 'result' in outcome && (outcome.result.unreadable.bytes > 0 || outcome.result.mapProblem !== undefined),
  );
  return failed[0] ?? (lost ? ExitCode.io : ExitCode.done);
}
