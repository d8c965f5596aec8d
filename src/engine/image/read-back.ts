/**
 * Reading what the medium holds rather than what the page cache remembers: the cached pages are dropped, and O_DIRECT goes
 * past them where the file system has it; elsewhere the kernel must agree that they are gone: what is cached later came from
 * the medium. What loop devices below the image cache once more in their backing files is dropped in the same way.
 */
import { constants, type FileHandle, open } from 'node:fs/promises';
import { blockGeometry } from '../native/block-device.ts';
import { dropCache, residentPages } from '../native/libc.ts';
import { alignedBuffers, isPageAligned, PAGE } from './aligned.ts';
import { type ByteRange, type CacheBypass, end, type ReadBack } from './contract.ts';
import { type DeviceNode, existingNodes } from './devices.ts';
import { openDirect } from './direct.ts';
import { ImageIoError, isMediumError, openFailed } from './errors.ts';
import { checkRange, rawIo, readFully } from './raw-io.ts';
import { storageBelow } from './storage.ts';
import { isMissing } from './sysfs.ts';

const BOUNCE = 1 << 20;
/** The smallest that direct reads may ask for. */
const SECTOR = 512;

/**
 * `size` is the image's, in bytes. Where only some ranges will be read, the rest stays cached if it can: whoever compares will want it.
 * @throws ImageIoError when the path cannot be opened for reading
 */
export async function openReadBack(path: string, size: number, only?: readonly ByteRange[]): Promise<ReadBack> {
  const direct = await openDirect(path, constants.O_RDONLY);
  const file = direct ?? (await open(path, constants.O_RDONLY).catch(openFailed(path)));
  try {
    // Where O_DIRECT is accepted and then done through the cache after all (FUSE, ext4 with data=journal), dropping helps.
    const here = direct === undefined ? await dropAll(file, size) : await drop(file, only).then(() => true);
    const below = await dropBelow(path);
    const bypass = !here || !below ? 'none' : direct === undefined ? 'dropped' : 'direct';
    return new FileReadBack(path, size, file, direct !== undefined, bypass);
  } catch (cause) {
    await file.close();
    throw cause instanceof ImageIoError ? cause : new ImageIoError(path, 'read', { offset: 0, length: size, cause });
  }
}

/**
 * Drops what the page cache holds of a file and of what loop devices below it stand on; whether all of that is known to be gone.
 * @throws ImageIoError
 */
export async function dropCached(path: string): Promise<boolean> {
  const file = await open(path, constants.O_RDONLY).catch(openFailed(path));
  try {
    const here = await dropAll(file, await sizeOf(file));
    return (await dropBelow(path)) && here;
  } catch (cause) {
    throw cause instanceof ImageIoError ? cause : new ImageIoError(path, 'read', { cause });
  } finally {
    await file.close();
  }
}

class FileReadBack implements ReadBack {
  readonly bypass: CacheBypass;
  readonly #path: string;
  readonly #size: number;
  readonly #file: FileHandle;
  readonly #direct: boolean;
  #closing: Promise<void> | undefined;

  constructor(path: string, size: number, file: FileHandle, direct: boolean, bypass: CacheBypass) {
    this.#path = path;
    this.#size = size;
    this.#file = file;
    this.#direct = direct;
    this.bypass = bypass;
  }

