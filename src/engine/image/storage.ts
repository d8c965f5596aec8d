/** What an image stands on, down to the disks: partitions, loop devices, mappings, file systems. From /proc and /sys. */
import { blockNodes, type DeviceNode, loopBackingNode, nodeOf, parentOf } from './devices.ts';
import { ImageIoError } from './errors.ts';
import { devicesOf, type MountEntry, mountOf, readMounts } from './mounts.ts';
import { listOptional } from './sysfs.ts';

/** How something uses what is below it. A loop device shows all of it or a part; the others divide it among several. */
export type LinkKind = 'partition' | 'loop' | 'mapping' | 'filesystem';

export interface StorageLink {
  readonly from: DeviceNode;
  readonly to: DeviceNode;
  readonly kind: LinkKind;
}

export interface Storage {
  readonly image: DeviceNode;
  /** Everything below the image, from the top down. */
  readonly links: readonly StorageLink[];
}

/** @throws ImageIoError when the path, /proc or /sys cannot be read. */
export async function storageBelow(path: string): Promise<Storage> {
  try {
    const image = await nodeOf(path);
    const mounts = await readMounts();
    const links: StorageLink[] = [];
    const seen = new Set([image.id]);
    for (const todo = [image]; todo.length > 0; ) {
      const below = await linksBelow(todo.shift() as DeviceNode, mounts);
      links.push(...below);
      for (const { to } of below) {
        if (!seen.has(to.id)) todo.push(to);
        seen.add(to.id);
      }
    }
    return { image, links };
  } catch (cause) {
    throw new ImageIoError(path, 'examine', { cause });
  }
}

async function linksBelow(from: DeviceNode, mounts: readonly MountEntry[]): Promise<StorageLink[]> {
  const link = (nodes: readonly DeviceNode[], kind: LinkKind) => nodes.map((to) => ({ from, to, kind }));
  if (from.block === undefined) {
    const mount = mountOf(mounts, from.path);
    return mount === undefined ? [] : link(await devicesOf(mount), 'filesystem');
  }
  const backing = await loopBackingNode(from.block);
  const slaves = await blockNodes(await listOptional(`/sys/class/block/${from.block}/slaves`));
  return [
    ...link(await parentOf(from.block), 'partition'),
    ...link(backing === undefined ? [] : [backing], 'loop'),
    ...link(slaves, 'mapping'),
  ];
}

/**
 * Whether writing one image may change the other: the same bytes under two names, one inside the other, or one stored on a
 * file system that the other holds. Two partitions of a disk, two volumes of a group and two files of a file system do not.
 * @throws ImageIoError when a path, /proc or /sys cannot be read.
 */
export async function sharesStorage(a: string, b: string): Promise<boolean> {
  const [below, other] = [await storageBelow(a), await storageBelow(b)];
  const [idsA, idsB] = [idsOf(below), idsOf(other)];
  if (idsB.has(below.image.id) || idsA.has(other.image.id)) return true;
  // Where the two first meet, they must both be shares of what is divided among many.
  const meet = (links: readonly StorageLink[], others: ReadonlySet<string>) =>
    links.filter(({ from, to }) => others.has(to.id) && !others.has(from.id));
  const meetA = meet(below.links, idsB);
  const meetB = meet(other.links, idsA);
  return meetA.some((one) => meetB.some((two) => one.to.id === two.to.id && (one.kind !== two.kind || one.kind === 'loop')));
}

function idsOf({ image, links }: Storage): ReadonlySet<string> {
  return new Set([image.id, ...links.map(({ to }) => to.id)]);
}
