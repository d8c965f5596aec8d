/** What the persona has made of a clone, derived from the source and the bundle: nothing on the target tells it. */
import { PersonaProblemsError } from '../persona/errors.ts';
import { planPersona } from '../persona/plan.ts';
import type { Bundle } from '../profile/model.ts';
import { CloneRefusedError } from './errors.ts';
import { changesByPart, type PartChanges } from './persona-parts.ts';
import { nothingWritable, type SystemPart, withSystem } from './system.ts';

export interface ExpectedPersona {
  /** By part number: every part that was opened for writing when the persona was applied. */
  readonly parts: ReadonlyMap<number, PartChanges>;
  readonly notes: readonly string[];
}

/**
 * `parts` are those that a clone starts from: the source's, and the target's that it keeps.
 * @throws CloneRefusedError without a system, PersonaProblemsError when the bundle cannot be applied to it
 */
export async function expectPersona(parts: readonly SystemPart[], bundle: Bundle): Promise<ExpectedPersona> {
  return withSystem(
    parts,
    nothingWritable,
    async (system) => {
      const plan = await planPersona(system.tree, bundle);
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
