/**
 * A target's file systems, mounted in a mount namespace of their own, so that the host never sees them and they go away with doppel,
 * however it ends.
 */
import { ReadOnlyTreeError, UnsupportedFileSystemError, UnusableFileError } from '../errors.ts';
import type { FileState, WritableTree } from '../tree.ts';
import { CompositeTree, depth } from './composite.ts';
import { DirectoryTree } from './directory.ts';
import { FatTree } from './fat.ts';
import { MountNamespace } from './namespace.ts';

export interface MountRequest {
  /** Block device that holds exactly the file system: a loop window, never a whole disk. */
  readonly device: string;
  /** As blkid names it. */
  readonly type: string;
  /** Nothing is written to this one, whatever the others are; default: as the whole request. */
  readonly readOnly?: boolean;
}

export interface MountedSystemRequest {
  readonly root: MountRequest;
  /** Other file systems of the same system, with their mount points from its fstab. */
  readonly mounts: readonly (MountRequest & { readonly mountPoint: string })[];
  /** The ESP is reached through mtools, on a device or an image of it. */
  readonly esp?: { readonly mountPoint: string; readonly readOnly?: boolean } & (
    | { readonly device: string }
    | { readonly imagePath: string }
  );
  readonly readOnly: boolean;
  /** To mount it in; one after the other may be mounted there. Default: one of its own. */
  readonly namespace?: MountNamespace;
}

export interface MountedTree extends WritableTree {
  /** Where this process sees the mounted root; links below it lead anywhere, so that who walks there follows none. */
  readonly rootPath: string;
  /** Flushes, unmounts, ends the child. Idempotent. @throws ToolFailedError when flushing or unmounting failed. */
  close(): Promise<void>;
}

const optionsByType: Readonly<Record<string, { readonly readOnly: string; readonly readWrite: string }>> = {
  ext2: { readOnly: 'ro', readWrite: 'rw' },
  // Without replaying the journal, which would write.
  ext3: { readOnly: 'ro,noload', readWrite: 'rw' },
  ext4: { readOnly: 'ro,noload', readWrite: 'rw' },
  // The source, with the same UUID, may be mounted on this host.
  xfs: { readOnly: 'ro,norecovery,nouuid', readWrite: 'rw,nouuid' },
};

/**
 * Mounts a system. Must run as root.
 * @throws UnsupportedFileSystemError before anything is started; MissingToolError; ToolFailedError when a mount fails.
 */
export async function openMountedSystem(request: MountedSystemRequest): Promise<MountedTree> {
  for (const { device, type } of [request.root, ...request.mounts]) {
    const reason =
      type === 'btrfs' ? 'btrfs cannot be mounted beside its copy yet' : 'only ext2, ext3, ext4 and XFS are supported';
    if (!Object.hasOwn(optionsByType, type)) throw new UnsupportedFileSystemError(type, device, reason);
  }
  const namespace = request.namespace ?? new MountNamespace();
  const end = async (): Promise<void> => {
    if (request.namespace === undefined) await namespace.close();
  };
  const mountPoints: string[] = [];
  try {
    const { tree, rootPath } = await mountAll(namespace, request, mountPoints);
    return new MountedSystem({ tree, rootPath, namespace, mountPoints, readOnly: request.readOnly, end });
  } catch (error) {
    if (mountPoints.length > 0) await namespace.run(['umount', '-n', '-c', ...mountPoints.toReversed()]);
    await end();
    throw error;
  }
}

/** What is mounted is added to `mountPoints`, also when something fails then. */
async function mountAll(
  namespace: MountNamespace,
  request: MountedSystemRequest,
  mountPoints: string[],
): Promise<{ readonly tree: WritableTree; readonly rootPath: string }> {
  const root = await namespace.place();
  await namespace.run(['mount', ...mountArguments(request.root, root, request.root.readOnly ?? request.readOnly)]);
  mountPoints.push(root);
  const rootPath = namespace.path(root);
  const main = new DirectoryTree(rootPath, { readOnly: request.readOnly });
  for (const mount of [...request.mounts].sort((a, b) => depth(a.mountPoint) - depth(b.mountPoint))) {
    // Resolved inside the root: a link to "/" or to the host leads to the root's own "/" at most, and that is refused.
    const place = await directoryAt(main, mount.mountPoint);
    await namespace.run(['mount', ...mountArguments(mount, root + place, mount.readOnly ?? request.readOnly)]);
    mountPoints.push(root + place);
  }
  if (!request.esp) return { tree: main, rootPath };
  const device = 'device' in request.esp ? request.esp.device : request.esp.imagePath;
  const fat = new FatTree({ device, readOnly: request.esp.readOnly ?? request.readOnly });
  return {
    tree: new CompositeTree(main, [{ mountPoint: await directoryAt(main, request.esp.mountPoint), tree: fat }]),
    rootPath,
  };
}

async function directoryAt(tree: WritableTree, mountPoint: string): Promise<string> {
  const place = await tree.realpath(mountPoint);
  if (place === '/') throw new UnusableFileError(mountPoint, 'leads to the root directory, where nothing can be mounted');
  if ((await tree.lstat(place))?.type !== 'directory')
    throw new UnusableFileError(mountPoint, 'is a mount point in fstab and no directory');
  return place;
}

function mountArguments({ device, type }: MountRequest, place: string, readOnly: boolean): string[] {
  const own = optionsByType[type]?.[readOnly ? 'readOnly' : 'readWrite'] ?? '';
  // -n and no canonicalization: mount must neither note this on the host nor follow links on the way.
  return ['-n', '-c', '-t', type, '-o', `${own},nosuid,nodev,noexec,noatime`, '--', device, place];
}

interface Mounted {
  readonly tree: WritableTree;
  readonly rootPath: string;
  readonly namespace: MountNamespace;
  /** The root first. */
  readonly mountPoints: readonly string[];
  readonly readOnly: boolean;
  /** Gives the namespace back. */
  readonly end: () => Promise<void>;
}

class MountedSystem implements MountedTree {
  readonly rootPath: string;
  readonly #tree: WritableTree;
  readonly #namespace: MountNamespace;
  readonly #mountPoints: readonly string[];
  readonly #readOnly: boolean;
  readonly #end: () => Promise<void>;
  #closing: Promise<void> | undefined;

  constructor({ tree, rootPath, namespace, mountPoints, readOnly, end }: Mounted) {
    this.#tree = tree;
    this.rootPath = rootPath;
    this.#namespace = namespace;
    this.#mountPoints = mountPoints;
    this.#readOnly = readOnly;
    this.#end = end;
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

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    try {
      const places = this.#mountPoints.toReversed();
      // umount does not report what could not be written back; syncfs does.
      if (!this.#readOnly) for (const place of places) await this.#namespace.run(['sync', '-f', place]);
      await this.#namespace.run(['umount', '-n', '-c', ...places]);
    } finally {
      await this.#end();
    }
  }
}
