/** What can be wrong with an archive. Offsets and lengths are bytes. */
import { CorruptInputError, IoError, RefusedError } from '../errors.ts';

/** Something in an archive is not as its format says; `place` is the blob, the entry or the document. */
export class ArchiveCorruptError extends CorruptInputError {
  constructor(archive: string, place: string, what: string, cause?: unknown) {
    super(`${archive} is damaged: ${place} ${what}`, {
      code: 'ARCHIVE_CORRUPT',
      todo: 'Copy or capture it again. Nothing of it was committed; a target that is fenced by now is finished by the same command with a whole archive.',
      data: { archive, place, what },
      cause,
    });
  }
}

/** A release of doppel that is not written yet made it. */
export class ArchiveVersionError extends CorruptInputError {
  constructor(archive: string, version: unknown) {
    super(`${archive} has version ${JSON.stringify(version)} of the archive format, and this doppel knows version 1`, {
      code: 'ARCHIVE_VERSION',
      todo: 'Use a newer doppel.',
      data: { archive, version },
    });
  }
}

export class NotAnArchiveError extends CorruptInputError {
  constructor(archive: string, why: string, todo = 'Name a directory or a tar file that "doppel capture" made.') {
    super(`${archive} is no archive: ${why}`, {
      code: 'NOT_AN_ARCHIVE',
      todo,
      data: { archive, why },
    });
  }
}

/** Some of its manifests are not there, as after a copy of one platform only. */
export class ArchiveIncompleteError extends CorruptInputError {
  constructor(archive: string, found: number, total: number) {
    super(`${archive} has ${found} of the ${total} manifests of its machine`, {
      code: 'ARCHIVE_INCOMPLETE',
      todo: 'Copy it with all of them: skopeo copy --all, or oras copy of the whole index.',
      data: { archive, found, total },
    });
  }
}

/** What is in it can be read only with a key, and none was given. */
export class ArchiveEncryptedError extends RefusedError {
  constructor(archive: string, what = 'it') {
    super(`${archive} cannot be read: ${what} is encrypted`, {
      code: 'ARCHIVE_ENCRYPTED',
      todo: 'Name the file with the key that opens it: --identity FILE.',
      data: { archive },
    });
  }
}

/** None of the keys that were given opens it. */
export class WrongIdentityError extends RefusedError {
  constructor(archive: string, what = 'it', cause?: unknown) {
    super(`${archive} cannot be read: ${what} was encrypted to others than the given identities`, {
      code: 'WRONG_IDENTITY',
      todo: 'Name the file with the right key: --identity FILE.',
      data: { archive },
      cause,
    });
  }
}

export class ArchiveUnsignedError extends RefusedError {
  constructor(archive: string) {
    super(`${archive} is not signed, and a signature is required`, {
      code: 'ARCHIVE_UNSIGNED',
      todo: 'Get the archive from where it is signed ("doppel capture --sign KEY"), or leave --require-signed away if you know where it is from.',
      data: { archive },
    });
  }
}

/** `key`: the id that the archive names. */
export class UnknownSignerError extends RefusedError {
  constructor(archive: string, key: string) {
    super(`${archive} is signed with the key ${key}, which is not trusted`, {
      code: 'UNKNOWN_SIGNER',
      todo: 'Find out whose key that is. If it is to be trusted: --trust FILE.pem.',
      data: { archive, key },
    });
  }
}

export class ArchiveSignatureError extends CorruptInputError {
  constructor(archive: string, place: string, key: string) {
    super(`${archive} was changed after it was signed with the key ${key}: ${place} does not fit its signature`, {
      code: 'ARCHIVE_SIGNATURE',
      todo: 'Do not use it: get it again from who signed it. Nothing of it was committed.',
      data: { archive, place, key },
    });
  }
}

export class ArchiveExistsError extends RefusedError {
  constructor(archive: string) {
    super(`${archive} exists already`, {
      code: 'ARCHIVE_EXISTS',
      todo: 'Remove it, or name another place.',
      data: { archive },
    });
  }
}

/** A plan would have to look at something that has not come yet. */
export class ArchiveArrivingError extends RefusedError {
  constructor(archive: string) {
    super(`what ${archive} holds would have to be looked at before it is restored, and it comes only once`, {
      code: 'ARCHIVE_ARRIVING',
      todo: 'Store it in a file, and restore that.',
      data: { archive },
    });
  }
}

/** What the target was said to hold is not there any more. */
export class HeldChangedError extends IoError {
  constructor(archive: string, offset: number) {
    super(`the target holds something else at byte ${offset} than it did before ${archive} began to arrive`, {
      code: 'TARGET_CHANGED',
      todo: 'Somebody else writes to it. Run the same command again.',
      data: { archive, offset },
    });
  }
}

/** A doppel writes to the directory, or removes something from it. */
export class ArchiveBusyError extends RefusedError {
  constructor(archive: string) {
    super(`another doppel is writing to ${archive}`, {
      code: 'ARCHIVE_BUSY',
      todo: 'Wait until it is done.',
      data: { archive },
    });
  }
}

/** What it needs cannot be told, so nothing of the directory may be removed. */
export class UnknownContentError extends RefusedError {
  constructor(archive: string, place: string, mediaType: string, digest: string) {
    super(`${archive} holds something that this doppel cannot read: ${place} names ${digest} of media type ${mediaType}`, {
      code: 'UNKNOWN_CONTENT',
      todo: 'What that needs cannot be told, so nothing was removed. Use the tool that put it there.',
      data: { archive, place, mediaType, digest },
    });
  }
}

/** More ranges than anybody would want to read back. */
export class LayoutTooLargeError extends RefusedError {
  constructor(bytes: number, images: readonly { readonly data: { readonly count: number } }[]) {
    const ranges = images.reduce((sum, { data }) => sum + data.count, 0);
    super(`the disk is too fragmented for an archive: its ${ranges} ranges of data take ${bytes} bytes to write down`, {
      code: 'LAYOUT_TOO_LARGE',
      todo: 'Capture it with --exact, which takes the space between them, too; or its parts one by one.',
      data: { ranges, bytes },
    });
  }
}

/** The place where an archive is kept, or goes to, fails. */
export class ArchiveIoError extends IoError {
  constructor(archive: string, action: string, cause: unknown) {
    super(`${action} ${archive} failed: ${cause instanceof Error ? cause.message : String(cause)}`, {
      code: 'ARCHIVE_IO',
      todo: 'Check the path, its permissions, and the free space there.',
      data: { archive, action },
      cause,
    });
  }
}
