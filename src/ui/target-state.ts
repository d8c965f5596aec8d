/** What became of the targets, as far as the engine has told: one process runs one command. */
import type { TargetState } from '../engine/events.ts';

const states = new Map<string, TargetState>();

/** Of one target, or of all together: fenced when any is, committed when all that were touched are. */
export function targetState(name?: string): TargetState {
  if (name !== undefined) return states.get(name) ?? 'untouched';
  const all = [...states.values()];
  return all.includes('fenced') ? 'fenced' : (all[0] ?? 'untouched');
}

export function setTargetState(name: string, next: TargetState): void {
  states.set(name, next);
}
