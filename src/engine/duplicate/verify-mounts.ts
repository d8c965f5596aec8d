/** Two copies of one file system, mounted beside each other, read-only, in a mount namespace of their own. */
import { setTimeout } from 'node:timers/promises';
import { ToolFailedError } from '../persona/errors.ts';
import { openMountedSystem } from '../persona/trees/mounted.ts';
import { MountNamespace } from '../persona/trees/namespace.ts';

export interface MountPair {
  /** Block devices that hold exactly the file systems. */
  readonly source: string;
  readonly target: string;
  /** As blkid names it: ext2, ext3, ext4, xfs, btrfs. */
  readonly type: string;
}

export interface MountedPair {
  /** Where this process sees the roots; links below lead anywhere, so that who walks there follows none. */
  readonly source: string;
  /** Or why it cannot be mounted. */
  readonly target: string | ToolFailedError;
  close(): Promise<void>;
}

interface Mounted {
  readonly rootPath: string;
  close(): Promise<void>;
}

/** Needs root. @throws ToolFailedError when the source cannot be mounted */
export async function mountBeside({ source, target, type }: MountPair): Promise<MountedPair> {
  const namespace = new MountNamespace();
  const mounts: Mounted[] = [];
  const close = async (): Promise<void> => {
    try {
      for (const mount of mounts.reverse()) await mount.close();
    } finally {
      await namespace.close();
    }
  };
  try {
    const from = await mount(namespace, source, type);
    mounts.push(from);
    try {
      const to = await mount(namespace, target, type);
      mounts.push(to);
      return { source: from.rootPath, target: to.rootPath, close };
    } catch (error) {
      if (!(error instanceof ToolFailedError)) throw error;
      return { source: from.rootPath, target: error, close };
    }
  } catch (error) {
    await close();
    throw error;
  }
}

function mount(namespace: MountNamespace, device: string, type: string): Promise<Mounted> {
  if (type === 'btrfs') return mountBtrfs(namespace, device);
  return openMountedSystem({ root: { device, type }, mounts: [], readOnly: true, namespace });
}

/** The kernel may remember another device with this UUID, and forgets it at the second attempt. */
const attempts = 3;

/** Both have the same UUID, which the kernel takes from Linux 6.7 on; earlier it fails, or shows the one that it knows again. */
async function mountBtrfs(namespace: MountNamespace, device: string): Promise<Mounted> {
  const place = await namespace.place();
  const forget = () => namespace.run(['sh', '-c', 'btrfs device scan --forget "$1" || true', 'sh', device]);
  for (let attempt = 1; ; attempt++) {
    try {
      await namespace.run(['sh', '-c', mountAndLook, 'sh', device, place]);
      break;
    } catch (error) {
      await forget();
      if (!(error instanceof ToolFailedError) || attempt === attempts) throw error;
      await setTimeout(200);
    }
  }
  return {
    rootPath: namespace.path(place),
    async close() {
      await namespace.run(['umount', '-n', '-c', place]);
      await forget();
    },
  };
}

const mountAndLook = `set -e
mount -n -c -t btrfs -o ro,nosuid,nodev,noexec,noatime -- "$1" "$2"
devices=$(btrfs filesystem show --raw "$2" | sed -n 's/.* path //p')
[ "$devices" = "$1" ] && exit
umount -n -c "$2"
echo "the kernel shows $devices instead of $1, because both have the same UUID"
exit 1`;
