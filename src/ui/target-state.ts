/** What became of the target, as far as the engine has told: one process runs one command on one target. */
import type { TargetState } from '../engine/events.ts';

let state: TargetState = 'untouched';

export function targetState(): TargetState {
  return state;
}

export function setTargetState(next: TargetState): void {
  state = next;
}
