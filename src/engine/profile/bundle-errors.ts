/** What can go wrong while a bundle is made or read. */
import { CorruptInputError, ProfileError } from '../errors.ts';

/** The bytes are no bundle: truncated, damaged, or not what this version writes. */
export class BundleCorruptError extends CorruptInputError {
  constructor(reason: string, cause?: unknown) {
    super(`the profile in the region cannot be understood: ${reason}`, {
      code: 'BUNDLE_CORRUPT',
      todo: 'Write the profile again with "doppel profile write TARGET FILE --replace-profile".',
      data: { reason },
      cause,
    });
  }
}

/** The bundle was written by a version that knows more. */
export class BundleNewerError extends ProfileError {
  constructor(format: unknown) {
    super(`the profile in the region has format ${String(format)}; this version reads format 1`, {
      code: 'BUNDLE_NEWER',
      todo: 'Use a newer version of doppel.',
      data: { format },
    });
  }
}

/** More than a reader would take: the profile cannot be stored. */
export class BundleTooLargeError extends ProfileError {
  constructor(size: number, limit: number) {
    super(`E024: the profile and its secrets have ${size} bytes; ${limit} is the limit`, {
      code: 'PROFILE_TOO_LARGE',
      todo: 'Make write_files and the secrets smaller.',
      data: { diagnostic: 'E024', size, limit },
    });
  }
}

/** `keep` was asked for, but there is nothing to keep. */
export class NothingToKeepError extends ProfileError {
  constructor(what: 'identity.machineId' | 'identity.sshHostKeys', reason: string) {
    super(`${what} says keep, but ${reason}`, {
      code: 'NOTHING_TO_KEEP',
      todo: `Write the profile while the target still holds its system, or write generate instead of keep.`,
      data: { what, reason },
    });
  }
}

/** The bundle given as previous belongs to another target. */
export class PreviousBundleError extends ProfileError {
  constructor(previous: string, wanted: string) {
    super(`the previous profile belongs to the target ${previous}, not to ${wanted}`, {
      code: 'PREVIOUS_PROFILE',
      todo: 'Check that this is the disk you mean.',
      data: { previous, wanted },
    });
  }
}

/** ssh-keygen failed. */
export class KeygenError extends ProfileError {
  constructor(detail: string, cause: unknown) {
    super(`ssh-keygen failed: ${detail}`, {
      code: 'SSH_KEYGEN_FAILED',
      todo: 'Check that ssh-keygen works, and that /dev/shm or the directory for temporary files has space.',
      data: { tool: 'ssh-keygen', detail },
      cause,
    });
  }
}
