/** What the persona will change, seen before the copy on the parts as they are now. Writes nothing. */
import { PersonaProblemsError } from '../persona/errors.ts';
import { type PersonaPlan, planPersona } from '../persona/plan.ts';
import type { Bundle } from '../profile/model.ts';
import { CloneRefusedError } from './errors.ts';
import { touchedParts } from './persona-parts.ts';
import { nothingWritable, type SystemPart, withSystem } from './system.ts';

export interface SeenPersona {
  readonly plan: PersonaPlan;
  /** Numbers of the parts whose files change. */
  readonly parts: ReadonlySet<number>;
  readonly warnings: readonly string[];
}

/** @throws CloneRefusedError when no system can be opened, PersonaProblemsError when the profile does not fit it */
export async function previewPersona(
  parts: readonly SystemPart[],
  bundle: Bundle,
  sourceMachineId?: string,
): Promise<SeenPersona> {
  return withSystem(
    parts,
    nothingWritable,
    async (system) => {
      const plan = await planPersona(system.tree, bundle, sourceMachineId === undefined ? {} : { sourceMachineId });
      if (plan.problems.length > 0) throw new PersonaProblemsError(plan.problems);
      return { plan, parts: await touchedParts(system, plan.changes), warnings: [...system.notes, ...plan.warnings] };
    },
    async (reasons) => {
      throw new CloneRefusedError(
        'NO_SYSTEM',
        `no system can be made ${bundle.resolved.host}: ${reasons.join('; ')}`,
        'Copy the part with the system too, or make a plain copy (--as none).',
        { reasons },
      );
    },
  );
}
