/** The plan of a clone: a table that a person can read before saying yes, and the same as JSON. */
import type { ClonePlan, PlannedPart } from '../engine/duplicate/plan.ts';
import type { ImageIdentity } from '../engine/image/identity.ts';
import { renderDiff, summarizeChanges } from '../engine/persona/render.ts';
import { type Facts, optional } from './disk-view.ts';
import { formatBytes, formatDuration, printable } from './format.ts';
import { style } from './style.ts';
import { facts, table } from './table.ts';

const columns = [
  { title: '#', align: 'right' as const },
  { title: 'Kind' },
  { title: 'Holds', shrink: true },
  { title: 'Mounted on', shrink: true },
  { title: 'Fate' },
  { title: 'Copy', align: 'right' as const },
  { title: 'Zero', align: 'right' as const },
];

export function planText(plan: ClonePlan, options: { readonly diff: boolean }): string {
  const sections = [
    facts(planFacts(plan)),
    `${table(columns, plan.parts.map(partRow))}\n${howText(plan.parts)}`,
    facts([
      ['To copy', `${formatBytes(plan.copy.bytes)} in ${plan.copy.count} ranges`],
      ['To zero', formatBytes(plan.zero.bytes)],
      ['To discard', formatBytes(plan.discard.bytes)],
      [
        'Left alone',
        `${formatBytes(leftAlone(plan))}: unused space, what stays${plan.regions.length === 0 ? '' : ', the profile'}`,
      ],
      ...expected(plan),
    ]),
    ...(plan.persona === undefined ? [] : [personaText(plan, options.diff)]),
    ...listOf('Note', plan.notes),
    ...listOf(style('yellow', 'Warning'), plan.warnings),
  ];
  return sections.join('\n');
}

function expected({ expectedSeconds, copy }: ClonePlan): Facts {
  if (expectedSeconds !== undefined) return [['Expected', `reading alone takes about ${formatDuration(expectedSeconds)}`]];
  return copy.bytes === 0 ? [['Expected', 'nothing to copy']] : [];
}

/** Bytes of the target that the run does not write, tables aside. */
function leftAlone({ target, copy, zero, discard, withheld }: ClonePlan): number {
  return target.size - copy.bytes - zero.bytes - discard.bytes - withheld;
}

function listOf(title: string, sentences: readonly string[]): string[] {
  return sentences.length === 0 ? [] : [sentences.map((sentence) => `${title}: ${sentence}\n`).join('')];
}

function partRow(part: PlannedPart): string[] {
  const amount = (bytes: number) => (part.fate === 'copied' ? formatBytes(bytes) : '-');
  return [
    part.number === 0 ? '-' : String(part.number),
    part.kind,
    part.holds,
    part.mountPoint ?? '-',
    part.fate,
    amount(part.copy),
    amount(part.zero),
  ];
}

/** Why each part is treated as it is: too long for a column. */
function howText(parts: readonly PlannedPart[]): string {
  return parts
    .map(
      (part) => `${part.fate === 'protected' ? part.label : part.number === 0 ? 'Disk' : part.number}: ${printable(part.how)}\n`,
    )
    .join('');
}

/** One plan after the other. */
export function planTexts(plans: readonly ClonePlan[], options: { readonly diff: boolean }): string {
  return plans.map((plan) => planText(plan, options)).join('\n');
}

function planFacts(plan: ClonePlan): Facts {
  return [
    ['Source', describe(plan.source, plan.sourceSystem?.hostname)],
    ['Target', describe(plan.target, plan.targetSystem?.hostname)],
    ['Becomes', identityOf(plan)],
  ];
}

function describe(image: ImageIdentity, host: string | undefined): string {
  return `${image.path} (${formatBytes(image.size)}${image.model === undefined ? '' : `, ${image.model}`}): ${host ?? 'no system'}`;
}

function identityOf({ identity, sourceSystem }: ClonePlan): string {
  const { choice, bundle, write } = identity;
  const file = bundle?.source.file;
  if (bundle === undefined) return `a plain copy: a twin of ${sourceSystem?.hostname ?? 'the source'} (--as none)`;
  const role = bundle.resolved.role === undefined ? '' : `, role ${bundle.resolved.role}`;
  return `${bundle.resolved.host}${role} (--as ${choice === 'file' ? file : choice}${write === undefined ? '' : `; written to ${write.region.name}: ${write.reason}`})`;
}

function personaText({ persona, identity }: ClonePlan, diff: boolean): string {
  const changes = persona?.changes ?? [];
  const files = changes.filter(({ after }) => after.type !== 'directory');
  const host = identity.bundle?.resolved.host ?? '';
  if (files.length === 0) return `It is ${host} already: no file changes.\n`;
  if (diff) return `Identity changes (${files.length} files):\n${renderDiff(changes)}`;
  const rows = summarizeChanges(files).map(({ action, path, operation }) => [action, path, operation]);
  return `To make it ${host}, ${files.length} files change (--dry-run shows the differences):\n${table([{ title: '' }, { title: '', shrink: true }, { title: '', shrink: true }], rows, { indent: '  ' })}`;
}

/** What a careful person compares before overwriting a disk. */
export function targetFacts(plan: ClonePlan): Facts {
  const { target, targetSystem } = plan;
  return [
    ['Path', target.path],
    ['Size', `${formatBytes(target.size)} (${target.size} bytes)`],
    ...optional('Model', target.model),
    ...optional('Serial', target.serial),
    ...optional('WWN', target.wwn),
    [
      'Now',
      targetSystem === undefined
        ? 'no system was found on it'
        : `${targetSystem.hostname ?? '(no host name)'}, ${targetSystem.os.pretty}`,
    ],
    ['Then', identityOf(plan)],
  ];
}

/** For `--json`: one plan, or several. */
export function planDocuments(plans: readonly ClonePlan[]): object {
  return plans.length === 1 ? { plan: planDocument(plans[0] as ClonePlan) } : { plans: plans.map(planDocument) };
}

/** For `--json`. Ranges are counted, not listed. */
export function planDocument(plan: ClonePlan): object {
  const {
    copy,
    zero,
    discard,
    persona,
    identity,
    table: merged,
    runId,
    source,
    target,
    sourceSystem,
    targetSystem,
    parts,
    regions,
    expectedSeconds,
    durable,
    notes,
    warnings,
  } = plan;
  const amount = (set: ClonePlan['copy']) => ({ bytes: set.bytes, ranges: set.count });
  return {
    runId,
    source: { ...source, system: sourceSystem },
    target: { ...target, system: targetSystem },
    identity: {
      as: identity.choice,
      host: identity.bundle?.resolved.host,
      role: identity.bundle?.resolved.role,
      machineId: identity.bundle?.generated.machineId,
      writesProfile: identity.write,
    },
    parts,
    regions,
    table: merged && { kind: merged.kind, diskId: merged.diskId, entries: merged.entries },
    copy: amount(copy),
    zero: amount(zero),
    discard: amount(discard),
    left: leftAlone(plan),
    durable,
    expectedSeconds,
    changes: persona && summarizeChanges(persona.changes),
    notes,
    warnings,
  };
}
