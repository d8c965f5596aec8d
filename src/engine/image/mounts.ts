/** Mounted file systems and the block devices that they are on, from /proc/self/mountinfo; see proc(5). */
import { readFileSync } from 'node:fs';
import { type DeviceNode, existingNodes } from './devices.ts';
import { listOptional, readOptional, unescapeOctal } from './sysfs.ts';

export interface MountEntry {
  /** Device number of the file system as /proc writes it, `8:1`; anonymous (`0:42`) where it is not that of a block device. */
  readonly device: string;
  readonly point: string;
  readonly type: string;
  readonly source: string;
  /** Whether the file system (not only this mount of it) is read-write. */
  readonly writable: boolean;
}

/** The mounts that this process sees, in order: a later one hides an earlier one on the same point. */
export function readMounts(): MountEntry[] {
  const lines = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line !== '');
  return lines.map((line) => {
    const [left = '', right = ''] = line.split(' - ');
    const [, , device = '', , point = ''] = left.split(' ');
    const [type = '', source = '', options = ''] = right.split(' ');
    const writable = options.split(',').includes('rw');
    return { device, point: unescapeOctal(point), type, source: unescapeOctal(source), writable };
  });
}

/** The mount that holds an absolute path without symbolic links. */
export function mountOf(mounts: readonly MountEntry[], path: string): MountEntry | undefined {
  let found: MountEntry | undefined;
  for (const mount of mounts) {
    const holds = mount.point === '/' || path === mount.point || path.startsWith(`${mount.point}/`);
    if (holds && mount.point.length >= (found?.point.length ?? 0)) found = mount;
  }
  return found;
}

/** The block devices that a mounted file system is on; none for one without (tmpfs, NFS). */
export async function devicesOf(mount: MountEntry): Promise<DeviceNode[]> {
  const uevent = mount.device.startsWith('0:') ? undefined : readOptional(`/sys/dev/block/${mount.device}/uevent`);
  const name = uevent?.match(/^DEVNAME=(.*)$/m)?.[1];
  if (name !== undefined) return existingNodes([`/dev/${name}`]);
  // btrfs has an anonymous device number; its source names one of its devices, sysfs all of them.
  const named = mount.source.startsWith('/dev/') ? await existingNodes([mount.source]) : [];
  const pool = mount.type === 'btrfs' ? await btrfsPool(named[0]?.block) : [];
  return pool.length > 0 ? pool : named.filter((node) => node.block !== undefined);
}

async function btrfsPool(member: string | undefined): Promise<DeviceNode[]> {
  if (member === undefined) return [];
  for (const id of listOptional('/sys/fs/btrfs')) {
    const members = listOptional(`/sys/fs/btrfs/${id}/devices`);
    if (members.includes(member)) return existingNodes(members.map((name) => `/dev/${name}`));
  }
  return [];
}
