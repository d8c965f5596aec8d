/** Opens what the user named as a source or a target, after asking who else uses it. */
import { stat } from 'node:fs/promises';
import { BlockImage } from './block.ts';
import { ImageInUseError, ImageIoError, NotAnImageError, openFailed, TruncatedImageError } from './errors.ts';
import { FileImage } from './file.ts';
import { formatHeadLength, refuseForeignFormat } from './format.ts';
import type { OpenImage, OpenMode } from './open-image.ts';
import { type ImageUser, imageUsers } from './users.ts';

export interface OpenSourceOptions {
  /** Take a source that others may change meanwhile; what comes out is no consistent state. */
  readonly allowInconsistent?: boolean;
}

export interface OpenedSource {
  readonly image: OpenImage;
  /** Who may write to it meanwhile; empty unless `allowInconsistent`. */
  readonly writers: readonly ImageUser[];
}

/**
 * Opens a source for reading, and locks it so that no other doppel takes it as its target meanwhile.
 * @throws ImageInUseError when it is mounted read-write, in use as swap, or a virtual machine runs from it
 * @throws ForeignFormatError, NotAnImageError, ImageIoError
 */
export async function openSource(path: string, options: OpenSourceOptions = {}): Promise<OpenedSource> {
  const kind = await kindOf(path);
  const writers = (await imageUsers(path)).filter((user) => user.writes);
  if (writers.length > 0 && options.allowInconsistent !== true) {
    throw sourceInUse(
      path,
      writers.map((user) => user.what),
    );
  }
  const image = await openRaw(path, kind, 'read');
  if (options.allowInconsistent === true || (await lockOrClose(image, 'shared'))) return { image, writers };
  throw sourceInUse(path, ['another process has locked it']);
}

/**
 * Opens a target for reading and writing, block devices exclusively.
 * @throws ImageInUseError when anybody uses it, ForeignFormatError, NotAnImageError, ImageIoError
 */
export async function openTarget(path: string): Promise<OpenImage> {
  const kind = await kindOf(path);
  const users = await imageUsers(path);
  if (users.length > 0)
    throw targetInUse(
      path,
      users.map((user) => user.what),
    );
  const image = await openRaw(path, kind, 'write').catch((error) => {
    const busy = error instanceof ImageIoError && (error.cause as NodeJS.ErrnoException)?.code === 'EBUSY';
    throw busy ? targetInUse(path, ['the kernel says that it is busy']) : error;
  });
  if (await lockOrClose(image, 'exclusive')) return image;
  throw targetInUse(path, ['another process has locked it']);
}

async function lockOrClose(image: OpenImage, mode: 'exclusive' | 'shared'): Promise<boolean> {
  let locked = false;
  try {
    locked = await image.lock(mode);
  } finally {
    if (!locked) await image.close();
  }
  return locked;
}

/** Opens an image only to look at it; nobody's use of it matters. */
export async function openForInspection(path: string): Promise<OpenImage> {
  return openRaw(path, await kindOf(path), 'read');
}

function sourceInUse(path: string, users: readonly string[]): ImageInUseError {
  const todo =
    'It could change while it is copied. Unmount it or shut the machine down, copy a snapshot of it (LVM, btrfs or QEMU), or pass --allow-inconsistent to copy every byte as it happens to be.';
  return new ImageInUseError(path, 'source', users, todo);
}

function targetInUse(path: string, users: readonly string[]): ImageInUseError {
  const todo =
    'Everything on it would be overwritten. Unmount and detach it first (umount, swapoff, losetup -d, vgchange -an), and make sure that it is the disk you mean.';
  return new ImageInUseError(path, 'target', users, todo);
}

async function openRaw(path: string, kind: 'file' | 'block', mode: OpenMode): Promise<OpenImage> {
  const image = kind === 'file' ? await FileImage.open(path, mode) : await BlockImage.open(path, mode);
  try {
    if (image.size === 0) throw new TruncatedImageError(path, image.size);
    // A disk that once held an archive may be overwritten; a file in another format would be destroyed as a container.
    if (kind === 'file' || mode === 'read') {
      const head = new Uint8Array(Math.min(formatHeadLength, image.size));
      const tail = new Uint8Array(head.length);
      await image.read(head, 0);
      await image.read(tail, image.size - tail.length);
      refuseForeignFormat(path, head, kind === 'file' ? tail : undefined);
    }
    if (image.size % 512 !== 0) throw new TruncatedImageError(path, image.size);
    return image;
  } catch (error) {
    await image.close();
    throw error;
  }
}

async function kindOf(path: string): Promise<'file' | 'block'> {
  const stats = await stat(path).catch(openFailed(path));
  if (stats.isFile()) return 'file';
  if (stats.isBlockDevice()) return 'block';
  throw new NotAnImageError(
    path,
    stats.isDirectory() ? 'a directory' : stats.isCharacterDevice() ? 'a character device' : 'a pipe or socket',
  );
}
