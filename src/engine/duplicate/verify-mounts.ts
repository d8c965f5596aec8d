/** Two copies of one file system, mounted beside each other, read-only, where nobody else sees them. */
import { open } from 'node:fs/promises';
import { setTimeout } from 'node:timers/promises';
import { btrfsDevices, forgetBtrfs } from '../native/btrfs.ts';
import { SystemCallError } from '../native/libc.ts';
import { MountFailedError } from '../persona/errors.ts';
import { Mount } from '../persona/trees/mount.ts';

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
  readonly target: string | MountFailedError;
  close(): Promise<void>;
}

/** Needs root. @throws MountFailedError when the source cannot be mounted */
export async function mountBeside({ source, target, type }: MountPair): Promise<MountedPair> {
  const from = await mount(source, type);
  try {
    const to = await mount(target, type).catch((error: unknown) => {
      if (error instanceof MountFailedError) return error;
      throw error;
    });
    return {
      source: from.path,
      target: to instanceof Mount ? to.path : to,
      close: async () => {
        if (to instanceof Mount) await unmount(to, target, type);
        await unmount(from, source, type);
      },
    };
  } catch (error) {
    await unmount(from, source, type);
    throw error;
  }
}

function mount(device: string, type: string): Promise<Mount> {
  return type === 'btrfs' ? mountBtrfs(device) : Mount.open({ device, type, readOnly: true });
}

async function unmount(mounted: Mount, device: string, type: string): Promise<void> {
  await mounted.close();
  if (type === 'btrfs') await forget(device);
}

/** The kernel may remember another device with this UUID, and forgets it at the second attempt. */
const attempts = 3;

/** Both have the same UUID, which the kernel takes from Linux 6.7 on; earlier it fails, or shows the one that it knows again. */
async function mountBtrfs(device: string): Promise<Mount> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await mountAndLook(device);
    } catch (error) {
      await forget(device);
      if (!(error instanceof MountFailedError) || attempt === attempts) throw error;
      await setTimeout(200);
    }
  }
}

async function mountAndLook(device: string): Promise<Mount> {
  const mounted = await Mount.open({ device, type: 'btrfs', readOnly: true });
  const devices = await devicesOf(mounted);
  if (devices.length === 1 && devices[0] === device) return mounted;
  await mounted.close();
  throw new MountFailedError(
    device,
    'btrfs',
    `the kernel shows ${devices.join(', ')} instead of ${device}, because both have the same UUID`,
  );
}

async function devicesOf({ path }: Mount): Promise<string[]> {
  const root = await open(`${path}/`);
  try {
    return btrfsDevices(root.fd);
  } finally {
    await root.close();
  }
}

/** What the kernel does not know, or somebody else has mounted, stays as it is. */
async function forget(device: string): Promise<void> {
  try {
    const control = await open('/dev/btrfs-control');
    try {
      forgetBtrfs(control.fd, device);
    } finally {
      await control.close();
    }
  } catch (error) {
    if (!(error instanceof SystemCallError) && (error as NodeJS.ErrnoException).code === undefined) throw error;
  }
}
