/**
 * Reading what the medium holds rather than what the page cache remembers: O_DIRECT where the file system has it, else the
 * cached pages are dropped first and mincore(2) must agree that they are gone; what is cached later came from the medium.
 * A loop device caches once more in its backing file, which is dropped in the same way.
 */
import { constants, type FileHandle, open } from 'node:fs/promises';
import { dropCache, residentPages } from '../native/libc.ts';
import { alignedBuffers } from './aligned.ts';
import type { CacheBypass, ReadBack } from './contract.ts';
import { ImageIoError } from './errors.ts';
import { rawIo, readFully } from './raw-io.ts';
import { blockName, loopBackingFile } from './users.ts';

const PAGE = 4096;
const BOUNCE = 1 << 20;
const MINCORE_STEP = 1 << 30;

/** `size` is the image's, in bytes. @throws ImageIoError when the path cannot be opened for reading. */
export async function openReadBack(path: string, size: number): Promise<ReadBack> {
  const direct = await openDirect(path);
  const file = direct ?? (await open(path, constants.O_RDONLY));
  const dropped = (direct !== undefined || (await dropAll(file, size))) && (await dropBackingFile(path));
  return new FileReadBack(path, size, file, direct !== undefined, dropped);
}

class FileReadBack implements ReadBack {
  readonly bypass: CacheBypass;
  readonly #path: string;
  readonly #size: number;
  readonly #file: FileHandle;
  readonly #direct: boolean;
  readonly #bounce = alignedBuffers(1, BOUNCE)[0] as Uint8Array;
  #turn: Promise<unknown> = Promise.resolve();
  #closing: Promise<void> | undefined;

  constructor(path: string, size: number, file: FileHandle, direct: boolean, dropped: boolean) {
    this.#path = path;
    this.#size = size;
    this.#file = file;
    this.#direct = direct;
    this.bypass = !dropped ? 'none' : direct ? 'direct' : 'dropped';
  }

  async read(into: Uint8Array, offset: number): Promise<void> {
    const aligned = offset % PAGE === 0 && into.length % PAGE === 0 && into.byteOffset % PAGE === 0;
    if (!this.#direct || aligned) return readFully(rawIo(this.#file), this.#path, into, offset);
    const mine = this.#turn.then(() => this.#readBounced(into, offset));
    this.#turn = mine.catch(() => undefined);
    return mine;
  }

  close(): Promise<void> {
    this.#closing ??= this.#file.close();
    return this.#closing;
  }

  /** Direct reads move whole pages; at the end of the image the kernel answers what is left. */
  async #readBounced(into: Uint8Array, offset: number): Promise<void> {
    for (let done = 0; done < into.length; ) {
      const start = Math.floor((offset + done) / PAGE) * PAGE;
      const skip = offset + done - start;
      const length = Math.min(BOUNCE, Math.ceil((skip + into.length - done) / PAGE) * PAGE);
      const got = (await this.#file.read(this.#bounce, 0, length, start)).bytesRead;
      if (got < Math.min(length, this.#size - start)) {
        throw new ImageIoError(this.#path, 'read', { offset: start, length, detail: `only ${got} bytes came back` });
      }
      const part = this.#bounce.subarray(skip, Math.min(got, skip + into.length - done));
      into.set(part, done);
      done += part.length;
    }
  }
}

/** Undefined where the file system has no O_DIRECT (tmpfs before Linux 6.6, some FUSE and network file systems). */
async function openDirect(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, constants.O_RDONLY | constants.O_DIRECT);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EINVAL') return undefined;
    throw new ImageIoError(path, 'open', { cause });
  }
}

/** Whether the backing file's cache is known to be gone; true when there is none. */
async function dropBackingFile(path: string): Promise<boolean> {
  const block = await blockName(path);
  const backing = block === undefined ? undefined : await loopBackingFile(block);
  if (backing === undefined) return true;
  const file = await open(backing, constants.O_RDONLY);
  try {
    await file.sync();
    return await dropAll(file, (await file.stat()).size);
  } finally {
    await file.close();
  }
}

/** Whether mincore(2) agrees that no page is left. */
async function dropAll(file: FileHandle, size: number): Promise<boolean> {
  await dropCache(file.fd, 0, size);
  for (let offset = 0; offset < size; offset += MINCORE_STEP) {
    if (residentPages(file.fd, offset, Math.min(MINCORE_STEP, size - offset)) > 0) return false;
  }
  return true;
}
