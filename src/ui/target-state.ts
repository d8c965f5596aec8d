/** Carries the target's state from a command that failed to the launcher that reports it. */
import type { TargetState } from '../engine/events.ts';

export const failedTarget = new WeakMap<object, TargetState>();

export function targetAfter(error: unknown): TargetState {
  return (typeof error === 'object' && error !== null ? failedTarget.get(error) : undefined) ?? 'untouched';
}