  async read(into: Uint8Array, offset: number): Promise<void> {
    if (this.#closing !== undefined) {
      throw new ImageIoError(this.#path, 'read', { offset, length: into.length, detail: 'the image was closed' });
    }
    checkRange(this.#path, 'read', offset, into.length, this.#size);
    const aligned = offset % PAGE === 0 && into.length % PAGE === 0 && isPageAligned(into);
    if (!this.#direct || aligned) return readFully(rawIo(this.#file), this.#path, into, offset);
    try {
      await this.#readBounced(into, offset);
    } catch (error) {
      if (!isMediumError(error) || !(await this.#readSectors(into, offset))) throw error;
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#file.close();
    return this.#closing;
  }

  /** Direct reads move whole pages into aligned memory; at the end of the image the kernel gives what is left. */
  async #readBounced(into: Uint8Array, offset: number): Promise<void> {
    const widest = Math.min(BOUNCE, into.length + 2 * PAGE);
    const [bounce] = alignedBuffers(1, Math.ceil(widest / PAGE) * PAGE) as [Uint8Array];
    for (let done = 0; done < into.length; ) {
      const start = Math.floor((offset + done) / PAGE) * PAGE;
      const skip = offset + done - start;
      const take = Math.min(bounce.length - skip, into.length - done);
      const pages = bounce.subarray(0, Math.ceil((skip + take) / PAGE) * PAGE);
      const got = await this.#readPages(pages, start);
      if (got < skip + take) {
        const detail = `only ${got} bytes came back: was the image truncated?`;
        throw new ImageIoError(this.#path, 'read', { offset: start, length: pages.length, detail });
      }
      into.set(bounce.subarray(skip, skip + take), done);
      done += take;
    }
  }

  /** Without the rest of the pages, which may be what fails; false when that cannot be asked for. */
  async #readSectors(into: Uint8Array, offset: number): Promise<boolean> {
    if (offset % SECTOR !== 0 || into.length % SECTOR !== 0 || into.length > BOUNCE) return false;
    const [bounce] = alignedBuffers(1, Math.ceil(into.length / PAGE) * PAGE) as [Uint8Array];
    const sectors = bounce.subarray(0, into.length);
    try {
      await readFully(rawIo(this.#file), this.#path, sectors, offset);
    } catch (error) {
      // The medium has larger sectors: it was asked for whole ones already.
      if (((error as Error).cause as NodeJS.ErrnoException | undefined)?.code === 'EINVAL') return false;
      throw error;
    }
    into.set(sectors);
    return true;
  }

  async #readPages(pages: Uint8Array, offset: number): Promise<number> {
    try {
      return await rawIo(this.#file).read(pages, offset);
    } catch (cause) {
      throw new ImageIoError(this.#path, 'read', { offset, length: pages.length, cause });
    }
  }
}

/** Drops what loop devices below the image have cached; whether all of that is known to be gone. */
async function dropBelow(path: string): Promise<boolean> {
  const { links } = await storageBelow(path);
  let gone = true;
  for (const { to } of links.filter(({ kind }) => kind === 'loop')) gone = (await dropBacking(to)) && gone;
  return gone;
}

async function dropBacking({ id, path }: DeviceNode): Promise<boolean> {
  // Deleted, or in another mount namespace: then nobody knows what is cached.
  const [found] = await existingNodes([path]);
  if (found?.id !== id) return false;
  let file: FileHandle;
  try {
    file = await open(path, constants.O_RDONLY);
  } catch (cause) {
    if (isMissing(cause) || (cause as NodeJS.ErrnoException).code === 'EACCES') return false;
    throw new ImageIoError(path, 'open', { cause });
  }
  try {
    return await dropAll(file, await sizeOf(file));
  } finally {
    await file.close();
  }
}

/** Bytes; stat(2) knows it only of regular files. */
async function sizeOf(file: FileHandle): Promise<number> {
  const stats = await file.stat();
  return stats.isBlockDevice() ? blockGeometry(file.fd).size : stats.size;
}

/** Whether the kernel agrees that no page is left. Pages that are being read or written just then stay, hence the attempts. */
async function dropAll(file: FileHandle, size: number): Promise<boolean> {
  for (let attempt = 0; attempt < 3; attempt++) {
    await drop(file);
    if (residentPages(file.fd, 0, size) === 0) return true;
  }
  return false;
}

/** As posix_fadvise(2) has it: to the end. */
const everything: ByteRange = { offset: 0, length: 0 };

async function drop(file: FileHandle, only: readonly ByteRange[] = [everything]): Promise<void> {
  try {
    await file.sync();
  } catch (error) {
    // A file system that cannot be written (squashfs) has nothing to sync.
    if ((error as NodeJS.ErrnoException).code !== 'EINVAL') throw error;
  }
  for (const range of only) {
    const start = Math.floor(range.offset / PAGE) * PAGE;
    await dropCache(file.fd, start, range.length === 0 ? 0 : Math.ceil(end(range) / PAGE) * PAGE - start);
  }
}
