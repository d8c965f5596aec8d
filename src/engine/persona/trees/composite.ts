/** Several trees as one: a main tree, and others below their mount points in it. */
import type { FileStat, FileState, WritableTree } from '../tree.ts';
import { pathNames, resolveInside } from './resolve.ts';

export interface TreeMount {
  /** Path in the main tree, as fstab says it. */
  readonly mountPoint: string;
  readonly tree: WritableTree;
}

export class CompositeTree implements WritableTree {
  readonly #main: WritableTree;
  readonly #mounts: readonly TreeMount[];

  /** Mount points are canonical paths: resolve them with `main.realpath` first. */
  constructor(main: WritableTree, mounts: readonly TreeMount[]) {
    this.#main = main;
    this.#mounts = [...mounts].sort((a, b) => b.mountPoint.length - a.mountPoint.length);
  }

  #owner(canonical: string): { tree: WritableTree; path: string } {
    for (const { mountPoint, tree } of this.#mounts) {
      if (canonical === mountPoint) return { tree, path: '/' };
      if (canonical.startsWith(`${mountPoint}/`)) return { tree, path: canonical.slice(mountPoint.length) };
    }
    return { tree: this.#main, path: canonical };
  }

  #readLink = (canonical: string): Promise<string | undefined> => {
    const { tree, path } = this.#owner(canonical);
    return tree.readlink(path);
  };

  realpath(path: string): Promise<string> {
    return resolveInside(path, this.#readLink, true);
  }

  async #at(path: string, followLast: boolean): Promise<{ tree: WritableTree; path: string }> {
    return this.#owner(await resolveInside(path, this.#readLink, followLast));
  }

  async lstat(path: string): Promise<FileStat | undefined> {
    const at = await this.#at(path, false);
    return at.tree.lstat(at.path);
  }

  async read(path: string): Promise<Uint8Array | undefined> {
    const at = await this.#at(path, true);
    return at.tree.read(at.path);
  }

  async readlink(path: string): Promise<string | undefined> {
    const at = await this.#at(path, false);
    return at.tree.readlink(at.path);
  }

  async list(path: string): Promise<readonly string[] | undefined> {
    const at = await this.#at(path, true);
    return at.tree.list(at.path);
  }

  async put(path: string, state: FileState): Promise<void> {
    const at = await this.#at(path, false);
    return at.tree.put(at.path, state);
  }
}

/** Depth of a path, for mounting parents before children. */
export function depth(path: string): number {
  return pathNames(path).length;
}
