/**
 * Who uses a file or block device right now: mounts, swap, device-mapper and md holders, loop devices, locks (running
 * virtual machines). Read from /proc and /sys; see proc(5), Documentation/ABI/testing/sysfs-block and QEMU's file locking.
 */
import { constants, open } from 'node:fs/promises';
import { setTimeout } from 'node:timers/promises';
import { loadLibc } from '../native/libc.ts';
import { type DeviceNode, existingNodes, loopBackingNode, nodeOf, parentOf, partitionsOf } from './devices.ts';
import { ImageIoError } from './errors.ts';
import { type FileLock, qemuWrites, readLocks } from './locks.ts';
import { devicesOf, type MountEntry, mountOf, readMounts } from './mounts.ts';
import { parseSpec } from './spec.ts';
import { filesOf } from './storage.ts';
import { listOptional, readOptional, unescapeOctal } from './sysfs.ts';

export { blockName } from './devices.ts';
export { sharesStorage } from './storage.ts';

export interface ImageUser {
  readonly kind: 'mount' | 'swap' | 'holder' | 'loop' | 'lock';
  /** Whether the user may change the image while it is read. */
  readonly writes: boolean;
  /** A clause for messages: `/dev/sdb1 is mounted on /srv (read-write)`. */
  readonly what: string;
}

/** What the kernel said when it was asked. */
interface Kernel {
  readonly mounts: readonly MountEntry[];
  /** Mounts with the devices that they are on. */
  readonly mounted: readonly { readonly mount: MountEntry; readonly ids: readonly string[] }[];
  /** Ids of swap devices and files. */
  readonly swaps: readonly string[];
  readonly loops: readonly { readonly name: string; readonly backing: DeviceNode }[];
  readonly locks: readonly FileLock[];
}

/**
 * Everything that uses the image that the user named: of a whole disk also its partitions, of a partition also what has the
 * whole disk, and what is stacked above it (a file system on a loop device over the file); of a qcow2 also who changes what it
 * is based on; of a `DISK#PART` whoever uses the disk. Of a server nobody can tell.
 * @throws ImageIoError when the path, /proc or /sys cannot be read, and the errors of examineContainer.
 */
export async function imageUsers(text: string): Promise<ImageUser[]> {
  const { base } = await parseSpec(text);
  if (base.kind !== 'path') return [];
  const { files, backing } = await filesOf(base.path);
  try {
    const kernel = await askKernel();
    const found: ImageUser[] = [];
    for (const file of files) found.push(...(await usersOf(await nodeOf(file), kernel)));
    for (const file of backing) found.push(...(await usersOf(await nodeOf(file), kernel)).filter(({ writes }) => writes));
    return found;
  } catch (cause) {
    throw new ImageIoError(text, 'examine', { cause });
  }
}

async function askKernel(): Promise<Kernel> {
  const reading = readLocks();
  // It takes a while, and whoever asks will open the image next.
  loadLibc();
  const [locks, others] = await Promise.all([reading, askForHolders()]);
  return { ...others, locks };
}

async function askForHolders(): Promise<Omit<Kernel, 'locks'>> {
  const mounts = readMounts();
  const mounted = [];
  for (const mount of mounts) mounted.push({ mount, ids: (await devicesOf(mount)).map((node) => node.id) });
  const swapLines = (readOptional('/proc/swaps') ?? '').split('\n').slice(1);
  const swaps = await existingNodes(
    swapLines.map((line) => unescapeOctal(line.split(/\s+/)[0] ?? '')).filter((path) => path !== ''),
  );
  const loops = [];
  for (const name of listOptional('/sys/class/block').filter((each) => /^loop\d+$/.test(each))) {
    const backing = await loopBackingNode(name);
    if (backing !== undefined) loops.push({ name, backing });
  }
  return { mounts, mounted, swaps: swaps.map((node) => node.id), loops };
}

