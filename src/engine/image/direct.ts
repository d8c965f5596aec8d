/** Descriptors that go past the page cache (O_DIRECT): whole pages between aligned memory and the medium. */
import { constants, type FileHandle, open } from 'node:fs/promises';
import { ImageIoError } from './errors.ts';

/** `flags` as of open(2). Undefined where the file system has no O_DIRECT (tmpfs before Linux 6.6, some FUSE and network file systems). */
export async function openDirect(path: string, flags: number): Promise<FileHandle | undefined> {
  try {
    return await open(path, flags | constants.O_DIRECT);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EINVAL') return undefined;
    throw new ImageIoError(path, 'open', { cause });
  }
}
