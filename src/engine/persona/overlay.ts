/** A tree as it will be: reads see the pending writes, nothing reaches the tree below. The net difference becomes the plan. */
import { UnusableFileError } from './errors.ts';
import type { Change, FileStat, FileState, ReadableTree } from './tree.ts';
import { baseName, parentOf, resolveInside } from './trees/resolve.ts';

export interface WriteOptions {
  /** Permission bits; undefined keeps those of the file that is replaced, else 0o644. */
  readonly mode?: number;
  /** Owner; undefined keeps the replaced file's when `mode` is undefined too, else root. */
  readonly uid?: number;
  readonly gid?: number;
  readonly secret?: boolean;
  /** Replace a symbolic link instead of writing to what it points to. */
  readonly replaceLink?: boolean;
}

interface Pending {
  state: FileState;
  operation: string;
  secret: boolean;
}

/** Where configuration of the source that the target must not use is kept. */
export const archiveRoot = '/var/lib/doppel/archive';

export class OverlayTree implements ReadableTree {
  readonly #base: ReadableTree;
  /** By canonical path, in the order of first touch. */
  readonly #pending = new Map<string, Pending>();
  /** Name of the operation whose writes are recorded. */
  operation = '';

  constructor(base: ReadableTree) {
    this.#base = base;
  }

