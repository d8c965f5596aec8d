/** Writes an archive to a registry. Blobs are sent side by side; what names them follows when they are there, and the tag comes last. */
import { ArchiveExistsError } from '../errors.ts';
import { type Descriptor, isDocument, mediaTypes } from '../oci.ts';
import type { BlobSink } from '../store.ts';
import { anyManifest, type ClientOptions, RegistryClient } from './client.ts';
import { PinnedDestinationError } from './errors.ts';
import { drain } from './exchange.ts';
import type { Reference } from './reference.ts';
import { upload } from './upload.ts';

/** Under way at a time: blobs, and their bytes. */
const MOST_UPLOADS = 4;
const IN_FLIGHT = 64 << 20;

export class RegistrySink implements BlobSink {
  readonly name: string;
  readonly #client: RegistryClient;
  /** By their digests. */
  readonly #underWay = new Map<string, Promise<void>>();
  /** Of what is under way. */
  #bytes = 0;
  #present = 0;
  #failure: { readonly error: unknown } | undefined;
  #last: { readonly descriptor: Descriptor; readonly bytes: Uint8Array } | undefined;

  private constructor(client: RegistryClient) {
    this.#client = client;
    this.name = client.reference.text;
  }

  /** @throws PinnedDestinationError, ArchiveExistsError, and as RegistryClient tells */
  static async create(reference: Reference, options: Omit<ClientOptions, 'actions'>): Promise<RegistrySink> {
    if (reference.digest !== undefined) throw new PinnedDestinationError(reference.text);
    const client = await RegistryClient.of(reference, { ...options, actions: 'pull,push' });
    try {
      const asked = {
        method: 'HEAD' as const,
        place: `manifests/${reference.tag}`,
        headers: { accept: anyManifest },
        expected: [200, 404],
      };
      const status = await client.ask(asked, async (answer) => {
        await drain(answer);
        return answer.statusCode;
      });
      if (status === 200) throw new ArchiveExistsError(reference.text);
      return new RegistrySink(client);
    } catch (error) {
      client.close();
      throw error;
    }
  }

  get present(): number {
    return this.#present;
  }

  /** Returns when there is room for the next one. */
  async put(descriptor: Descriptor, bytes: Uint8Array): Promise<void> {
    if (isDocument(descriptor.mediaType)) {
      await this.#room(0, 0);
      await this.#putDocument(descriptor, bytes, descriptor.digest);
      this.#last = { descriptor, bytes };
      return;
    }
    const isSegment = descriptor.mediaType === mediaTypes.segment || descriptor.mediaType === mediaTypes.encryptedSegment;
    if (this.#underWay.has(descriptor.digest)) {
      if (isSegment) this.#present++;
      return;
    }
    await this.#room(MOST_UPLOADS - 1, IN_FLIGHT - bytes.length);
    this.#bytes += bytes.length;
    const done = upload(this.#client, descriptor, bytes)
      .then((sent) => {
        if (!sent && isSegment) this.#present++;
      })
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => {
        this.#bytes -= bytes.length;
        this.#underWay.delete(descriptor.digest);
      });
    this.#underWay.set(descriptor.digest, done);
  }

  /** The tag names what was put last, which names everything else. */
  async finish(): Promise<void> {
    if (this.#last === undefined) throw new TypeError('nothing was put that a tag could name');
    const { descriptor, bytes } = this.#last;
    await this.#putDocument(descriptor, bytes, this.#client.reference.tag);
    this.#client.close();
  }

  /** Without a tag nobody takes it for an archive; what has been sent need not be sent again. */
  async abort(): Promise<void> {
    this.#client.close();
    await Promise.all(this.#underWay.values());
  }

  async #room(uploads: number, bytes: number): Promise<void> {
    while (this.#underWay.size > 0 && (this.#underWay.size > uploads || this.#bytes > bytes))
      await Promise.race(this.#underWay.values());
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  async #putDocument({ mediaType }: Descriptor, body: Uint8Array, name: string): Promise<void> {
    const headers = { 'content-type': mediaType };
    await this.#client.ask({ method: 'PUT', place: `manifests/${name}`, headers, body, expected: [201] }, drain);
  }
}
