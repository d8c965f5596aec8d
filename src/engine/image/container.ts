/**
 * What a disk file in a format such as qcow2 consists of: the file itself, extents of their own, and the files that it is based
 * on. Whoever wrote the image could name any file of this computer there, so nothing is followed that QEMU alone would choose:
 * only local files of a stated format, and nothing from a file whose name says that it is raw.
 */
import { open, realpath, stat } from 'node:fs/promises';
import { dirname, extname, join } from 'node:path';
import {
  type ContainerInfo,
  checkQcow2,
  encrypted,
  isSparseVmdk,
  longestDescriptor,
  parseQemuInfo,
  vmdkExtents,
} from './container-headers.ts';
import { ImageIoError, openFailed, shellWord, UnusableImageError } from './errors.ts';
import { type DiskFormat, formatHeadLength, formatOf } from './format.ts';
import { isMissing } from './sysfs.ts';
import { runTool } from './tools.ts';

export interface Container {
  /** Undefined for a raw file or a block device. */
  readonly format: DiskFormat | undefined;
  /** Absolute paths of what is written when the image is: the file, and its extents. */
  readonly files: readonly string[];
  /** Absolute paths of what it is based on, the nearest first; only read. */
  readonly backing: readonly string[];
  /** Why it can be read but not written. */
  readonly readOnlyBecause?: string;
  readonly notes: readonly string[];
}

const LONGEST_CHAIN = 64;

/** @throws ForeignFormatError, UnusableImageError, MissingToolError, ImageToolError, ImageIoError */
export async function examineContainer(path: string): Promise<Container> {
  const real = await realpath(path).catch(openFailed(path));
  const format = await formatOfFile(path, real);
  if (format === undefined) return { format, files: [real], backing: [], notes: [] };
  const extents = await extentsOf(path, real, format);
  const info = await ask(path, real, format);
  const backing = await backingChain(path, real, info);
  const count = info.snapshots;
  return {
    format,
    files: [real, ...extents],
    backing,
    notes: [
      ...backing.slice(0, 1).map((file) => `${path} is based on ${file}, which is read too`),
      ...(count === 0 ? [] : [`${path} holds ${count} snapshot${count === 1 ? '' : 's'}, which stay where they are`]),
    ],
    ...(info.corrupt ? { readOnlyBecause: 'it is marked as corrupt: qemu-img check tells more' } : {}),
    ...(info.createType === 'streamOptimized' ? { readOnlyBecause: 'a streamOptimized VMDK cannot be changed' } : {}),
  };
}

async function formatOfFile(name: string, real: string): Promise<DiskFormat | undefined> {
  const file = await open(real).catch(openFailed(name));
  try {
    const stats = await file.stat();
    if (!stats.isFile()) return undefined;
    const head = Buffer.alloc(Math.min(formatHeadLength, stats.size));
    const tail = Buffer.alloc(head.length);
    await file.read(head, 0, head.length, 0);
    await file.read(tail, 0, tail.length, stats.size - tail.length);
    const format = formatOf(name, head, tail);
    if (format === 'qcow2') checkQcow2(name, head);
    return format;
  } catch (cause) {
    throw cause instanceof Error && 'code' in cause && 'syscall' in cause ? new ImageIoError(name, 'read', { cause }) : cause;
  } finally {
    await file.close();
  }
}

async function ask(name: string, real: string, format: DiskFormat): Promise<ContainerInfo> {
  const options = `driver=${format},file.driver=file,file.filename=${real.replaceAll(',', ',,')}`;
  const doing = `looking at ${name}`;
  const info = parseQemuInfo(await runTool('qemu-img', ['info', '--output=json', '-U', '--image-opts', options], doing), doing);
  if (info.encrypted) throw encrypted(name);
  return info;
}

async function backingChain(name: string, real: string, top: ContainerInfo): Promise<string[]> {
  const chain: string[] = [];
  const seen = new Set([real]);
  for (let backing = top.backing; backing !== undefined; ) {
    const path = await backingFile(name, backing);
    if (seen.has(path) || chain.length >= LONGEST_CHAIN) {
      throw new UnusableImageError(
        name,
        'the files that it is based on go in a circle or have no end',
        'Look at them with qemu-img info.',
      );
    }
    seen.add(path);
    chain.push(path);
    const { format } = backing;
    backing = undefined;
    if (format === 'raw' || format === 'host_device') continue;
    const found = await formatOfFile(path, path);
    if (found === undefined || found !== format) {
      const why = `it says that ${path} is ${format}, which is not so`;
      throw new UnusableImageError(name, why, `Set it right with qemu-img rebase -u -F ${found ?? 'raw'}.`);
    }
    await extentsOf(path, path, found);
    backing = (await ask(path, path, found)).backing;
  }
  return chain;
}

async function backingFile(name: string, backing: NonNullable<ContainerInfo['backing']>): Promise<string> {
  const { said, full: path, format } = backing;
  const flat = `Make one file of it: qemu-img convert -O qcow2 ${shellWord(name)} ${shellWord(`${name}.whole.qcow2`)}`;
  if (/^\.(img|raw|dd|bin|iso)$/i.test(extname(name))) {
    const why = `its name says that it is raw, but it is an image based on ${said}; its own guest could have written that`;
    throw new UnusableImageError(name, why, 'If it is right, name it .qcow2 and run the command again.', { backing: said });
  }
  if (!path.startsWith('/')) {
    throw new UnusableImageError(name, `it is based on ${said}, which is no local file`, flat, { backing: said });
  }
  if (format === undefined) {
    const why = `it is based on ${said}, and does not say which format that has; it could be taken for the wrong one`;
    throw new UnusableImageError(name, why, `Tell it: qemu-img rebase -u -b ${shellWord(said)} -F FORMAT ${shellWord(name)}`);
  }
  try {
    await stat(path);
    return await realpath(path);
  } catch (cause) {
    if (!isMissing(cause)) throw new ImageIoError(path, 'open', { cause });
    const todo = 'Put that file back, or correct the path with qemu-img rebase -u.';
    throw new UnusableImageError(name, `${path}, which it is based on, does not exist`, todo, { backing: path });
  }
}

/** The extents that a VMDK descriptor names, which stand beside it. QEMU opens them whenever it looks at the image, so that this comes first. */
async function extentsOf(name: string, real: string, format: DiskFormat): Promise<string[]> {
  if (format !== 'vmdk') return [];
  const descriptor = await startOf(name, real, longestDescriptor);
  if (isSparseVmdk(name, descriptor)) return [];
  const extents = vmdkExtents(name, descriptor).map((extent) => join(dirname(real), extent));
  // An extent could be a wrapped descriptor in its turn.
  for (const extent of extents) isSparseVmdk(extent, await startOf(extent, extent, formatHeadLength));
  return extents;
}

async function startOf(name: string, real: string, length: number): Promise<Buffer> {
  const file = await open(real).catch(openFailed(name));
  try {
    const head = Buffer.alloc(length);
    return head.subarray(0, (await file.read(head, 0, length, 0)).bytesRead);
  } catch (cause) {
    throw new ImageIoError(name, 'read', { cause });
  } finally {
    await file.close();
  }
}
