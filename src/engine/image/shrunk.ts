/**
 * Whether a loop device has lost the end of its file: the kernel keeps the device's size when the file is cut off, and reads zeros
 * where there is nothing any more, without an error.
 */
import { stat } from 'node:fs/promises';
import { IoError } from '../errors.ts';
import { type DeviceNode, existingNodes } from './devices.ts';
import { ImageIoError } from './errors.ts';
import { parseSpec } from './spec.ts';
import { storageBelow } from './storage.ts';
import { readOptional } from './sysfs.ts';

const SECTOR = 512;

/** The file below a loop device ends before the device does. */
export class ShrunkBelowError extends IoError {
  constructor(image: string, file: string, size: number, needed: number) {
    super(`${image} is shorter than it says: the file below it, ${file}, has ${size} bytes instead of ${needed}`, {
      code: 'IMAGE_SHRUNK',
      todo: 'It was cut off under its loop device, which reads zeros there. Restore the file, attach it again, and run the same command again.',
      data: { image, file, size, needed },
    });
  }
}

/** For all loop devices below `text`, a path, a part of one, or an URI (of which nothing is known). @throws ShrunkBelowError, ImageIoError */
export async function refuseShrunk(text: string): Promise<void> {
  const { base } = await parseSpec(text);
  if (base.kind !== 'path') return;
  const { links } = await storageBelow(base.path);
  for (const { from, to } of links.filter(({ kind }) => kind === 'loop')) await checkLoop(text, from, to);
}

async function checkLoop(image: string, { block }: DeviceNode, { id, path }: DeviceNode): Promise<void> {
  // Deleted or in another mount namespace: its size cannot be asked for.
  const [found] = await existingNodes([path]);
  if (found?.id !== id) return;
  const number = (name: string): number => Number(readOptional(`/sys/class/block/${block}/${name}`) ?? 0);
  const needed = number('loop/offset') + number('size') * SECTOR;
  const stats = await stat(path).catch((cause) => {
    throw new ImageIoError(image, 'examine', { cause });
  });
  if (stats.isFile() && stats.size < needed) throw new ShrunkBelowError(image, path, stats.size, needed);
}
