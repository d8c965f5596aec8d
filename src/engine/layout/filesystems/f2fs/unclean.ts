/** Telling a file system that has to be recovered first from one that makes no sense. */
import { NotMappableError } from '../bytes.ts';

/** What the file system holds is newer than its checkpoint, or its checkpoint is torn. */
export class UncleanError extends NotMappableError {
  constructor(reason: string) {
    super(`the file system is not clean: ${reason}`);
  }
}

/** @throws UncleanError with the reason unless the condition holds. */
export function insistClean(condition: boolean, reason: string): void {
  if (!condition) throw new UncleanError(reason);
}
