/** What becomes of every part of the target, for people and scripts. */

import { describeType } from '../layout/kinds.ts';
import type { Contents } from './contents.ts';
import type { Disk, Part } from './disk.ts';
import type { PlannedPart } from './plan.ts';
import type { Layout } from './plan-layout.ts';

export function plannedParts(
  { copied, kept, removed, regions, grow }: Layout,
  contents: ReadonlyMap<number, Contents>,
  target: Disk,
): PlannedPart[] {
  const plain = (part: Part) => ({
    number: part.number,
    label: part.label,
    range: part.range,
    kind: part.kind,
    holds: holdsOf(part, target.table?.kind ?? 'gpt'),
    ...(part.mountPoint === undefined ? {} : { mountPoint: part.mountPoint }),
  });
  const nothing = { copy: 0, zero: 0, unused: 0 };
  return [
    ...copied.map((part) => {
      const { data, zero, unused, how } = contents.get(part.number) as Contents;
      const range = grow.find(({ number }) => number === part.number)?.after ?? part.range;
      return { ...plain(part), range, fate: 'copied' as const, copy: data.bytes, zero: zero.bytes, unused: unused.bytes, how };
    }),
    ...kept.map((part) => ({ ...plain(part), ...nothing, fate: 'kept' as const, how: 'its kind is not copied' })),
    ...regions.map((region) => ({
      ...nothing,
      number: 0,
      label: region.name,
      range: region,
      kind: 'profile' as const,
      holds: 'profile',
      fate: 'protected' as const,
      how: 'never written',
    })),
    ...removed.map((part) => ({
      ...plain(part),
      ...nothing,
      fate: 'removed' as const,
      how: 'the source has no such part',
    })),
  ];
}

function holdsOf(part: Part, kind: 'gpt' | 'mbr'): string {
  return part.fs?.type ?? (part.entry === undefined ? 'unknown' : describeType(kind, part.entry.type));
}
