/** Makes the system on a target itself from the profile in its region, without copying anything. Idempotent. */
import { ignoreEvents, type RunOptions } from '../events.ts';
import { type ImageIdentity, imageIdentity } from '../image/identity.ts';
import { openTarget } from '../layout/part-of-disk.ts';
import { PersonaProblemsError } from '../persona/errors.ts';
import { type PersonaPlan, planPersona } from '../persona/plan.ts';
import type { Bundle } from '../profile/model.ts';
import { guard } from '../protect/guard.ts';
import { checkRegions, hashRegions } from '../protect/hash.ts';
import { personalizeTarget } from './apply-persona.ts';
import { type Disk, surveyDisk } from './disk.ts';
import { CloneRefusedError } from './errors.ts';
import { touchedParts } from './persona-parts.ts';
import { recheckOne, type Sighting, sighting } from './preconditions.ts';
import { readStoredProfile } from './stored-profile.ts';
import { nothingWritable, readOnlyWindows, systemParts, withSystem } from './system.ts';

export interface PersonalizePlan {
  readonly target: ImageIdentity;
  readonly disk: Disk;
  readonly bundle: Bundle;
  readonly persona: PersonaPlan;
  readonly personaParts: ReadonlySet<number>;
  readonly notes: readonly string[];
  readonly precondition: Sighting;
}

/** Writes nothing. @throws CloneRefusedError, PersonaProblemsError and the errors of what is looked at */
export async function planPersonalize(path: string): Promise<PersonalizePlan> {
  if (process.getuid?.() !== 0)
    throw new CloneRefusedError('NEEDS_ROOT', 'opening the file systems of a disk needs root', 'Run it with sudo.');
  const target = await openTarget(path);
  try {
    const openWindow = readOnlyWindows(target);
    const disk = await surveyDisk(target, { openWindow });
    if (disk.incomplete !== undefined) {
      throw new CloneRefusedError(
        'TARGET_INCOMPLETE',
        `${path} is the unfinished target of a duplication (run ${disk.incomplete})`,
        'Run its command again; that makes the target itself too.',
        { runId: disk.incomplete },
      );
    }
    const stored = await readStoredProfile(target, disk.regions);
    if (stored === undefined) {
      throw new CloneRefusedError(
        'NO_PROFILE',
        `${path} has no profile to become`,
        `Give it one: doppel profile ${disk.regions.length === 0 ? `init ${path}, then doppel profile ` : ''}write ${path} FILE.yaml`,
        { target: path },
      );
    }
    const { bundle } = stored;
    const seen = await withSystem(
      systemParts(disk.parts, openWindow),
      nothingWritable,
      async (system) => {
        const persona = await planPersona(system.tree, bundle);
        if (persona.problems.length > 0) throw new PersonaProblemsError(persona.problems);
        return {
          persona,
          personaParts: await touchedParts(system, persona.changes),
          notes: [...system.notes, ...persona.warnings],
        };
      },
      async (reasons) => {
        throw new CloneRefusedError(
          'NO_SYSTEM',
          `there is no system on ${path} to make ${bundle.resolved.host}: ${reasons.join('; ')}`,
          'Clone one onto it first.',
          { reasons },
        );
      },
    );
    return {
      target: await imageIdentity(path, target.size, disk.sectorSize),
      disk,
      bundle,
      ...seen,
      notes: [...stored.problems, ...seen.notes],
      precondition: await sighting(target, disk.table, disk.regions),
    };
  } finally {
    await target.close();
  }
}

/** Answers the number of files changed. @throws RegionChangedError over every other error */
export async function executePersonalize(plan: PersonalizePlan, options: RunOptions = {}): Promise<number> {
  const { disk, bundle, personaParts } = plan;
  if (plan.persona.changes.length === 0 || disk.table === undefined) return 0;
  const onEvent = options.onEvent ?? ignoreEvents;
  const target = await openTarget(plan.target.path);
  try {
    await recheckOne('target', plan.precondition, target);
    const before = await hashRegions(target, disk.regions);
    const guarded = guard(target, disk.regions);
    onEvent({ type: 'phase', phase: 'persona', title: `Making it ${bundle.resolved.host}` });
    const signal = options.signal === undefined ? {} : { signal: options.signal };
    try {
      const changed = await personalizeTarget(guarded, { table: disk.table, bundle, writable: personaParts, ...signal });
      onEvent({ type: 'target', name: plan.target.path, state: 'committed' });
      return changed;
    } finally {
      await guarded.flush();
      await checkRegions(target, disk.regions, before);
    }
  } finally {
    await target.close();
  }
}
