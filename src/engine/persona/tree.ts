/**
 * The target's files as the persona operations see them. Paths are absolute inside the target ("/etc/hostname") and every
 * component is resolved inside the target's root: no symbolic link, absolute or with "..", leads out of it.
 * The last component of a path is followed too by `read`, `list` and `realpath`; `lstat`, `readlink` and `put` take it as it is:
 * `put` replaces a link, it never writes through one. Who wants to write through a link asks `realpath` first (the overlay does).
 */

export interface FileStat {
  readonly type: 'file' | 'directory' | 'symlink' | 'other';
  /** Permission bits, 0 to 0o7777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes. */
  readonly size: number;
  /** The file system keeps neither owners nor permission bits (FAT): who compares ignores mode, uid and gid. */
  readonly ownerless?: true;
}

/** Read side; missing files answer undefined, everything else that fails throws. */
export interface ReadableTree {
  lstat(path: string): Promise<FileStat | undefined>;
  /** Contents, following symbolic links inside the root. Refuses files over 16 MiB and what is no regular file; never opens a fifo. */
  read(path: string): Promise<Uint8Array | undefined>;
  readlink(path: string): Promise<string | undefined>;
  /** Names in a directory, sorted, without "." and "..". */
  list(path: string): Promise<readonly string[] | undefined>;
  /** The path after resolving every symbolic link inside the root; components that do not exist stay as they are. */
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
  /**
   * Replaces atomically: temporary file beside it, owner, mode and xattrs, fsync, rename, fsync of the directory. The parent
   * directory must exist. A directory that exists gets mode and owner; `absent` removes a file, a link or an empty directory.
   */
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
