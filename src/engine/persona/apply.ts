/** Applying a persona plan, and the check that nothing is left to do. */
import { DriftError, PersonaNotSettledError, PersonaProblemsError } from './errors.ts';
import { sameState, stateOf } from './overlay.ts';
import type { PersonaPlan } from './plan.ts';
import type { Change, WritableTree } from './tree.ts';

export interface ApplyStep {
  readonly change: Change;
  /** Steps begun, this one included, and all. */
  readonly step: number;
  readonly steps: number;
  /** `skipped`: the file was already as it shall be. */
  readonly done: 'written' | 'skipped';
}

/**
 * Writes the changes in their order, each durable before the next, then plans again. May be run again after a crash: what is
 * done is skipped.
 * @throws PersonaProblemsError before anything is written; DriftError when a file is neither as planned nor as wanted;
 * PersonaNotSettledError when the second plan finds something to change; the tree's own errors.
 */
export async function applyPersona(
  tree: WritableTree,
  plan: PersonaPlan,
  { onStep, signal }: { readonly onStep?: (step: ApplyStep) => void; readonly signal?: AbortSignal } = {},
): Promise<void> {
  if (plan.problems.length > 0) throw new PersonaProblemsError(plan.problems);
  const steps = plan.changes.length;
  for (const [index, change] of plan.changes.entries()) {
    signal?.throwIfAborted();
    const stat = await tree.lstat(change.path);
    const now = await stateOf(tree, change.path, stat);
    const settled = sameState(now, change.after, stat?.ownerless);
    if (!settled) {
      if (!sameState(now, change.before, stat?.ownerless)) throw new DriftError(change.path);
      await tree.put(change.path, change.after);
    }
    onStep?.({ change, step: index + 1, steps, done: settled ? 'skipped' : 'written' });
  }
  const left = await plan.replan(tree);
  if (left.problems.length > 0) throw new PersonaProblemsError(left.problems);
  if (left.changes.length > 0) throw new PersonaNotSettledError(left.changes.map((change) => change.path));
}