  #readLink = async (canonical: string): Promise<string | undefined> => {
    const pending = this.#pending.get(canonical);
    if (pending) return pending.state.type === 'symlink' ? pending.state.target : undefined;
    return this.#base.readlink(canonical);
  };

  realpath(path: string): Promise<string> {
    return resolveInside(path, this.#readLink, true);
  }

  #entry(path: string): Promise<string> {
    return resolveInside(path, this.#readLink, false);
  }

  async lstat(path: string): Promise<FileStat | undefined> {
    const canonical = await this.#entry(path);
    const state = this.#pending.get(canonical)?.state;
    if (!state) return this.#base.lstat(canonical);
    if (state.type === 'absent') return undefined;
    if (state.type === 'symlink') return { type: 'symlink', mode: 0o777, uid: 0, gid: 0, size: state.target.length };
    const size = state.type === 'file' ? state.content.length : 0;
    return { type: state.type, mode: state.mode, uid: state.uid, gid: state.gid, size };
  }

  /** Like lstat, of what the path leads to. */
  async stat(path: string): Promise<FileStat | undefined> {
    return this.lstat(await this.realpath(path));
  }

  async readlink(path: string): Promise<string | undefined> {
    return this.#readLink(await this.#entry(path));
  }

  async read(path: string): Promise<Uint8Array | undefined> {
    const canonical = await this.realpath(path);
    const state = this.#pending.get(canonical)?.state;
    if (!state) return this.#base.read(canonical);
    if (state.type === 'directory') throw new UnusableFileError(canonical, 'is not a regular file');
    return state.type === 'file' ? state.content : undefined;
  }

  /** Text of a file. `latin1` keeps every byte through an edit and back; see `bytes`. */
  async readText(path: string, encoding: 'utf8' | 'latin1' = 'utf8'): Promise<string | undefined> {
    const content = await this.read(path);
    return content && Buffer.from(content.buffer, content.byteOffset, content.byteLength).toString(encoding);
  }

  async list(path: string): Promise<readonly string[] | undefined> {
    const canonical = await this.realpath(path);
    const names = new Set(await this.#base.list(canonical));
    const own = this.#pending.get(canonical)?.state;
    if (own?.type === 'absent') return undefined;
    const exists = own?.type === 'directory' || (await this.#base.lstat(canonical))?.type === 'directory';
    for (const [pendingPath, { state }] of this.#pending) {
      if (parentOf(pendingPath) !== canonical || pendingPath === '/') continue;
      if (state.type === 'absent') names.delete(baseName(pendingPath));
      else names.add(baseName(pendingPath));
    }
    return exists ? [...names].sort() : undefined;
  }

  async write(path: string, content: string | Uint8Array, options: WriteOptions = {}): Promise<void> {
    const canonical = options.replaceLink ? await this.#entry(path) : await this.realpath(path);
    const old = await this.lstat(canonical);
    if (old && old.type !== 'file' && !(options.replaceLink && old.type === 'symlink')) {
      throw new UnusableFileError(canonical, old.type === 'directory' ? 'is a directory' : 'is not a regular file');
    }
    const kept = options.mode === undefined && old?.type === 'file' ? old : { mode: 0o644, uid: 0, gid: 0 };
    await this.#ensureParents(canonical);
    const bytes = typeof content === 'string' ? new Uint8Array(Buffer.from(content, 'utf8')) : content;
    const mode = options.mode ?? kept.mode;
    const state: FileState = { type: 'file', content: bytes, mode, uid: options.uid ?? kept.uid, gid: options.gid ?? kept.gid };
    this.#record(canonical, state, options.secret ?? false);
  }

  /** Makes `path` a symbolic link, in place of a file or another link. */
  async symlink(path: string, target: string): Promise<void> {
    const canonical = await this.#entry(path);
    const old = await this.lstat(canonical);
    if (old?.type === 'directory' || old?.type === 'other') throw new UnusableFileError(canonical, 'is not a regular file');
    await this.#ensureParents(canonical);
    this.#record(canonical, { type: 'symlink', target }, false);
  }

  /** Removes a file or link; what is missing stays missing. */
  async remove(path: string, secret = false): Promise<void> {
    const canonical = await this.#entry(path);
    const old = await this.lstat(canonical);
    if (!old) return;
    if (old.type !== 'file' && old.type !== 'symlink') throw new UnusableFileError(canonical, 'is not a regular file');
    this.#record(canonical, { type: 'absent' }, secret);
  }

  /** Moves a file or link to the archive, with owner and mode; one that is there already is never overwritten. */
  async archive(path: string): Promise<void> {
    const canonical = await this.#entry(path);
    const old = await this.lstat(canonical);
    if (!old) return;
    if (old.type !== 'file' && old.type !== 'symlink') throw new UnusableFileError(canonical, 'is not a regular file');
    const state = await stateOf(this, canonical, old);
    let place = archiveRoot + canonical;
    // The same content there is what a run that was interrupted has archived already.
    for (let number = 1; ; number += 1) {
      const there = await stateOf(this, place);
      if (there.type === 'absent' || sameState(there, state)) break;
      place = `${archiveRoot}${canonical}.${number}`;
    }
    await this.#ensureParents(place, 0o700);
    const secret = state.type === 'file' && (state.mode & 0o004) === 0;
    this.#record(place, state, secret);
    this.#record(canonical, { type: 'absent' }, secret);
  }

  async #ensureParents(canonical: string, mode = 0o755): Promise<void> {
    const missing: string[] = [];
    for (let directory = parentOf(canonical); directory !== '/'; directory = parentOf(directory)) {
      const stat = await this.lstat(directory);
      if (stat?.type === 'directory') break;
      if (stat) throw new UnusableFileError(directory, 'is not a directory');
      missing.unshift(directory);
    }
    for (const directory of missing) this.#record(directory, { type: 'directory', mode, uid: 0, gid: 0 }, false);
  }

  #record(canonical: string, state: FileState, secret: boolean): void {
    const pending = this.#pending.get(canonical);
    if (pending) {
      pending.state = state;
      pending.operation = this.operation;
      pending.secret ||= secret;
    } else this.#pending.set(canonical, { state, operation: this.operation, secret });
  }

  /** The net difference against the tree below, in the order of first touch. */
  async changes(): Promise<Change[]> {
    const changes: Change[] = [];
    for (const [path, { state, operation, secret }] of this.#pending) {
      const stat = await this.#base.lstat(path);
      const before = await stateOf(this.#base, path, stat);
      if (!sameState(before, state, stat?.ownerless)) changes.push({ path, before, after: state, operation, secret });
    }
    return changes;
  }
}

/** What is at `path`, the last component not followed. @throws UnusableFileError for a device, a socket or a fifo. */
export async function stateOf(tree: ReadableTree, path: string, known?: FileStat): Promise<FileState> {
  const stat = known ?? (await tree.lstat(path));
  if (!stat) return { type: 'absent' };
  const { mode, uid, gid } = stat;
  if (stat.type === 'directory') return { type: 'directory', mode, uid, gid };
  if (stat.type === 'symlink') return { type: 'symlink', target: (await tree.readlink(path)) ?? '' };
  if (stat.type === 'other') throw new UnusableFileError(path, 'is a device, a socket or a fifo');
  return { type: 'file', content: (await tree.read(path)) ?? new Uint8Array(), mode, uid, gid };
}

/** @param ownerless the file system keeps neither owners nor modes, so that they do not count. */
export function sameState(a: FileState, b: FileState, ownerless = false): boolean {
  if (a.type === 'symlink' && b.type === 'symlink') return a.target === b.target;
  if (a.type === 'file' && b.type === 'file') {
    return Buffer.compare(a.content, b.content) === 0 && (ownerless || sameOwner(a, b));
  }
  if (a.type === 'directory' && b.type === 'directory') return ownerless || sameOwner(a, b);
  return a.type === b.type;
}

function sameOwner(a: { mode: number; uid: number; gid: number }, b: { mode: number; uid: number; gid: number }): boolean {
  return a.mode === b.mode && a.uid === b.uid && a.gid === b.gid;
}

/** Bytes of text that was read as latin1. */
export function bytes(latin1: string): Uint8Array {
  return new Uint8Array(Buffer.from(latin1, 'latin1'));
}
