/** What became of the targets, as far as the engine has told: one process runs one command. */
import type { TargetState } from '../engine/events.ts';

const states = new Map<string, TargetState>();

/** Of one target, or of all together: untouched when none was touched, committed when all are done, else fenced. */
export function targetState(name?: string): TargetState {
  if (name !== undefined) return states.get(name) ?? 'untouched';
  const all = [...states.values()];
  return new Set(all).size > 1 ? 'fenced' : (all[0] ?? 'untouched');
}

export function setTargetState(name: string, next: TargetState): void {
  states.set(name, next);
}
