/**
 * Folders for a while that do not outlive their process for long: each carries a lock that the kernel lets go of when the process
 * ends, however it ends, and whoever makes the next one of that kind removes those whose lock is free.
 */
import { constants, type FileHandle, lstat, mkdtemp, open, readdir, rm, rmdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { SystemCallError, tryLock } from '../native/libc.ts';

const leases = new Map<string, FileHandle>();

/** `prefix` is a path, to which six random characters are added. @throws the errors of node:fs */
export async function leasedFolder(prefix: string): Promise<string> {
  await removeAbandoned(prefix);
  for (;;) {
    const folder = await mkdtemp(prefix);
    const lease = await lock(folder);
    if (lease === undefined) continue;
    leases.set(folder, lease);
    return folder;
  }
}

/** Removes the folder and the files in it; never what is in folders inside, where something may still be mounted. */
export async function endLease(folder: string): Promise<void> {
  try {
    await empty(folder);
    await rmdir(folder);
  } finally {
    await leases.get(folder)?.close();
    leases.delete(folder);
  }
}

/** Undefined when somebody took the new folder for an abandoned one, and it is gone. */
async function lock(folder: string): Promise<FileHandle | undefined> {
  const handle = await openFolder(folder);
  if (handle === undefined) return undefined;
  const standing = isLocked(handle) !== false && (await stands(folder));
  if (!standing) await handle.close();
  return standing ? handle : undefined;
}

async function stands(folder: string): Promise<boolean> {
  const again = await openFolder(folder);
  await again?.close();
  return again !== undefined;
}

/** Undefined where the file system has no locks. */
function isLocked(handle: FileHandle): boolean | undefined {
  try {
    return tryLock(handle.fd);
  } catch (error) {
    if (error instanceof SystemCallError) return undefined;
    throw error;
  }
}

async function removeAbandoned(prefix: string): Promise<void> {
  const parent = dirname(prefix);
  for (const name of await readdir(parent)) {
    const isOne = name.startsWith(basename(prefix)) && name.length === basename(prefix).length + 6;
    if (!isOne || leases.has(join(parent, name))) continue;
    const handle = await openFolder(join(parent, name));
    if (handle === undefined) continue;
    try {
      // Of others, who could put something else in its place meanwhile, nothing is touched.
      const mine = (await handle.stat()).uid === process.geteuid?.();
      if (mine && isLocked(handle) === true) await removeIfFree(join(parent, name));
    } finally {
      await handle.close();
    }
  }
}

async function removeIfFree(folder: string): Promise<void> {
  try {
    await empty(folder);
    await rmdir(folder);
  } catch (error) {
    // Somebody else is at it too, or a file system is still mounted there: then it goes the next time.
    if (!['ENOENT', 'ENOTEMPTY', 'EBUSY', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
}

async function empty(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    if ((await lstat(path)).isDirectory()) await rmdir(path);
    else await rm(path, { force: true });
  }
}

async function openFolder(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  } catch (error) {
    if (['ENOENT', 'EACCES', 'ENOTDIR', 'ELOOP'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
}
