/** Errors of the persona layer. */
import { IoError, ProfileError, RefusedError } from '../errors.ts';
import type { SystemCallError } from '../native/libc.ts';
import { formatProblem, type Problem } from './problems.ts';

/** Something in the target is not what a configuration file may be: a fifo, a device, a directory, a link loop, too large. */
export class UnusableFileError extends RefusedError {
  constructor(path: string, what: string) {
    super(`${path} in the target ${what}`, {
      code: 'TARGET_FILE_UNUSABLE',
      todo: 'Look at it in the source; repair or remove it there, then run again.',
      data: { path, what },
    });
  }
}

/** The tree does not hold an operating system that doppel can personalize. */
export class NotASystemError extends RefusedError {
  constructor(what: string) {
    super(`this is no Linux system that can be personalized: ${what}`, {
      code: 'TARGET_NOT_A_SYSTEM',
      todo: 'Check that the root partition was found; name it with --kind, or clone with --as none.',
      data: { what },
    });
  }
}

/** A file system that cannot be mounted for writing the persona. */
export class UnsupportedFileSystemError extends RefusedError {
  constructor(type: string, device: string, reason: string) {
    super(`cannot mount ${device} (${type}): ${reason}`, {
      code: 'FILE_SYSTEM_UNSUPPORTED',
      todo: 'Clone with --as none and personalize the target by other means, or use ext4 or XFS for its root.',
      data: { type, device, reason },
    });
  }
}

/** A write was asked of a tree that was opened for reading. */
export class ReadOnlyTreeError extends RefusedError {
  constructor(path: string) {
    super(`${path}: the target was opened for reading only`, {
      code: 'TREE_READ_ONLY',
      todo: 'This is a bug in doppel: please report it.',
      data: { path },
    });
  }
}

/** A file operation inside the target failed. */
export class TargetFileError extends IoError {
  constructor(action: string, path: string, cause: unknown) {
    const reason = (cause instanceof Error ? cause.message : String(cause))
      // Where this process sees the file system says nothing to anybody else.
      .replaceAll(/\/proc\/self\/fd\/\d+/g, '')
      // What the kernel says of damaged structures, and libuv has no name for.
      .replace('Unknown system error -74', 'EBADMSG (the file system is damaged)')
      .replace('Unknown system error -117', 'EUCLEAN (the file system is damaged)');
    super(`${action} ${path} in the target failed: ${reason}`, {
      code: 'TARGET_FILE_IO',
      todo: 'Check the target device and its free space (dmesg, df), then run again: what is done is skipped.',
      data: { action, path },
      cause,
    });
  }
}

/** The kernel does not mount a file system. */
export class MountFailedError extends IoError {
  constructor(device: string, type: string, reason: string, cause?: SystemCallError) {
    super(`cannot mount ${device} (${type}): ${reason}`, {
      code: 'MOUNT_FAILED',
      todo:
        cause?.errnoName === 'ENOSYS'
          ? 'The kernel must be Linux 5.8 or newer.'
          : 'Check the file system with its fsck, and whether the kernel here knows it (modprobe); dmesg may say more.',
      data: { device, type, reason },
      cause,
    });
  }
}

/** A tool (mtools, ...) failed. */
export class ToolFailedError extends IoError {
  constructor(tool: string, args: readonly string[], status: string, stderr: string, cause?: unknown) {
    super(`${[tool, ...args].join(' ')} failed (${status}): ${stderr.trim() || 'no message'}`, {
      code: 'TOOL_FAILED',
      todo: 'Read the message of the program; dmesg may say more.',
      data: { tool, args, status, stderr },
      cause,
    });
  }
}

/** A file is neither what the plan saw nor what the plan wants. */
export class DriftError extends RefusedError {
  constructor(path: string) {
    super(`${path} in the target changed since the plan was made`, {
      code: 'TARGET_DRIFTED',
      todo: 'Something else writes to the target. Stop it, then run again.',
      data: { path },
    });
  }
}

/** The plan has problems, so that nothing may be applied. */
export class PersonaProblemsError extends ProfileError {
  constructor(problems: readonly Problem[]) {
    super(['the profile does not fit the target:', ...problems.map((problem) => `  ${formatProblem(problem)}`)].join('\n'), {
      code: 'PERSONA_PROBLEMS',
      todo: 'Change the profile (doppel profile write), or install in the source what it asks for.',
      data: { problems },
    });
  }
}

/** After everything was written, planning again still found something to change. */
export class PersonaNotSettledError extends IoError {
  constructor(paths: readonly string[]) {
    super(`the target is not what its profile says after writing: ${paths.join(', ')}`, {
      code: 'PERSONA_NOT_SETTLED',
      todo: 'Two settings of the profile write the same file, or the target loses writes. Run doppel personalize --dry-run to see what is left.',
      data: { paths },
    });
  }
}
