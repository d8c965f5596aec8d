/** What an operation is: a record from which the lists and the documentation are made. */
import type { Bundle } from '../../profile/model.ts';
import type { OverlayTree } from '../overlay.ts';
import type { Problem } from '../problems.ts';
import type { SystemInfo } from '../system.ts';

export interface OperationContext {
  readonly bundle: Bundle;
  /** The system as it was before the first operation. */
  readonly system: SystemInfo;
  /** Machine id of the source, when the caller knows it: the target must not have the same one. */
  readonly sourceMachineId?: string;
  warn(message: string): void;
  /** Something that forbids to apply the plan. */
  problem(problem: Problem): void;
}

export interface Operation {
  readonly name: string;
  /** One line for a person. */
  readonly heading: string;
  /** Runs unless switched off. */
  readonly default: boolean;
  /** Lower runs first. */
  readonly order: number;
  /** Paths and globs in the target, for the documentation. */
  readonly touches: readonly string[];
  /** Writes into the overlay what shall be; must find nothing to do on a tree that it planned before. */
  plan(tree: OverlayTree, context: OperationContext): Promise<void>;
}

/** First lines of every file that doppel generates. `comment` starts a comment in the file's language. */
export function generatedHeader(bundle: Bundle, comment = '#'): string {
  return `${comment} Written by doppel from the profile of ${bundle.resolved.host}; edits are overwritten.\n`;
}
