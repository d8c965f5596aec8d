/** Which disk this is: what a careful person compares before overwriting it. From sysfs and udev's database. */

import { createHash } from 'node:crypto';
import { open, readdir, readFile, stat } from 'node:fs/promises';
import { examineContainer } from './container.ts';
import type { ImageSource } from './contract.ts';
import { formatForName } from './create.ts';
import { blockName } from './devices.ts';
import { ImageIoError } from './errors.ts';
import type { DiskFormat } from './format.ts';
import { parseSpec } from './spec.ts';

export interface ImageIdentity {
  /** As the user named it: a path, a URI, a part of one. */
  readonly path: string;
  readonly kind: 'file' | 'block' | 'nbd' | 'archive';
  /** Of a file that is no raw image. */
  readonly format?: DiskFormat;
  /** Bytes. */
  readonly size: number;
  readonly sectorSize: number;
  readonly model?: string;
  readonly serial?: string;
  readonly wwn?: string;
}

/**
 * `path` is what the user named; of a part, the identity is that of its disk but for the size. A file that does not exist yet
 * is what `createImage` will make.
 * @throws ImageIoError when the path is gone, and the errors of examineContainer.
 */
export async function imageIdentity(path: string, size: number, sectorSize: number): Promise<ImageIdentity> {
  const { base } = await parseSpec(path);
  if (base.kind !== 'path') return { path, kind: base.kind === 'nbd' ? 'nbd' : 'archive', size, sectorSize };
  const stats = await stat(base.path).catch((cause) => {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT' && !base.path.startsWith('/dev/')) return undefined;
    throw new ImageIoError(path, 'examine', { cause });
  });
  if (stats !== undefined && (await looksLikeArchive(base.path))) return { path, kind: 'archive', size, sectorSize };
  if (stats?.isBlockDevice() !== true) {
    const format = stats === undefined ? formatForName(base.path) : ((await examineContainer(base.path)).format ?? 'raw');
    return { path, kind: 'file', ...(format === 'raw' ? {} : { format }), size, sectorSize };
  }
  const name = await blockName(base.path);
  const device = `/sys/class/block/${name}/device`;
  const model = await firstText([`${device}/model`]);
  const serial = await firstText([`${device}/serial`, `/sys/class/block/${name}/serial`, `${device}/vpd_pg80`]);
  const wwn = await firstText([`/sys/class/block/${name}/wwid`, `${device}/wwid`]);
  return {
    path,
    kind: 'block',
    size,
    sectorSize,
    ...(model === undefined ? {} : { model }),
    ...(serial === undefined ? {} : { serial }),
    ...(wwn === undefined ? {} : { wwn }),
  };
}

/** An OCI layout in a directory, or a tar file (POSIX ustar and pax). What it holds shows when it is opened. @throws ImageIoError */
export async function looksLikeArchive(path: string): Promise<boolean> {
  try {
    const stats = await stat(path);
    if (stats.isDirectory()) return (await readdir(path)).includes('oci-layout');
    if (!stats.isFile()) return false;
    const file = await open(path);
    try {
      const magic = Buffer.alloc(USTAR.length);
      await file.read(magic, 0, magic.length, USTAR_AT);
      return magic.toString('latin1') === USTAR;
    } finally {
      await file.close();
    }
  } catch (cause) {
    throw new ImageIoError(path, 'examine', { cause });
  }
}

const USTAR = 'ustar';
const USTAR_AT = 257;

async function firstText(paths: readonly string[]): Promise<string | undefined> {
  for (const path of paths) {
    try {
      // A SCSI page begins with four bytes that are not text.
      const text = (await readFile(path, 'latin1')).replace(/[^\x20-\x7e]+/g, '').trim();
      if (text !== '') return text;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== 'ENOENT' && code !== 'ENOTDIR' && code !== 'EINVAL' && code !== 'EIO') throw error;
    }
  }
  return undefined;
}

/** SHA-256 (hex) of ranges of an image; ranges may be unsorted and are hashed in their order. */
export async function hashRanges(
  image: ImageSource,
  ranges: readonly { readonly offset: number; readonly length: number }[],
): Promise<string> {
  const hash = createHash('sha256');
  for (const { offset, length } of ranges) {
    const bytes = new Uint8Array(length);
    await image.read(bytes, offset);
    hash.update(`${offset}+${length}:`).update(bytes);
  }
  return hash.digest('hex');
}
