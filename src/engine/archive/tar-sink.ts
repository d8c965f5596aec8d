/** An OCI image layout as a tar that is written from the front to the end: a file, or a pipe. */
import { constants } from 'node:fs';
import { type FileHandle, link, lstat, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type Pack, pack } from 'tar-stream';
import { isFree } from './directory.ts';
import { ArchiveBusyError, ArchiveExistsError, ArchiveIoError } from './errors.ts';
import { blobPath, type Descriptor, layoutFile } from './oci.ts';
import type { BlobSink } from './store.ts';
import { writtenFile } from './written-back.ts';

/** What is being written has another name. */
const UNFINISHED = '.doppel-part';

export class TarSink implements BlobSink {
  readonly name: string;
  readonly #tar: Pack = pack();
  /** Rejects when the destination fails, at whatever entry that is. */
  readonly #flow: Promise<void>;
  /** The file and where it stands until it is finished; none for a pipe. */
  readonly #unfinished: { readonly path: string; readonly file: FileHandle } | undefined;

  private constructor(name: string, destination: Writable, unfinished?: { readonly path: string; readonly file: FileHandle }) {
    this.name = name;
    this.#unfinished = unfinished;
    this.#flow = pipeline(this.#tar, destination);
    // An entry waits for ever when nobody takes it any more.
    this.#flow.catch(() => this.#tar.destroy());
  }

  /** @throws ArchiveExistsError, ArchiveBusyError when somebody else is making it, ArchiveIoError */
  static async toFile(path: string): Promise<TarSink> {
    const there = await lstat(path).catch(() => undefined);
    if (there !== undefined) throw new ArchiveExistsError(path);
    const unfinished = path + UNFINISHED;
    const file = await newFile(path, unfinished).catch((error: unknown) => {
      throw error instanceof ArchiveBusyError ? error : new ArchiveIoError(path, 'making', error);
    });
    const sink = new TarSink(path, writtenFile(file), { path: unfinished, file });
    await sink.#entry('oci-layout', Buffer.from(layoutFile));
    return sink;
  }

  /** `name` is for messages. */
  static async toStream(name: string, destination: Writable): Promise<TarSink> {
    const sink = new TarSink(name, destination);
    await sink.#entry('oci-layout', Buffer.from(layoutFile));
    return sink;
  }

  put({ digest }: Descriptor, bytes: Uint8Array, attributes: Readonly<Record<string, string>> = {}): Promise<void> {
    return this.#entry(blobPath(digest), bytes, attributes);
  }

  async finish(index: Uint8Array): Promise<void> {
    await this.#entry('index.json', index);
    this.#tar.finalize();
    try {
      await this.#flow;
      if (this.#unfinished === undefined) return;
      await publish(this.#unfinished.path, this.name);
      const folder = await open(dirname(this.name));
      await folder.sync().finally(() => folder.close());
      await this.#unfinished.file.close();
    } catch (error) {
      throw error instanceof ArchiveExistsError ? error : new ArchiveIoError(this.name, 'writing', error);
    }
  }

  async abort(): Promise<void> {
    this.#tar.destroy();
    await this.#flow.catch(() => {});
    if (this.#unfinished === undefined) return;
    await rm(this.#unfinished.path, { force: true }).catch(() => {});
    await this.#unfinished.file.close().catch(() => {});
  }

  /** Returns when the bytes are on their way, so that no more than a few entries are held. */
  async #entry(name: string, bytes: Uint8Array, pax: Readonly<Record<string, string>> = {}): Promise<void> {
    const header = {
      name,
      size: bytes.length,
      mode: 0o644,
      mtime: new Date(0),
      ...(Object.keys(pax).length === 0 ? {} : { pax: { ...pax } }),
    };
    try {
      await new Promise<void>((resolve, reject) => {
        const entry = this.#tar.entry(header, (error) => (error ? reject(error) : resolve()));
        entry.on('error', reject);
        entry.end(bytes);
      });
    } catch (error) {
      // What the destination said tells more.
      await this.#flow.catch((reason: unknown) => {
        throw new ArchiveIoError(this.name, 'writing', reason);
      });
      throw error;
    }
  }
}

/** Locked as long as it is open. What an interrupted run has left, or a link that somebody has laid there, is not written through. */
async function newFile(archive: string, path: string): Promise<FileHandle> {
  const old = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW).catch(() => undefined);
  const free = old === undefined || isFree(old);
  await old?.close();
  if (!free) throw new ArchiveBusyError(archive);
  await rm(path, { force: true });
  const file = await open(path, 'wx');
  isFree(file);
  return file;
}

/** Never over something that stands there by now. @throws ArchiveExistsError */
async function publish(from: string, to: string): Promise<void> {
  try {
    await link(from, to);
    await rm(from);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') throw new ArchiveExistsError(to);
    if (code !== 'EPERM' && code !== 'ENOTSUP' && code !== 'EMLINK') throw error;
    // A file system without links.
    if ((await lstat(to).catch(() => undefined)) !== undefined) throw new ArchiveExistsError(to);
    await rename(from, to);
  }
}
