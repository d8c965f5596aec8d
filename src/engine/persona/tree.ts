/**
 * The target's files as the persona operations see them. Paths are absolute inside the target ("/etc/hostname") and every
 * component is resolved inside the target's root: no symbolic link, absolute or with "..", leads out of it.
 * The last component of a path is followed too, except by `lstat`, `readlink` and `remove`.
 */

export interface FileStat {
  readonly type: 'file' | 'directory' | 'symlink' | 'other';
  /** Permission bits, 0 to 0o7777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes. */
  readonly size: number;
}

/** Read side; missing files answer undefined, everything else that fails throws. */
export interface ReadableTree {
  lstat(path: string): Promise<FileStat | undefined>;
  /** Contents, following symbolic links inside the root. Refuses files over 16 MiB. */
  read(path: string): Promise<Uint8Array | undefined>;
  readlink(path: string): Promise<string | undefined>;
  /** Names in a directory, sorted, without "." and "..". */
  list(path: string): Promise<readonly string[] | undefined>;
  /** The path after resolving every symbolic link inside the root; the last component need not exist. */
  realpath(path: string): Promise<string>;
}

/** What a file shall be. `content` undefined in `removed`. */
export type FileState =
  | { readonly type: 'file'; readonly content: Uint8Array; readonly mode: number; readonly uid: number; readonly gid: number }
  | { readonly type: 'symlink'; readonly target: string }
  | { readonly type: 'directory'; readonly mode: number; readonly uid: number; readonly gid: number }
  | { readonly type: 'absent' };

/** Write side: what `apply` needs. */
export interface WritableTree extends ReadableTree {
  /** Replaces atomically: temporary file beside it, owner, mode and xattrs, fsync, rename, fsync of the directory. */
  put(path: string, state: FileState): Promise<void>;
}

/** One file that differs from what the persona wants. */
export interface Change {
  readonly path: string;
  readonly before: FileState;
  readonly after: FileState;
  /** Name of the operation. */
  readonly operation: string;
  /** Contents must not be shown: only a short hash. */
  readonly secret: boolean;
}
