/** What is changed on the copied file systems, so that the target is itself: grown to their parts, new ids, its persona. */
import type { GuardedTarget } from '../image/contract.ts';
import { personalizeTarget } from './apply-persona.ts';
import type { Checkpoints } from './checkpoints.ts';
import { growFileSystems } from './grow.ts';
import type { ClonePlan } from './plan.ts';
import { rewriteIds } from './rewrite-ids.ts';
import type { TargetEvents } from './target-events.ts';

export interface Making {
  readonly plan: ClonePlan;
  readonly target: GuardedTarget;
  /** Learns, before each step, that the copied parts are written by something else than the copy. */
  readonly checkpoints: Pick<Checkpoints, 'markDirty'>;
  readonly events: TargetEvents;
  readonly signal: AbortSignal | undefined;
}

/** Answers the number of files that the persona changed. */
export async function makeItself(making: Making): Promise<number> {
  await grow(making);
  await replaceIds(making);
  return persona(making);
}

async function grow(making: Making): Promise<void> {
  const { plan, target, events } = making;
  if (plan.grow.length === 0) return;
  events.phase('grow', `Growing ${plan.grow.map(({ label }) => label).join(' and ')}`);
  await markCopiedDirty(making);
  await growFileSystems(target, { growths: plan.grow }, signalOf(making));
}

async function replaceIds(making: Making): Promise<void> {
  const { target, events } = making;
  const { table, renames } = making.plan;
  if (table === undefined || renames.length === 0) return;
  events.phase('ids', 'Replacing old PARTUUIDs in the files of the copied system');
  await markCopiedDirty(making);
  await rewriteIds(target, { table, renames, ...signalOf(making) });
}

async function persona(making: Making): Promise<number> {
  const { target, events } = making;
  const { identity, table, personaParts, replay } = making.plan;
  if (identity.bundle === undefined || table === undefined) return 0;
  const { bundle } = identity;
  events.phase('persona', `Making it ${bundle.resolved.host}`);
  await markCopiedDirty(making);
  const changed = await personalizeTarget(target, { table, bundle, writable: personaParts, replay, ...signalOf(making) });
  await target.flush();
  return changed;
}

async function markCopiedDirty({ plan, checkpoints }: Making): Promise<void> {
  await checkpoints.markDirty(plan.parts.filter(({ fate }) => fate === 'copied').map(({ range }) => range));
}

function signalOf({ signal }: Making): { readonly signal?: AbortSignal } {
  return signal === undefined ? {} : { signal };
}
