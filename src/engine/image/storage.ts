/** What an image stands on, down to the disks: partitions, loop devices, mappings, file systems. From /proc and /sys. */
import { stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { type Container, examineContainer } from './container.ts';
import { blockNodes, type DeviceNode, loopBackingNode, nodeOf, parentOf } from './devices.ts';
import { ImageIoError } from './errors.ts';
import { looksLikeArchive } from './identity.ts';
import { devicesOf, type MountEntry, mountOf, readMounts } from './mounts.ts';
import { parseSpec } from './spec.ts';
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

/** Of a file that does not exist yet: where it will be. @throws ImageIoError when the path, /proc or /sys cannot be read. */
export async function storageBelow(path: string): Promise<Storage> {
  try {
    const place = await existingOrFolder(path);
    const image = place === path ? await nodeOf(path) : futureNode(await nodeOf(place), basename(path));
    const mounts = readMounts();
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

/** The path, or the folder of a file that does not exist yet. */
async function existingOrFolder(path: string): Promise<string> {
  try {
    await stat(path);
    return path;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return dirname(path);
    throw error;
  }
}

function futureNode(folder: DeviceNode, name: string): DeviceNode {
  const path = join(folder.path, name);
  return { id: `future:${path}`, path, device: folder.device, inode: '' };
}

async function linksBelow(from: DeviceNode, mounts: readonly MountEntry[]): Promise<StorageLink[]> {
  const link = (nodes: readonly DeviceNode[], kind: LinkKind) => nodes.map((to) => ({ from, to, kind }));
  if (from.block === undefined) {
    const mount = mountOf(mounts, from.path);
    return mount === undefined ? [] : link(await devicesOf(mount), 'filesystem');
  }
  const backing = await loopBackingNode(from.block);
  const slaves = await blockNodes(listOptional(`/sys/class/block/${from.block}/slaves`));
  return [
    ...link(await parentOf(from.block), 'partition'),
    ...link(backing === undefined ? [] : [backing], 'loop'),
    ...link(slaves, 'mapping'),
  ];
}

/**
 * The files that an image at a path consists of, the image itself first, and those that it is based on.
 * @throws ImageIoError when it cannot be read, and the errors of examineContainer.
 */
export async function filesOf(path: string): Promise<Pick<Container, 'files' | 'backing'>> {
  const stats = await stat(path).catch((cause) => {
    throw new ImageIoError(path, 'examine', { cause });
  });
  if (!stats.isFile() || (await looksLikeArchive(path))) return { files: [path], backing: [] };
  const { files, backing } = await examineContainer(path);
  return { files: [path, ...files.slice(1)], backing };
}

/**
 * Whether writing one image may change the other: the same bytes under two names, one inside the other, one based on the other,
 * or one stored on a file system that the other holds. Two partitions of a disk, two volumes of a group, two files of a file
 * system and two images that are based on the same one do not. An image that does not exist yet is where it will be. A part is
 * taken for its whole disk. Of NBD servers only the names are compared, and nobody writes to an archive in a registry.
 * @throws ImageIoError when a path, /proc or /sys cannot be read, and the errors of examineContainer.
 */
export async function sharesStorage(a: string, b: string): Promise<boolean> {
  const [one, two] = [(await parseSpec(a)).base, (await parseSpec(b)).base];
  if (one.kind !== 'path' || two.kind !== 'path') {
    return one.kind === 'nbd' && two.kind === 'nbd' && exportName(one.uri) === exportName(two.uri);
  }
  const [mine, others] = [await filesOrPlace(one.path), await filesOrPlace(two.path)];
  return (await anyShared(mine.files, [...others.files, ...others.backing])) || (await anyShared(mine.backing, others.files));
}

async function anyShared(some: readonly string[], others: readonly string[]): Promise<boolean> {
  for (const a of some) for (const b of others) if (await pathsShare(a, b)) return true;
  return false;
}

async function filesOrPlace(path: string): Promise<Pick<Container, 'files' | 'backing'>> {
  const place = await existingOrFolder(path).catch((cause) => {
    throw new ImageIoError(path, 'examine', { cause });
  });
  return place === path ? filesOf(path) : { files: [path], backing: [] };
}

/** Server and export, without what says how to get there (TLS, user). */
function exportName(uri: string): string {
  const [, rest = ''] = uri.split('://');
  const [place = '', query = ''] = rest.split('?');
  const socket = query.split('&').find((each) => each.startsWith('socket=')) ?? '';
  return `${place
    .replace(/^[^/]*@/, '')
    .replace(/:10809(?=\/|$)/, '')
    .replace(/\/$/, '')}?${decodeURIComponent(socket)}`;
}

async function pathsShare(a: string, b: string): Promise<boolean> {
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
