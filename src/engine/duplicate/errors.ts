/** Why a duplication is refused, or failed, beyond what the layers below say. */
import { DiffersError, type DoppelError, IoError, RefusedError } from '../errors.ts';
import type { ByteRange } from '../image/contract.ts';
import type { ImageIdentity } from '../image/identity.ts';
import type { Damage } from './result.ts';

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

/** What was copied is a mixture of two states of the source. */
export class SourceChangedError extends IoError {
  constructor({ path }: ImageIdentity) {
    super(`${path} was written to while it was copied: the copy is neither what it was nor what it is`, {
      code: 'SOURCE_CHANGED',
      todo: 'Find out who writes to it (fuser, lsof) and stop that, or copy a snapshot; then run the same command again. The target stays fenced.',
      data: { path },
    });
  }
}

/** What could not be read of the source are structures that its copy cannot be changed without. */
export class DamagedCopyError extends IoError {
  constructor(
    { source, target }: { readonly source: ImageIdentity; readonly target: ImageIdentity },
    { bytes, parts }: Damage,
    cause: DoppelError,
  ) {
    super(`the copy on ${target.path} is too damaged to be made itself: ${bytes} bytes of ${source.path} could not be read`, {
      code: 'COPY_DAMAGED',
      todo:
        'Rescue the source with ddrescue and clone its image with --source-map. Or make a plain copy (--as none), repair its file systems (fsck), ' +
        'and then let it become itself (doppel personalize).',
      data: { bytes, parts },
      cause,
    });
  }
}
