/** Why a duplication is refused, or failed, beyond what the layers below say. */
import { DiffersError, RefusedError } from '../errors.ts';
import type { ByteRange } from '../image/contract.ts';

/** One of many reasons not to begin; nothing was written. */
export class CloneRefusedError extends RefusedError {
  constructor(code: string, message: string, todo: string, data: Readonly<Record<string, unknown>> = {}) {
    super(message, { code, todo, data });
  }
}

/** The target does not hold what the source holds. */
export class TargetDiffersError extends DiffersError {
  constructor(
    message: string,
    todo: string,
    data: { readonly range?: ByteRange; readonly part?: string } & Readonly<Record<string, unknown>>,
  ) {
    super(message, { code: 'TARGET_DIFFERS', todo, data });
  }
}
