/** Which files of a clone are not as on the source, and what they hold: ids that became others, then the persona. Nothing on the target tells it. */
import { PersonaProblemsError } from '../persona/errors.ts';
import { OverlayTree } from '../persona/overlay.ts';
import { findIdReferrers } from '../persona/partition-ids.ts';
import { planPersona } from '../persona/plan.ts';
import type { Change, ReadableTree } from '../persona/tree.ts';
import type { Bundle } from '../profile/model.ts';
import type { IdRename } from './adapt-source.ts';
import { CloneRefusedError } from './errors.ts';
import { changesByPart, type PartChanges } from './persona-parts.ts';
import { idChanges } from './rewrite-ids.ts';
import { nothingWritable, type SystemPart, withSystem } from './system.ts';

export interface ExpectedChanges {
  /** By part number: every part that a clone writes files on. */
  readonly parts: ReadonlyMap<number, PartChanges>;
  readonly notes: readonly string[];
}

/**
 * `parts` are those that a clone starts from: the source's under their old ids, and the target's that it keeps.
 * @throws CloneRefusedError without a system, or for files that cannot be rewritten; PersonaProblemsError when the bundle
 * cannot be applied to it
 */
export async function expectChanges(
  parts: readonly SystemPart[],
  renames: readonly IdRename[],
  bundle: Bundle | undefined,
): Promise<ExpectedChanges> {
  const ids = await idChanges(parts, renames);
  if (bundle === undefined) return { parts: ids, notes: [] };
  const persona = await expectPersona(parts, renames, bundle);
  const all = new Map(ids);
  for (const [number, { mountPoint, changes }] of persona.parts) {
    all.set(number, { mountPoint, changes: new Map([...(ids.get(number)?.changes ?? []), ...changes]) });
  }
  return { parts: all, notes: persona.notes };
}

function expectPersona(parts: readonly SystemPart[], renames: readonly IdRename[], bundle: Bundle): Promise<ExpectedChanges> {
  return withSystem(
    parts,
    nothingWritable,
    async (system) => {
      const { changes } = await findIdReferrers(system.tree, renames);
      const plan = await planPersona(await withChanges(system.tree, changes), bundle);
      if (plan.problems.length > 0) throw new PersonaProblemsError(plan.problems);
      return { parts: await changesByPart(system, plan.changes), notes: system.notes };
    },
    async (reasons) => {
      throw new CloneRefusedError(
        'NO_SYSTEM',
        `what ${bundle.resolved.host} shall be cannot be told: ${reasons.join('; ')}`,
        'Compare it as a plain copy (--as none), or compare the part with the system too.',
        { reasons },
      );
    },
  );
}

/** The tree as it is when the persona is planned. */
async function withChanges(tree: ReadableTree, changes: readonly Change[]): Promise<ReadableTree> {
  if (changes.length === 0) return tree;
  const changed = new OverlayTree(tree);
  for (const { path, after } of changes) {
    if (after.type !== 'file') throw new TypeError(`${path}: only files name ids`);
    await changed.write(path, after.content, after);
  }
  return changed;
}
