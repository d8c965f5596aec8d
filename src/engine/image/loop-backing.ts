/** The file behind a loop device: it caches what is written to the device, however it was written there. */
import { constants, type FileHandle, open } from 'node:fs/promises';
import { loopBacking } from '../native/loop-device.ts';
import { loopBackingNode, nodeOf } from './devices.ts';

export interface BackingFile {
  /** Open for hints only. */
  readonly file: FileHandle;
  /** Where in it the device begins, in bytes. */
  readonly offset: number;
}

/** Undefined for what is no loop device, for one that goes past that cache, and for a file that cannot be opened or is not the one. */
export async function openBackingFile(path: string, device: FileHandle): Promise<BackingFile | undefined> {
  const { block } = await nodeOf(path);
  const node = block === undefined ? undefined : await loopBackingNode(block);
  const backing = node === undefined ? undefined : loopBacking(device.fd);
  if (node === undefined || backing === undefined || backing.directIo) return undefined;
  const file = await open(node.path, constants.O_RDONLY | constants.O_NONBLOCK).catch(() => undefined);
  const stats = await file?.stat({ bigint: true });
  if (file !== undefined && stats?.dev === backing.device && stats.ino === backing.inode) return { file, offset: backing.offset };
  await file?.close();
  return undefined;
}
