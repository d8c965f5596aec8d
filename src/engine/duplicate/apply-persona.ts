/** Makes the system on a target itself, through windows that cannot reach a protected region. */
import { DoppelError, ProfileError } from '../errors.ts';
import type { GuardedTarget } from '../image/contract.ts';
import { slice } from '../image/slice.ts';
import type { PartitionTable } from '../layout/contract.ts';
import { identifyFileSystem } from '../layout/filesystems.ts';
import { entryRange } from '../layout/table-space.ts';
import { entryLabel } from '../layout/table-text.ts';
import { applyPersona } from '../persona/apply.ts';
import { planPersona } from '../persona/plan.ts';
import type { Bundle } from '../profile/model.ts';
import { CloneRefusedError } from './errors.ts';
import { touchedParts } from './persona-parts.ts';
import { isSystemPart, isUnclean, replayJournals } from './replay.ts';
import { type SystemPart, withSystem } from './system.ts';

export interface PersonaTask {
  /** As the disk will have it after the commit. */
  readonly table: PartitionTable;
  readonly bundle: Bundle;
  /** Numbers of the parts that may change; all others are opened read-only. */
  readonly writable: ReadonlySet<number>;
  /** Numbers of copied parts whose journals may be replayed, because their files cannot be read otherwise. */
  readonly replay?: ReadonlySet<number>;
  readonly signal?: AbortSignal;
}

/**
 * Answers the number of files changed. The target must be flushed afterwards.
 * @throws CloneRefusedError when no system can be opened, and what planPersona and applyPersona throw
 */
export async function personalizeTarget(target: GuardedTarget, task: PersonaTask): Promise<number> {
  const unclean = (await partsOf(target, task.table)).filter((part) => task.replay?.has(part.number) === true && isUnclean(part));
  // Every other part stays as the source has it, as long as nothing on it has to be read.
  await replayJournals(unclean.filter(isSystemPart));
  const rest = unclean.filter((part) => !isSystemPart(part));
  try {
    return await personalize(target, task);
  } catch (error) {
    if (rest.length === 0 || !(error instanceof DoppelError) || error instanceof ProfileError) throw error;
    await replayJournals(rest);
    return personalize(target, task);
  }
}

async function personalize(target: GuardedTarget, task: PersonaTask): Promise<number> {
  const { table, bundle, writable, signal } = task;
  const outcome = await withSystem(
    await partsOf(target, table),
    { writable },
    async (system) => {
      const persona = await planPersona(system.tree, bundle);
      const touched = await touchedParts(system, persona.changes);
      // A journal that was replayed by now may have brought more to change than the plan could see.
      if ([...touched].some((number) => !writable.has(number))) return { wider: new Set([...writable, ...touched]) };
      await applyPersona(system.tree, persona, signal === undefined ? {} : { signal });
      return { changed: persona.changes.filter(({ after }) => after.type !== 'directory').length };
    },
    async (reasons) => {
      throw new CloneRefusedError(
        'NO_SYSTEM',
        `the system on ${target.name} cannot be opened: ${reasons.join('; ')}`,
        'Check its file systems (fsck), then run the command again.',
        { reasons },
      );
    },
  );
  return outcome.wider === undefined ? outcome.changed : personalize(target, { ...task, writable: outcome.wider });
}

async function partsOf(target: GuardedTarget, table: PartitionTable): Promise<SystemPart[]> {
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
  return parts;
}
