/** What can go wrong with an image. Offsets and lengths are bytes. */
import { ConnectionLostError, CorruptInputError, IoError, RefusedError, UsageError } from '../errors.ts';

export type ImageOperation = 'open' | 'read' | 'write' | 'reserve' | 'zero' | 'discard' | 'flush' | 'lock' | 'examine';

/** A system call on an image failed, or moved fewer bytes than it should. */
export class ImageIoError extends IoError {
  constructor(
    image: string,
    operation: ImageOperation,
    options: { offset?: number; length?: number; cause?: unknown; detail?: string; todo?: string },
  ) {
    const { offset, length, cause } = options;
    const { code, path } = (cause ?? {}) as NodeJS.ErrnoException;
    const missing = (code === 'ENOENT' || code === 'ENOTDIR') && path === image;
    const reason = options.detail ?? (cause instanceof Error ? cause.message : String(cause));
    const place = offset === undefined ? '' : ` of ${length} bytes at byte ${offset}`;
    const absent = image === '' ? 'the path of a disk image is empty' : `${image} does not exist`;
    super(missing ? absent : `${operation}${place} failed on ${image}: ${reason}`, {
      code: 'IMAGE_IO',
      todo: options.todo ?? (missing ? missingTodo(image) : hints[operation]),
      data: { image, operation, offset, length },
      ...(missing ? {} : { cause }),
    });
  }
}

/** What the medium says of a sector; everything else (no such device, lost connection, beyond the end) is the source's end. */
const mediumErrors: ReadonlySet<string> = new Set(['EIO', 'EILSEQ', 'ENODATA', 'EREMOTEIO', 'EBADMSG', 'ETIMEDOUT']);

/** Whether a part of an image could not be read, rather than the whole image being gone. */
export function isMediumError(error: unknown): error is ImageIoError {
  if (!(error instanceof ImageIoError) || error.data.operation !== 'read') return false;
  return mediumErrors.has((error.cause as NodeJS.ErrnoException | undefined)?.code ?? '');
}

const hints: Record<ImageOperation, string> = {
  open: 'Check that the path exists and that you may open it; block devices need root.',
  read: 'Check the medium and its cable: the kernel log (dmesg) names the failing sector.',
  write: 'Check the medium and the free space of the file system that holds the file, then run the same command again.',
  reserve: 'Make space on the file system that holds the file, then run the same command again.',
  zero: 'Check the medium and the free space of the file system that holds the file, then run the same command again.',
  discard: 'Check the medium, or leave --unused at "skip".',
  flush: 'What was written may not have reached the medium. Check it (dmesg), then run the same command again.',
  lock: 'The file system that holds it has no locks (flock). Copy the image to one that has.',
  examine: 'Check the path and your permissions.',
};

function missingTodo(image: string): string {
  if (image === '') return 'Was a variable empty? Name a raw disk image, or a block device such as /dev/sdb.';
  if (/^(?:docker|https?|oci):/.test(image)) return 'An archive in a registry is named oci://HOST[:PORT]/REPOSITORY[:TAG].';
  return image.startsWith('/dev/')
    ? 'Is the disk attached? "lsblk" lists the block devices.'
    : 'Check the path. If it is to be a new target: "doppel clone" makes one with --size 8G, "truncate -s 8G FILE" an empty raw disk.';
}

/** A path as a shell takes it, for commands that are to be typed. */
export function shellWord(path: string): string {
  return /^[\w/.:@%+=,-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}

/** The server of an image, or the way there, is gone. */
export class NbdConnectionLostError extends ConnectionLostError {
  constructor(image: string, operation: ImageOperation, options: { offset: number; length: number; cause: Error }) {
    const { offset, length, cause } = options;
    super(`the connection to ${image} was lost in a ${operation} of ${length} bytes at byte ${offset}: ${cause.message}`, {
      code: 'NBD_CONNECTION_LOST',
      todo: 'Check the server and the network, then run the same command again.',
      data: { image, operation, offset, length },
      cause,
    });
  }
}

/** For `open(...).catch(openFailed(path))`. */
export function openFailed(path: string): (cause: unknown) => never {
  return (cause) => {
    throw new ImageIoError(path, 'open', { cause });
  };
}

/** A file that is an image in another format, or an archive, and would be copied as if it were a raw disk. */
export class ForeignFormatError extends RefusedError {
  constructor(image: string, format: string, todo: string) {
    super(`${image} is a ${format}, not a raw disk image`, { code: 'FOREIGN_FORMAT', todo, data: { image, format } });
  }
}

/** A disk in a format that we open, but with something about it that makes opening it wrong. */
export class UnusableImageError extends RefusedError {
  constructor(image: string, why: string, todo: string, data: Readonly<Record<string, unknown>> = {}) {
    super(`${image} cannot be used: ${why}`, { code: 'IMAGE_UNUSABLE', todo, data: { image, why, ...data } });
  }
}

/** The part of a disk that was named is not there, or there are several. */
export class NoSuchPartError extends UsageError {
  constructor(image: string, part: string, why: string, there: readonly string[]) {
    super(`${image}: ${why}`, {
      code: 'NO_SUCH_PART',
      todo: there.length === 0 ? 'Name the whole disk, without "#".' : `On it are: ${there.join('; ')}`,
      data: { image, part, there },
    });
  }
}

/** An image that was to be created is there already. */
export class ImageExistsError extends RefusedError {
  constructor(image: string, todo = 'Name another file; or, if what is in it may be lost, leave --size away.') {
    super(`${image} exists already`, {
      code: 'IMAGE_EXISTS',
      todo,
      data: { image },
    });
  }
}

/** Neither a regular file nor a block device. */
export class NotAnImageError extends RefusedError {
  constructor(image: string, what: string) {
    super(`${image} is ${what}, not a disk image`, {
      code: 'NOT_AN_IMAGE',
      todo: 'Name a regular file that holds a raw disk image, or a block device such as /dev/sdb.',
      data: { image, what },
    });
  }
}

/** A device that can be opened for writing, but not written. */
export class ReadOnlyImageError extends RefusedError {
  constructor(image: string) {
    super(`${image} is read-only`, {
      code: 'READ_ONLY',
      todo: `Look for a write-protect switch and at what it is attached to; if nothing speaks against it: blockdev --setrw ${shellWord(image)}`,
      data: { image },
    });
  }
}

/** No disk has such a size. */
export class TruncatedImageError extends CorruptInputError {
  constructor(image: string, size: number) {
    const what = size === 0 ? 'is empty' : `has ${size} bytes, which is no multiple of a sector (512 bytes)`;
    super(`${image} ${what}: it is no whole disk image`, {
      code: 'TRUNCATED_IMAGE',
      todo:
        size === 0
          ? `A source must hold a disk: check that it is the right file. A new target needs a size first, as: truncate -s 8G ${shellWord(image)}`
          : 'Was it cut off when it was copied? Copy it again and compare checksums.',
      data: { image, size },
    });
  }
}

/** Somebody else uses the image. */
export class ImageInUseError extends RefusedError {
  constructor(image: string, role: 'source' | 'target', users: readonly string[], todo: string) {
    super(`the ${role} ${image} is in use: ${users.join('; ')}`, {
      code: role === 'source' ? 'SOURCE_IN_USE' : 'TARGET_IN_USE',
      todo,
      data: { image, users },
    });
  }
}
