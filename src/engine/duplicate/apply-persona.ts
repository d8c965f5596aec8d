/** Makes a copied disk itself: opens what the persona changes through windows that cannot reach a protected region. */
import type { GuardedTarget } from '../image/contract.ts';
import { slice } from '../image/slice.ts';
import { identifyFileSystem } from '../layout/filesystems.ts';
import { entryRange } from '../layout/table-space.ts';
import { entryLabel } from '../layout/table-text.ts';
import { applyPersona } from '../persona/apply.ts';
import { planPersona } from '../persona/plan.ts';
import type { Bundle } from '../profile/model.ts';
import { CloneRefusedError } from './errors.ts';
import type { ClonePlan } from './plan.ts';
import { type SystemPart, withSystem } from './system.ts';

/** Answers the number of files changed. The target must be flushed afterwards. */
export async function applyTargetPersona(plan: ClonePlan, target: GuardedTarget, signal?: AbortSignal): Promise<number> {
  const table = plan.table;
  const bundle = plan.identity.bundle as Bundle;
  if (table === undefined) throw new TypeError('a disk without a table has no persona');
  const parts: SystemPart[] = [];
  for (const entry of table.entries) {
    const range = entryRange(entry, table.sectorSize);
    const fs = await identifyFileSystem(slice(target, range));
    parts.push({
      number: entry.number,
      entry,
      range,
      label: entryLabel(entry),
      openWindow: target.window,
      ...(fs === undefined ? {} : { fs }),
    });
  }
  return withSystem(
    parts,
    { writable: plan.personaParts },
    async ({ tree }) => {
      const persona = await planPersona(tree, bundle);
      await applyPersona(tree, persona, signal === undefined ? {} : { signal });
      return persona.changes.length;
    },
    async (reasons) => {
      throw new CloneRefusedError(
        'NO_SYSTEM',
        `the copied system cannot be opened: ${reasons.join('; ')}`,
        'Check the source with its own file-system check, then clone again.',
        { reasons },
      );
    },
  );
}
