/** A target's files under a real directory, every path component resolved inside it by our own walk. */
import { constants } from 'node:fs';
import {
  chmod,
  type FileHandle,
  lchown,
  lstat,
  mkdir,
  open,
  readdir,
  readlink,
  rename,
  rmdir,
  symlink,
  unlink,
} from 'node:fs/promises';
import { getXattr, listXattrs, setXattr } from '../../native/xattr.ts';
import { TargetFileError, UnusableFileError } from '../errors.ts';
import type { FileStat, FileState, WritableTree } from '../tree.ts';
import { despiteFlags } from './immutable.ts';
import { baseName, parentOf, resolveInside } from './resolve.ts';

/** Configuration files are small; more is a mistake or an attack. Bytes. */
const maxFileSize = 16 * 1024 * 1024;

/** Attributes that vouch for the old content, so that the new content must not inherit them. */
const contentBound = new Set(['security.capability', 'security.ima', 'security.evm']);

function isMissing(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return code === 'ENOENT' || code === 'ENOTDIR';
}

/** Runs one file operation; what is missing answers undefined, any other failure is a TargetFileError. */
async function orMissing<T>(action: string, path: string, run: () => Promise<T>): Promise<T | undefined> {
  try {
    return await run();
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw new TargetFileError(action, path, error);
  }
}

async function attempt<T>(action: string, path: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    throw error instanceof UnusableFileError ? error : new TargetFileError(action, path, error);
  }
}

async function withFile<T>(
  file: string,
  flags: number,
  mode: number | undefined,
  use: (handle: FileHandle) => Promise<T>,
): Promise<T> {
  const handle = await open(file, flags, mode);
  try {
    return await use(handle);
  } finally {
    await handle.close();
  }
}

async function syncDirectory(directory: string): Promise<void> {
  await withFile(directory, constants.O_RDONLY | constants.O_DIRECTORY, undefined, (handle) => handle.sync());
}

/** Security label, ACL and user attributes of the file that is replaced; a new file gets its directory's SELinux label, as the kernel would give it. */
function copyAttributes(from: string | undefined, directory: string, to: string): void {
  if (from !== undefined) {
    for (const name of listXattrs(from)) {
      const value = contentBound.has(name) ? undefined : getXattr(from, name);
      if (value) setXattr(to, name, value);
    }
    return;
  }
  const label = getXattr(directory, 'security.selinux');
  if (label) setXattr(to, 'security.selinux', label);
}

export class DirectoryTree implements WritableTree {
  readonly #root: string;
  /** Of a tree that nobody can change: where links lead, as all paths share their first components. */
  readonly #links: Map<string, Promise<string | undefined>> | undefined;

  /**
   * @param root absolute path of the directory that is the target's "/". Nobody else may change it meanwhile.
   * @param readOnly nobody can: it is mounted so
   */
  constructor(root: string, { readOnly = false } = {}) {
    this.#root = root.replace(/\/+$/, '');
    this.#links = readOnly ? new Map() : undefined;
  }

