/** In what two archives differ: what is said of their machines, and what their parts hold. Sizes are bytes. */
import type { Archive } from '../archive/archive.ts';
import { DiffersError } from '../errors.ts';
import { ignoreEvents, type RunOptions } from '../events.ts';
import { type ContentsDiff, compareContents } from './archive-diff-contents.ts';
import { type DifferingFact, differingFacts } from './archive-diff-facts.ts';
import { archivedMachine } from './archived-source.ts';

export interface ArchiveDiff extends ContentsDiff {
  readonly old: string;
  readonly new: string;
  readonly equal: boolean;
  readonly facts: readonly DifferingFact[];
}

/** @throws ArchiveCorruptError, ArchiveIoError, the signal's reason */
export async function diffArchives(
  old: Archive,
  changed: Archive,
  { onEvent = ignoreEvents, signal }: RunOptions = {},
): Promise<ArchiveDiff> {
  onEvent({ type: 'phase', phase: 'compare', title: 'Comparing the archives' });
  const sides = {
    old: { archive: old, machine: archivedMachine(old) },
    new: { archive: changed, machine: archivedMachine(changed) },
  };
  const facts = differingFacts(sides.old.machine, sides.new.machine);
  const contents = await compareContents(sides, { onEvent, ...(signal === undefined ? {} : { signal }) });
  const equal = facts.length === 0 && contents.parts.every(({ what }) => what === 'equal');
  return { old: old.name, new: changed.name, equal, facts, ...contents };
}

/** The error of a result that is not equal: exit code 8. */
export function archivesDifferError(diff: ArchiveDiff): DiffersError {
  return new DiffersError(`${diff.old} and ${diff.new} differ`, {
    code: 'ARCHIVES_DIFFER',
    todo: `A disk that holds the one becomes the other with: doppel restore ${diff.new} TARGET --delta.`,
    data: { result: diff },
  });
}
