/** An OCI image layout in a tar file, read in any order: its entries are found by their headers. */
import { readSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { BlobPlaces, type Place } from './blob-places.ts';
import { ArchiveCorruptError, ArchiveIoError } from './errors.ts';
import { blobPath, type Descriptor, LARGEST_DOCUMENT } from './oci.ts';
import { readInto, roomFor } from './read-into.ts';
import type { BlobSource } from './store.ts';
import { type TarBytes, tarEntries } from './tar-entries.ts';
import { checkDigest, checkSize, LARGEST_BLOB } from './verified.ts';

const BLOBS = 'blobs/sha256/';

interface Places {
  readonly blobs: BlobPlaces;
  /** By their paths. */
  readonly documents: ReadonlyMap<string, Place>;
}

export class TarSource implements BlobSource {
  readonly name: string;
  readonly #file: FileHandle;
  readonly #places: Places;

  private constructor(name: string, file: FileHandle, places: Places) {
    this.name = name;
    this.#file = file;
    this.#places = places;
  }

  /** @throws NotAnArchiveError, ArchiveCorruptError, ArchiveIoError */
  static async open(path: string): Promise<TarSource> {
    const failed = (error: unknown): never => {
      throw (error as NodeJS.ErrnoException).syscall === undefined ? error : new ArchiveIoError(path, 'reading', error);
    };
    const file = await open(path).catch(failed);
    try {
      const blobs = new BlobPlaces();
      const documents = new Map<string, Place>();
      // Of entries with one name the first counts: the others are the same, or not what their name says.
      for await (const { path: name, offset, size } of tarEntries(path, bytesOf(file.fd, (await file.stat()).size))) {
        const place = { offset, size };
        if (name.startsWith(BLOBS)) blobs.add(name.slice(BLOBS.length), place);
        else if (!documents.has(name)) documents.set(name, place);
      }
      return new TarSource(path, file, { blobs, documents });
    } catch (error) {
      await file.close();
      return failed(error);
    }
  }

  async document(path: string): Promise<Uint8Array> {
    return this.#read(path, this.#place(path), LARGEST_DOCUMENT);
  }

  async blob(descriptor: Pick<Descriptor, 'digest' | 'size'>, room?: Uint8Array): Promise<Uint8Array> {
    const path = blobPath(descriptor.digest);
    const place = this.#place(path);
    checkSize(this.name, descriptor, place.size);
    const bytes = await this.#read(path, place, LARGEST_BLOB, room);
    checkDigest(this.name, descriptor.digest, bytes);
    return bytes;
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  #place(path: string): Place {
    const { blobs, documents } = this.#places;
    const place = path.startsWith(BLOBS) ? blobs.get(path.slice(BLOBS.length)) : documents.get(path);
    if (place === undefined) throw new ArchiveCorruptError(this.name, path, 'is missing');
    return place;
  }

  async #read(path: string, { offset, size }: Place, most: number, room?: Uint8Array): Promise<Uint8Array> {
    if (size > most) throw new ArchiveCorruptError(this.name, path, `has ${size} bytes, more than it can have`);
    const bytes = roomFor(size, room);
    const found = await readInto(this.#file, bytes, offset).catch((error: unknown) => {
      throw new ArchiveIoError(this.name, `reading ${path} of`, error);
    });
    if (found < size) throw new ArchiveCorruptError(this.name, path, `ends after ${found} of its ${size} bytes`);
    return bytes;
  }
}

/** Synchronous: an archive has thousands of headers, and each is a few bytes. */
function bytesOf(fd: number, size: number): TarBytes {
  let offset = 0;
  return {
    get offset() {
      return offset;
    },
    async read(into) {
      const length = offset + into.length > size ? 0 : readSync(fd, into, 0, into.length, offset);
      offset += length;
      return length === into.length;
    },
    async skip(length) {
      offset = Math.min(size, offset + length);
      return offset < size || length === 0;
    },
  };
}
