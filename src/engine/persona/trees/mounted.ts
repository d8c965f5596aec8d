/** The file systems of a system as one tree, mounted where nobody else sees them. */
import { ReadOnlyTreeError, UnusableFileError } from '../errors.ts';
import type { FileState, WritableTree } from '../tree.ts';
import { CompositeTree, depth, type TreeMount } from './composite.ts';
import { DirectoryTree } from './directory.ts';
import { FatTree } from './fat.ts';
import { Mount, type MountRequest } from './mount.ts';

/** Default of `readOnly`: as the whole request. */
export type PartMount = Pick<MountRequest, 'device' | 'type'> & Partial<Pick<MountRequest, 'readOnly'>>;

export interface MountedSystemRequest {
  readonly root: PartMount;
  /** Other file systems of the same system, with their mount points from its fstab. */
  readonly mounts: readonly (PartMount & { readonly mountPoint: string })[];
  /** The ESP is reached through mtools, on a device or an image of it. */
  readonly esp?: { readonly mountPoint: string; readonly readOnly?: boolean } & (
    | { readonly device: string }
    | { readonly imagePath: string }
  );
  readonly readOnly: boolean;
}

export interface MountedTree extends WritableTree {
  /** Flushes and unmounts. Idempotent. @throws TargetFileError when something could not be written back */
  close(): Promise<void>;
}

/**
 * Mounts a system. Must run as root.
 * @throws UnsupportedFileSystemError; MountFailedError; UnusableFileError for a mount point that is none
 */
export async function openMountedSystem(request: MountedSystemRequest): Promise<MountedTree> {
  const mounts: Mount[] = [];
  try {
    return new MountedSystem(await treeOf(request, mounts), mounts, request.readOnly);
  } catch (error) {
    await Promise.allSettled(mounts.map((mount) => mount.close()));
    throw error;
  }
}

/** What is mounted is added to `mounts`, also when something fails then. */
async function treeOf(request: MountedSystemRequest, mounts: Mount[]): Promise<WritableTree> {
  const mounted = async ({ device, type, readOnly = request.readOnly }: PartMount): Promise<WritableTree> => {
    const mount = await Mount.open({ device, type, readOnly });
    mounts.push(mount);
    return new DirectoryTree(mount.path, { readOnly });
  };
  const root = await mounted(request.root);
  const below: TreeMount[] = [];
  let tree = root;
  const add = async (mountPoint: string, open: () => Promise<WritableTree>): Promise<void> => {
    // Resolved inside the tree: a link to "/" or to the host leads to the tree's own "/" at most, and that is refused.
    const place = await directoryAt(tree, mountPoint);
    below.push({ mountPoint: place, tree: await open() });
    tree = new CompositeTree(root, below);
  };
  let waiting = [...request.mounts].sort((a, b) => depth(a.mountPoint) - depth(b.mountPoint));
  for (let before = -1; waiting.length !== before; ) {
    before = waiting.length;
    const next: typeof waiting = [];
    for (const part of waiting) {
      // A link may lead to where another one of them is mounted.
      if (await isDirectory(tree, part.mountPoint)) await add(part.mountPoint, () => mounted(part));
      else next.push(part);
    }
    waiting = next;
  }
  for (const { mountPoint } of waiting) await directoryAt(tree, mountPoint);
  const { esp } = request;
  if (esp !== undefined) {
    const device = 'device' in esp ? esp.device : esp.imagePath;
    await add(esp.mountPoint, async () => new FatTree({ device, readOnly: esp.readOnly ?? request.readOnly }));
  }
  return tree;
}

async function isDirectory(tree: WritableTree, path: string): Promise<boolean> {
  return (await tree.lstat(await tree.realpath(path)))?.type === 'directory';
}

async function directoryAt(tree: WritableTree, mountPoint: string): Promise<string> {
  const place = await tree.realpath(mountPoint);
  if (place === '/') throw new UnusableFileError(mountPoint, 'leads to the root directory, where nothing can be mounted');
  if (!(await isDirectory(tree, place))) throw new UnusableFileError(mountPoint, 'is a mount point in fstab and no directory');
  return place;
}

class MountedSystem implements MountedTree {
  readonly #mounts: readonly Mount[];
  readonly #readOnly: boolean;
  /** None after the end: then the numbers of the descriptors may be those of other directories. */
  #open: WritableTree | undefined;

  constructor(tree: WritableTree, mounts: readonly Mount[], readOnly: boolean) {
    this.#open = tree;
    this.#mounts = mounts;
    this.#readOnly = readOnly;
  }

  get #tree(): WritableTree {
    if (this.#open === undefined) throw new Error('the file systems are unmounted already');
    return this.#open;
  }

  lstat(path: string) {
    return this.#tree.lstat(path);
  }
  read(path: string) {
    return this.#tree.read(path);
  }
  readlink(path: string) {
    return this.#tree.readlink(path);
  }
  list(path: string) {
    return this.#tree.list(path);
  }
  realpath(path: string) {
    return this.#tree.realpath(path);
  }

  async put(path: string, state: FileState): Promise<void> {
    if (this.#readOnly) throw new ReadOnlyTreeError(path);
    await this.#tree.put(path, state);
  }

  async close(): Promise<void> {
    this.#open = undefined;
    const ended = await Promise.allSettled(this.#mounts.toReversed().map((mount) => mount.close()));
    const failed = ended.find((each) => each.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  }
}
