/** Which disk this is: what a careful person compares before overwriting it. From sysfs and udev's database. */

import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import type { ImageSource } from './contract.ts';
import { blockName } from './users.ts';

export interface ImageIdentity {
  readonly path: string;
  readonly kind: 'file' | 'block';
  /** Bytes. */
  readonly size: number;
  readonly sectorSize: number;
  readonly model?: string;
  readonly serial?: string;
  readonly wwn?: string;
}

/** @throws the error of stat(2) when the path is gone. */
export async function imageIdentity(path: string, size: number, sectorSize: number): Promise<ImageIdentity> {
  const name = (await stat(path)).isBlockDevice() ? await blockName(path) : undefined;
  if (name === undefined) return { path, kind: 'file', size, sectorSize };
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
