/** Planning the persona: pure, and idempotent - what was applied is not planned again. */
import type { Bundle } from '../profile/model.ts';
import { placeInSource } from '../profile/source-place.ts';
import { operations } from './operations/index.ts';
import { OverlayTree } from './overlay.ts';
import type { Problem } from './problems.ts';
import { identifySystem, type SystemInfo } from './system.ts';
import type { Change, ReadableTree } from './tree.ts';

export interface PersonaOptions {
  /** The source's machine id, where it is known and the target must not have it (E004). */
  readonly sourceMachineId?: string;
  /** Names of operations to leave out. */
  readonly skip?: readonly string[];
}

export interface PersonaPlan {
  /** The net difference, one a path, in the order of applying; the machine id is last. Contents may be secret: print them with render.ts only. */
  readonly changes: readonly Change[];
  readonly warnings: readonly string[];
  /** Not empty: nothing may be applied. */
  readonly problems: readonly Problem[];
  /** The system as the tree holds it now. */
  readonly system: SystemInfo;
  /** Plans the same bundle over a tree again. */
  readonly replan: (tree: ReadableTree) => Promise<PersonaPlan>;
}

/**
 * What it takes to make the tree's system the bundle's host. Writes nothing.
 * @throws NotASystemError, UnusableFileError, TargetFileError
 */
export async function planPersona(tree: ReadableTree, bundle: Bundle, options: PersonaOptions = {}): Promise<PersonaPlan> {
  const system = await identifySystem(tree);
  const overlay = new OverlayTree(tree);
  const warnings: string[] = [];
  const problems: Problem[] = [];
  const context = {
    bundle,
    system,
    ...(options.sourceMachineId === undefined ? {} : { sourceMachineId: options.sourceMachineId }),
    warn: (message: string) => void warnings.push(message),
    problem: (problem: Problem) => {
      const place = placeInSource(bundle, problem.path);
      problems.push(place === undefined ? problem : { ...problem, place });
    },
  };
  const chosen = operations.filter(({ name, default: runs }) => runs && !options.skip?.includes(name));
  for (const operation of chosen) {
    overlay.operation = operation.name;
    await operation.plan(overlay, context);
  }
  return {
    changes: inOrder(await overlay.changes()),
    warnings,
    problems,
    system,
    replan: (again) => planPersona(again, bundle, options),
  };
}

/** Directories first, as files need them; then by operation. The sort is stable. */
function inOrder(changes: readonly Change[]): Change[] {
  const order = new Map(operations.map(({ name, order }) => [name, order]));
  const rank = (change: Change) => (change.after.type === 'directory' ? -1 : (order.get(change.operation) ?? 0));
  return [...changes].sort((a, b) => rank(a) - rank(b));
}
