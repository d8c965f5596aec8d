/** What the persona has made of a clone, derived from the source and the bundle: nothing on the target tells it. */
import { PersonaProblemsError } from '../persona/errors.ts';
import { planPersona } from '../persona/plan.ts';
import type { Change } from '../persona/tree.ts';
import type { Bundle } from '../profile/model.ts';
import { CloneRefusedError } from './errors.ts';
import { nothingWritable, type OpenSystem, type SystemPart, touchedParts, withSystem } from './system.ts';

/** The part of a persona that lies on one partition. */
export interface PartChanges {
  /** Where the system mounts the part; `/` for the root. */
  readonly mountPoint: string;
  /** By path inside the part. */
  readonly changes: ReadonlyMap<string, Change>;
}

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
      return { parts: await byPart(system, plan.changes), notes: system.notes };
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

async function byPart(system: OpenSystem, changes: readonly Change[]): Promise<Map<number, PartChanges>> {
  const mounts: { readonly number: number; readonly mountPoint: string }[] = [];
  for (const { number, mountPoint } of system.mounts) {
    // fstab may name the place by a link; the paths of changes have none left.
    mounts.push({ number, mountPoint: mountPoint === '/' ? '/' : await system.tree.realpath(mountPoint) });
  }
  mounts.sort((a, b) => b.mountPoint.length - a.mountPoint.length);
  const found = new Map<number, { mountPoint: string; changes: Map<string, Change> }>();
  const at = (number: number) => {
    const mountPoint = mounts.find((mount) => mount.number === number)?.mountPoint ?? '/';
    const part = found.get(number) ?? { mountPoint, changes: new Map<string, Change>() };
    found.set(number, part);
    return part;
  };
  for (const number of await touchedParts(system, changes)) at(number);
  for (const change of changes) {
    const mount = mounts.find(
      ({ mountPoint }) => mountPoint === '/' || change.path === mountPoint || change.path.startsWith(`${mountPoint}/`),
    );
    if (mount === undefined) continue;
    const inside = mount.mountPoint === '/' ? change.path : change.path.slice(mount.mountPoint.length) || '/';
    at(mount.number).changes.set(inside, change);
  }
  return found;
}