  #host(canonical: string): string {
    return this.#root + canonical;
  }

  #readLink = (canonical: string): Promise<string | undefined> => {
    const known = this.#links?.get(canonical);
    if (known !== undefined) return known;
    const found = orMissing('reading', canonical, async () => {
      const host = this.#host(canonical);
      return (await lstat(host)).isSymbolicLink() ? await readlink(host) : undefined;
    });
    this.#links?.set(canonical, found);
    return found;
  };

  realpath(path: string): Promise<string> {
    return resolveInside(path, this.#readLink, true);
  }

  #entry(path: string): Promise<string> {
    return resolveInside(path, this.#readLink, false);
  }

  async #stat(canonical: string): Promise<FileStat | undefined> {
    const stat = await orMissing('reading', canonical, () => lstat(this.#host(canonical)));
    if (!stat) return undefined;
    const type = stat.isFile() ? 'file' : stat.isDirectory() ? 'directory' : stat.isSymbolicLink() ? 'symlink' : 'other';
    return { type, mode: stat.mode & 0o7777, uid: stat.uid, gid: stat.gid, size: stat.size };
  }

  async lstat(path: string): Promise<FileStat | undefined> {
    return this.#stat(await this.#entry(path));
  }

  async readlink(path: string): Promise<string | undefined> {
    return this.#readLink(await this.#entry(path));
  }

  async list(path: string): Promise<readonly string[] | undefined> {
    const canonical = await this.realpath(path);
    if ((await this.#stat(canonical))?.type !== 'directory') return undefined;
    return (await orMissing('listing', canonical, () => readdir(this.#host(canonical))))?.sort();
  }

  async read(path: string): Promise<Uint8Array | undefined> {
    const canonical = await this.realpath(path);
    const stat = await this.#stat(canonical);
    if (!stat) return undefined;
    if (stat.type !== 'file') throw new UnusableFileError(canonical, 'is not a regular file');
    if (stat.size > maxFileSize)
      throw new UnusableFileError(canonical, `is too large to be a configuration file (${stat.size} bytes)`);
    return attempt('reading', canonical, () =>
      withFile(
        this.#host(canonical),
        constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK,
        undefined,
        async (handle) => {
          if (!(await handle.stat()).isFile()) throw new UnusableFileError(canonical, 'is not a regular file');
          return new Uint8Array(await handle.readFile());
        },
      ),
    );
  }

  async put(path: string, state: FileState): Promise<void> {
    const canonical = await this.#entry(path);
    if (canonical === '/') throw new UnusableFileError(path, 'is the root directory');
    const old = await this.#stat(canonical);
    if (old?.type === 'other') throw new UnusableFileError(canonical, 'is a device, a socket or a fifo');
    if (old?.type === 'directory' && (state.type === 'file' || state.type === 'symlink')) {
      throw new UnusableFileError(canonical, `is a directory, where a ${state.type} belongs`);
    }
    const [file, parent] = [this.#host(canonical), this.#host(parentOf(canonical))];
    await attempt('writing', canonical, () => despiteFlags(file, parent, () => this.#replace(canonical, old, state)));
  }

  async #replace(canonical: string, old: FileStat | undefined, state: FileState): Promise<void> {
    const host = this.#host(canonical);
    const parent = this.#host(parentOf(canonical));
    // A fixed name: what a crash left behind is removed when the same file is written again.
    const temporary = `${parent}/.${baseName(canonical)}.doppel-new`;
    if (state.type === 'absent') {
      if (!old) return;
      await (old.type === 'directory' ? rmdir(host) : unlink(host));
    } else if (state.type === 'directory') {
      if (old && old.type !== 'directory') throw new UnusableFileError(canonical, `is a ${old.type}, where a directory belongs`);
      if (!old) {
        await mkdir(host, 0o700);
        copyAttributes(undefined, parent, host);
      }
      await lchown(host, state.uid, state.gid);
      await chmod(host, state.mode);
      await syncDirectory(host);
    } else {
      await orMissing('removing', temporary, () => unlink(temporary));
      try {
        if (state.type === 'symlink') {
          await symlink(state.target, temporary);
          copyAttributes(undefined, parent, temporary);
        } else await this.#writeFile(temporary, old?.type === 'file' ? host : undefined, parent, state);
        await rename(temporary, host);
      } catch (error) {
        await orMissing('removing', temporary, () => unlink(temporary));
        throw error;
      }
    }
    await syncDirectory(parent);
  }

  async #writeFile(
    temporary: string,
    old: string | undefined,
    parent: string,
    state: FileState & { type: 'file' },
  ): Promise<void> {
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    await withFile(temporary, flags, 0o600, async (handle) => {
      await handle.writeFile(state.content);
      await handle.chown(state.uid, state.gid);
      copyAttributes(old, parent, temporary);
      // After the attributes: an ACL sets the group bits, and the mode that was asked for wins.
      await handle.chmod(state.mode);
      await handle.sync();
    });
  }
}
