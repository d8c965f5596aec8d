/** An OCI image layout as a tar that is written from the front to the end: a file, or a pipe. */
import { open, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type Pack, pack } from 'tar-stream';
import { ArchiveExistsError, ArchiveIoError } from './errors.ts';
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
  /** Where the file stands until it is finished; none for a pipe. */
  readonly #unfinished: string | undefined;

  private constructor(name: string, destination: Writable, unfinished?: string) {
    this.name = name;
    this.#unfinished = unfinished;
    // Whose end the destination's is: a file's, not that of standard output.
    this.#flow = pipeline(this.#tar, destination, { end: unfinished !== undefined });
    // An entry waits for ever when nobody takes it any more.
    this.#flow.catch(() => this.#tar.destroy());
  }

  /** @throws ArchiveExistsError, ArchiveIoError */
  static async toFile(path: string): Promise<TarSink> {
    const there = await stat(path).catch(() => undefined);
    if (there !== undefined) throw new ArchiveExistsError(path);
    const unfinished = path + UNFINISHED;
    // What an interrupted run has left, or a link that somebody has laid there, is not written through.
    await rm(unfinished, { force: true }).catch(() => {});
    const file = await open(unfinished, 'wx').catch((error: unknown) => {
      throw new ArchiveIoError(path, 'making', error);
    });
    const sink = new TarSink(path, writtenFile(file), unfinished);
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
      await rename(this.#unfinished, this.name);
      const folder = await open(dirname(this.name));
      await folder.sync().finally(() => folder.close());
    } catch (error) {
      throw new ArchiveIoError(this.name, 'writing', error);
    }
  }

  async abort(): Promise<void> {
    this.#tar.destroy();
    await this.#flow.catch(() => {});
    if (this.#unfinished !== undefined) await rm(this.#unfinished, { force: true }).catch(() => {});
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
