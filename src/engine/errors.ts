/**
 * The errors of the engine. Every error is a class with data; its message says what happened and where,
 * `todo` says what the reader can do about it. A category decides the exit code, `code` names the error for scripts.
 */

/** Exit codes of the command line; see "For scripts" in the README. */
export const ExitCode = {
  done: 0,
  bug: 1,
  usage: 2,
  changesPending: 3,
  refused: 4,
  profileInvalid: 5,
  corruptInput: 6,
  io: 7,
  differs: 8,
  connectionLost: 9,
  regionChanged: 10,
} as const;
export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

export interface ErrorOptions {
  /** Stable upper-case name for scripts, as TARGET_IN_USE. */
  readonly code: string;
  /** What to do about it: one or two sentences, or a command to type. */
  readonly todo: string;
  /** Plain data for `--json`: paths, offsets in bytes, names. */
  readonly data?: Readonly<Record<string, unknown>>;
  readonly cause?: unknown;
}

/** Base of everything that the engine throws on purpose. What is not a DoppelError is a bug (exit 1). */
export abstract class DoppelError extends Error {
  abstract readonly exitCode: ExitCode;
  readonly code: string;
  readonly todo: string;
  readonly data: Readonly<Record<string, unknown>>;

  constructor(message: string, options: ErrorOptions) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.code = options.code;
    this.todo = options.todo;
    this.data = options.data ?? {};
  }
}

/** The command line cannot be understood. */
export class UsageError extends DoppelError {
  readonly exitCode = ExitCode.usage;
}
/** Nothing is wrong with the input, but going on could lose something. Nothing was written. */
export class RefusedError extends DoppelError {
  readonly exitCode = ExitCode.refused;
}
/** A profile, or the bundle made from it, cannot be used. */
export class ProfileError extends DoppelError {
  readonly exitCode = ExitCode.profileInvalid;
}
/** An on-disk structure or file is damaged, truncated or makes no sense. */
export class CorruptInputError extends DoppelError {
  readonly exitCode = ExitCode.corruptInput;
}
/** A read, write or system call failed. */
export class IoError extends DoppelError {
  readonly exitCode = ExitCode.io;
}
/** Source and target differ. */
export class DiffersError extends DoppelError {
  readonly exitCode = ExitCode.differs;
}
/** The connection to another computer broke. The same command goes on where it stopped. */
export class ConnectionLostError extends DoppelError {
  readonly exitCode = ExitCode.connectionLost;
}
/** A byte of the protected region changed: the worst error there is; it outranks all others. */
export class RegionChangedError extends DoppelError {
  readonly exitCode = ExitCode.regionChanged;
}

/** A program or library that is needed is not installed. `debian` and `rpm` are the packages that have it. */
export class MissingToolError extends RefusedError {
  constructor(tool: string, debian: string, rpm: string, cause?: unknown) {
    super(`${/\.so\b/.test(tool) ? 'the library' : 'the program'} ${tool} is not installed`, {
      code: 'TOOL_MISSING',
      todo: `Install it: apt-get install ${debian} (Debian, Ubuntu) or dnf install ${rpm} (Fedora, RHEL).`,
      data: { tool, debian, rpm },
      cause,
    });
  }
}
