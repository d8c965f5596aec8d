/** Files and block devices as the kernel identifies them: device numbers, names in sysfs, what is behind a loop device. */
import { constants, type FileHandle, open, readlink, realpath, stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { SystemCallError } from '../native/libc.ts';
import { type LoopBacking, loopBacking } from '../native/loop-device.ts';
import { isMissing, listOptional, readOptional } from './sysfs.ts';

/** A regular file or block device; two paths to the same one have the same `id`. */
export interface DeviceNode {
  /** `8:1` for a block device, `file:DEV:INO` for a regular file. */
  readonly id: string;
  readonly path: string;
  /** Kernel name of a block device, as `sda1`. */
  readonly block?: string;
  /** Device number (`8:1`) of the file system that holds the file or device node, and its inode number: what locks are on. */
  readonly device: string;
  readonly inode: string;
}

/** @throws the error of realpath(3), stat(2) or readlink(2). */
export async function nodeOf(path: string): Promise<DeviceNode> {
  const real = await realpath(path);
  const stats = await stat(real, { bigint: true });
  const node = { path: real, device: deviceNumber(stats.dev), inode: String(stats.ino) };
  if (!stats.isBlockDevice()) return { ...node, id: `file:${node.device}:${node.inode}` };
  const id = deviceNumber(stats.rdev);
  return { ...node, id, block: basename(await readlink(`/sys/dev/block/${id}`)) };
}

/** Kernel name of a block device, as `sda1` for /dev/disk/by-id/...; undefined for a regular file. */
export async function blockName(path: string): Promise<string | undefined> {
  return (await nodeOf(path)).block;
}

/** What /proc and /sys name may be gone, in another mount namespace or in somebody's private folder; such paths are left out. */
export async function existingNodes(paths: readonly string[]): Promise<DeviceNode[]> {
  const nodes: DeviceNode[] = [];
  for (const path of paths) {
    try {
      nodes.push(await nodeOf(path));
    } catch (error) {
      if (!isMissing(error) && !isCutOff(error) && (error as NodeJS.ErrnoException).code !== 'EACCES') throw error;
    }
  }
  return nodes;
}

/** sysfs writes the `/` of a device's name (cciss/c0d0) as `!`. */
function devicePath(block: string): string {
  return `/dev/${block.replaceAll('!', '/')}`;
}

export async function blockNodes(names: readonly string[]): Promise<DeviceNode[]> {
  return existingNodes(names.map(devicePath));
}

/** The partitions of a disk. */
export async function partitionsOf(disk: string): Promise<DeviceNode[]> {
  const names = listOptional(`/sys/class/block/${disk}`).filter((name) => name.startsWith(disk));
  return blockNodes(names);
}

/** The disk of a partition, or nothing. */
export async function parentOf(block: string): Promise<DeviceNode[]> {
  if (!isPartition(block)) return [];
  return blockNodes([basename(await realpath(`/sys/class/block/${block}/..`))]);
}

function isPartition(block: string): boolean {
  return readOptional(`/sys/class/block/${block}/partition`) !== undefined;
}

/** The file or block device behind a loop device; undefined when it is none. */
export async function loopBackingNode(block: string): Promise<DeviceNode | undefined> {
  const path = readOptional(`/sys/class/block/${block}/loop/backing_file`);
  if (path === undefined) return undefined;
  const [named] = await existingNodes([path]);
  const known = await loopIdentity(block);
  if (known === undefined || known.id === named?.id) return named;
  // The path is deleted, or means another file in this mount namespace.
  return { path, ...known };
}

/** What the kernel itself says is behind an attached loop device; undefined without the right to ask, or when it was detached. */
async function loopIdentity(block: string): Promise<Omit<DeviceNode, 'path'> | undefined> {
  let file: Awaited<ReturnType<typeof open>>;
  try {
    file = await open(devicePath(block), constants.O_RDONLY);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (isMissing(error) || code === 'EACCES' || code === 'EPERM') return undefined;
    throw error;
  }
  try {
    const backing = backingOf(file);
    if (backing === undefined) return undefined;
    const device = deviceNumber(backing.device);
    const inode = String(backing.inode);
    if (backing.rdevice === 0n) return { id: `file:${device}:${inode}`, device, inode };
    const id = deviceNumber(backing.rdevice);
    const link = readOptional(`/sys/dev/block/${id}/uevent`);
    const name = link?.match(/^DEVNAME=(.*)$/m)?.[1];
    return { id, device, inode, ...(name === undefined ? {} : { block: name.replaceAll('/', '!') }) };
  } finally {
    await file.close();
  }
}

function backingOf(loop: FileHandle): LoopBacking | undefined {
  try {
    return loopBacking(loop.fd);
  } catch (error) {
    if (error instanceof SystemCallError && isCutOff({ code: error.errnoName })) return undefined;
    throw error;
  }
}

/** A file on FUSE or NFS whose server is gone (a killed nbdfuse): it is nothing that anybody could open, so no image of ours. */
function isCutOff(error: unknown): boolean {
  return ['ENOTCONN', 'ESTALE', 'EIO'].includes((error as NodeJS.ErrnoException).code ?? '');
}

/** Linux encodes device numbers with 12 bits of major and 20 bits of minor in two pieces; see gnu_dev_major(3). */
function deviceNumber(device: bigint): string {
  const major = ((device >> 8n) & 0xfffn) | ((device >> 32n) & ~0xfffn);
  const minor = (device & 0xffn) | ((device >> 12n) & ~0xffn);
  return `${major}:${minor}`;
}
