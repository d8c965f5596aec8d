/** What the persona will change, seen before the copy on the parts as they are now. Writes nothing. */
import { DoppelError, ProfileError } from '../errors.ts';
import { PersonaProblemsError } from '../persona/errors.ts';
import { type PersonaPlan, planPersona } from '../persona/plan.ts';
import type { Bundle } from '../profile/model.ts';
import type { Part } from './disk.ts';
import { CloneRefusedError } from './errors.ts';
import { touchedParts } from './persona-parts.ts';
import { isUnclean } from './replay.ts';
import { nothingWritable, type SystemPart, withSystem } from './system.ts';

export interface SeenPersona {
  /** Absent when the files cannot be read before their journal is replayed, which only happens on the target. */
  readonly plan?: PersonaPlan;
  /** Numbers of the parts whose files change. */
  readonly parts: ReadonlySet<number>;
  readonly warnings: readonly string[];
}

/**
 * Of a source that was not cleanly unmounted the newest files may be only in a journal: what cannot be read then is no reason
 * to refuse, because the journal is replayed on the target.
 * @throws CloneRefusedError when no system can be opened, PersonaProblemsError when the profile does not fit it
 */
export async function previewPersona(
  parts: readonly SystemPart[],
  bundle: Bundle,
  sourceMachineId?: string,
): Promise<SeenPersona> {
  const unclean = parts.filter(isUnclean).map(({ label }) => label);
  if (unclean.length === 0) return preview(parts, bundle, sourceMachineId);
  const told = `${unclean.join(' and ')} of the source: not cleanly unmounted; the journal is replayed on the target only`;
  try {
    const seen = await preview(parts, bundle, sourceMachineId);
    return { ...seen, warnings: [`${told}, so the identity changes may turn out different`, ...seen.warnings] };
  } catch (error) {
    if (!(error instanceof DoppelError) || error instanceof ProfileError) throw error;
    return { parts: new Set(), warnings: [`${told}, so the identity changes cannot be shown before: ${error.message}`] };
  }
}

/** Of parts that cannot be looked at before the copy. @throws CloneRefusedError when there is no system among them */
export function unseenPersona(parts: readonly Pick<Part, 'mountPoint'>[], bundle: Bundle): SeenPersona {
  if (!parts.some(({ mountPoint }) => mountPoint === '/')) throw noSystem(bundle, ['none of the parts is its root']);
  return { parts: new Set(), warnings: ['what the identity changes shows only after the copy: nothing can be looked at before'] };
}

/** @throws CloneRefusedError when no system can be opened, PersonaProblemsError when the profile does not fit it */
async function preview(parts: readonly SystemPart[], bundle: Bundle, sourceMachineId?: string): Promise<SeenPersona> {
  return withSystem(
    parts,
    nothingWritable,
    async (system) => {
      const plan = await planPersona(system.tree, bundle, sourceMachineId === undefined ? {} : { sourceMachineId });
      if (plan.problems.length > 0) throw new PersonaProblemsError(plan.problems);
      return { plan, parts: await touchedParts(system, plan.changes), warnings: [...system.notes, ...plan.warnings] };
    },
    async (reasons) => {
      throw noSystem(bundle, reasons);
    },
  );
}

function noSystem({ resolved: { host } }: Bundle, reasons: readonly string[]): CloneRefusedError {
  return new CloneRefusedError(
    'NO_SYSTEM',
    `no system can be made ${host}: ${reasons.join('; ')}`,
    'Copy the part with the system too, or make a plain copy (--as none).',
    { reasons },
  );
}