async function usersOf(node: DeviceNode, kernel: Kernel): Promise<ImageUser[]> {
  const { block } = node;
  const related = block === undefined ? [] : [...(await partitionsOf(block)), ...(await parentOf(block))];
  const found: ImageUser[] = [];
  for (const each of [node, ...related]) {
    found.push(
      ...mountsOf(each, kernel),
      ...swapsOf(each, kernel),
      ...(await holdersOf(each)),
      ...(await loopsOver(each, kernel)),
      ...(await locksOn(each, kernel)),
    );
  }
  // Asked for first: a window of another doppel may be gone a moment later, and its number may be another's.
  const writes = block !== undefined && !isReadOnly(block);
  if (found.length === 0 && block !== undefined && (await isClaimed(node.path))) {
    const what = `${node.path} is held by somebody who does not show (a mount in another namespace, or a program)`;
    found.push({ kind: 'holder', writes, what });
  }
  return found;
}

function mountsOf(node: DeviceNode, { mounted }: Kernel): ImageUser[] {
  return mounted
    .filter(({ ids }) => ids.includes(node.id))
    .map(({ mount: { point, writable } }) => ({
      kind: 'mount',
      writes: writable,
      what: `${node.path} is mounted on ${point} (${writable ? 'read-write' : 'read-only'})`,
    }));
}

function swapsOf(node: DeviceNode, { swaps }: Kernel): ImageUser[] {
  return swaps.includes(node.id) ? [{ kind: 'swap', writes: true, what: `${node.path} is in use as swap` }] : [];
}

async function holdersOf(node: DeviceNode): Promise<ImageUser[]> {
  if (node.block === undefined) return [];
  const found: ImageUser[] = [];
  for (const name of listOptional(`/sys/class/block/${node.block}/holders`)) {
    const what = `${node.path} is held by /dev/${name} (LVM, RAID or encryption)`;
    found.push({ kind: 'holder', writes: !isReadOnly(name), what });
  }
  return found;
}

async function loopsOver(node: DeviceNode, kernel: Kernel): Promise<ImageUser[]> {
  const found: ImageUser[] = [];
  for (const { name } of kernel.loops.filter(({ backing }) => backing.id === node.id)) {
    for (const loop of await existingNodes([`/dev/${name}`])) {
      const above = await usersOf(loop, kernel);
      if ((await loopBackingNode(name))?.id !== node.id) continue;
      const writes = above.some((user) => user.writes);
      found.push({ kind: 'loop', writes, what: `${node.path} is attached to ${loop.path}` }, ...above);
    }
  }
  return found;
}

/** udev and partitioners lock block devices for a moment (flock); only virtual machines lock bytes of them. */
async function locksOn(node: DeviceNode, { locks, mounts }: Kernel): Promise<ImageUser[]> {
  // A btrfs subvolume has a device number of its own, locks have that of the file system.
  const devices = [node.device, mountOf(mounts, node.path)?.device];
  const mine = locks.filter(
    (lock) => lock.inode === node.inode && devices.includes(lock.device) && !(node.block !== undefined && lock.wholeFile),
  );
  const found = new Map<number, ImageUser>();
  for (const lock of mine) {
    const writes = lock.exclusive || qemuWrites(lock) || found.get(lock.pid)?.writes === true;
    found.set(lock.pid, { kind: 'lock', writes, what: `${node.path} is locked by ${ownerOf(lock)}` });
  }
  return [...found.values()];
}

function ownerOf({ pid }: FileLock): string {
  if (pid <= 0) return 'another process, probably a virtual machine';
  const command = readOptional(`/proc/${pid}/comm`);
  return command === undefined ? `process ${pid}` : `process ${pid} (${command})`;
}

function isReadOnly(block: string): boolean {
  return readOptional(`/sys/class/block/${block}/ro`) === '1';
}

/** Whether somebody has a block device exclusively; asked more than once, as others may be asking just now. */
async function isClaimed(path: string): Promise<boolean> {
  for (let attempt = 0; attempt < 3; attempt++) {
    if (attempt > 0) await setTimeout(50);
    try {
      const file = await open(path, constants.O_RDONLY | constants.O_EXCL);
      await file.close();
      return false;
    } catch (error) {
      // Whatever else is wrong shows when the image itself is opened.
      if ((error as NodeJS.ErrnoException).code !== 'EBUSY') return false;
    }
  }
  return true;
}
