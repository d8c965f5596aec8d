/** An OCI image layout in a directory. */
import { constants } from 'node:fs';
import { type FileHandle, link, lstat, mkdir, open, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { RefusedError } from '../errors.ts';
import { SystemCallError, syncFileSystem, tryLock } from '../native/libc.ts';
import { ArchiveBusyError, ArchiveCorruptError, ArchiveExistsError, ArchiveIoError } from './errors.ts';
import { blobPath, type Descriptor, LARGEST_DOCUMENT, layoutFile } from './oci.ts';
import { readInto, roomFor } from './read-into.ts';
import type { BlobSink, BlobSource } from './store.ts';
import { checkDigest, checkSize } from './verified.ts';
import { write } from './written-back.ts';

export const BLOBS = 'blobs/sha256';
/** What is being written has another name. */
export const UNFINISHED = '.doppel-part';

export class DirectorySource implements BlobSource {
  readonly name: string;

  constructor(path: string) {
    this.name = path;
  }

  document(path: string): Promise<Uint8Array> {
    return this.#reading(path, async (file, size) => {
      if (size > LARGEST_DOCUMENT) throw new ArchiveCorruptError(this.name, path, `has ${size} bytes, more than it can have`);
      const bytes = new Uint8Array(size);
      return bytes.subarray(0, await readInto(file, bytes, 0));
    });
  }

  async blob(descriptor: Pick<Descriptor, 'digest' | 'size'>, room?: Uint8Array): Promise<Uint8Array> {
    return this.#reading(blobPath(descriptor.digest), async (file, size) => {
      checkSize(this.name, descriptor, size);
      const bytes = roomFor(size, room);
      checkSize(this.name, descriptor, await readInto(file, bytes, 0));
      checkDigest(this.name, descriptor.digest, bytes);
      return bytes;
    });
  }

  fileOf(digest: string): string {
    return join(this.name, blobPath(digest));
  }

  async close(): Promise<void> {}

  async #reading<T>(path: string, action: (file: FileHandle, size: number) => Promise<T>): Promise<T> {
    try {
      // Opening a pipe that nobody writes to would wait for ever.
      const file = await open(join(this.name, path), constants.O_RDONLY | constants.O_NONBLOCK);
      try {
        const stats = await file.stat();
        if (!stats.isFile()) throw new ArchiveCorruptError(this.name, path, 'is no file');
        return await action(file, stats.size);
      } finally {
        await file.close();
      }
    } catch (error) {
      throw this.#failed(path, error);
    }
  }

  #failed(path: string, error: unknown): unknown {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return new ArchiveCorruptError(this.name, path, 'is missing', error);
    return code?.startsWith('E') ? new ArchiveIoError(this.name, `reading ${path} of`, error) : error;
  }
}

/** For whoever changes it; closing lets go of it. @throws ArchiveBusyError, the errors of node:fs */
export async function openLocked(path: string): Promise<FileHandle> {
  const folder = await open(path);
  if (isFree(folder)) return folder;
  await folder.close();
  throw new ArchiveBusyError(path);
}

/** Also where the file system has no locks. */
export function isFree(folder: FileHandle): boolean {
  try {
    return tryLock(folder.fd);
  } catch (error) {
    if (error instanceof SystemCallError) return true;
    throw error;
  }
}

export class DirectorySink implements BlobSink {
  readonly name: string;
  /** Opened before anything is written: from then on it knows what could not be. */
  readonly #folder: FileHandle;

  private constructor(path: string, folder: FileHandle) {
    this.name = path;
    this.#folder = folder;
  }

  /**
   * A directory that is not there yet, is empty, or holds what a run left that was interrupted.
   * @throws ArchiveExistsError, ArchiveBusyError, ArchiveIoError
   */
  static async create(path: string): Promise<DirectorySink> {
    const failed = (error: unknown): never => {
      throw error instanceof RefusedError ? error : new ArchiveIoError(path, 'making', error);
    };
    const there = await stat(path).catch(() => undefined);
    if (there !== undefined && !there.isDirectory()) throw new ArchiveExistsError(path);
    await mkdir(path, { recursive: true }).catch(failed);
    const folder = await openLocked(path).catch(failed);
    try {
      const names = await readdir(path);
      if (names.length > 0 && (names.includes('index.json') || !names.includes('oci-layout'))) throw new ArchiveExistsError(path);
      await writeFile(join(path, 'oci-layout'), layoutFile);
      await mkdir(join(path, BLOBS), { recursive: true });
      return new DirectorySink(path, folder);
    } catch (error) {
      await folder.close();
      return failed(error);
    }
  }

  async put({ digest }: Descriptor, bytes: Uint8Array): Promise<void> {
    await this.#write(blobPath(digest), bytes);
  }

  /** As a hard link, which file systems refuse for many reasons. Of others, who could change it later, nothing is linked. */
  async link(digest: string, file: string): Promise<boolean> {
    const place = join(this.name, blobPath(digest));
    try {
      const stats = await lstat(file);
      if (!stats.isFile() || stats.uid !== process.geteuid?.()) return false;
      // What a run has left that was interrupted may not be whole.
      await rm(place, { force: true });
      await link(file, place);
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).syscall === undefined) throw error;
      return false;
    }
  }

  async finish(index: Uint8Array): Promise<void> {
    await this.#sync();
    await this.#write('index.json', index);
    await this.#sync();
    await this.#folder.close();
  }

  /** Without an index nobody takes it for an archive, and the next run goes on in it. */
  async abort(): Promise<void> {
    await rm(join(this.name, 'index.json'), { force: true }).catch(() => {});
    await this.#folder.close().catch(() => {});
  }

  async #write(path: string, bytes: Uint8Array): Promise<void> {
    const place = join(this.name, path);
    try {
      const file = await open(place + UNFINISHED, 'w');
      await write(file, bytes, 0).finally(() => file.close());
      await rename(place + UNFINISHED, place);
    } catch (error) {
      throw new ArchiveIoError(this.name, `writing ${path} of`, error);
    }
  }

  async #sync(): Promise<void> {
    await syncFileSystem(this.#folder.fd).catch((error: unknown) => {
      throw new ArchiveIoError(this.name, 'flushing', error);
    });
  }
}
