/** A run's journal, from the fence to the commit. A run goes on without one; it is then only not resumed. */
import { JournalError } from './journal.ts';
import type { ClonePlan } from './plan.ts';
import { openJournal, type Resumption } from './resume.ts';
import type { TargetEvents } from './target-events.ts';

/** Undefined where the plan has none, or it cannot be used and nobody asked for it. @throws JournalError when somebody did */
export async function openRunJournal(
  { runId, journal }: Pick<ClonePlan, 'runId' | 'journal'>,
  events: TargetEvents,
): Promise<Resumption | undefined> {
  if (journal === undefined) return undefined;
  try {
    return await openJournal(runId, journal);
  } catch (error) {
    if (!(error instanceof JournalError) || journal.required) throw error;
    events.warning(`${error.message}: a run that is killed will have to copy everything again`);
    return undefined;
  }
}

/** What cannot be removed is told, and does no harm: a journal counts only for a target with its run's fence. */
export async function removeRunJournal(resumption: Resumption | undefined, events: TargetEvents): Promise<void> {
  try {
    await resumption?.journal.remove();
  } catch (error) {
    if (!(error instanceof JournalError)) throw error;
    events.warning(`${error.message}; it is not needed any more: remove it`);
  }
}
