/** An archive in a registry. What a layout has in `index.json` is what the tag names. */
import type { IncomingMessage } from 'node:http';
import { ArchiveCorruptError, NotAnArchiveError } from '../errors.ts';
import { blobPath, isDocument, LARGEST_DOCUMENT, layoutFile, sha256 } from '../oci.ts';
import type { BlobSource, WantedBlob } from '../store.ts';
import { anyManifest, type ClientOptions, RegistryClient } from './client.ts';
import { download } from './download.ts';
import { chunksOf } from './exchange.ts';
import type { Reference } from './reference.ts';
import { PassingError } from './retry.ts';

export class RegistrySource implements BlobSource {
  readonly name: string;
  readonly #client: RegistryClient;
  #top: { readonly digest: string; readonly bytes: Uint8Array } | undefined;

  private constructor(client: RegistryClient) {
    this.#client = client;
    this.name = client.reference.text;
  }

  /** Nothing is asked yet. @throws LoginError */
  static async open(reference: Reference, options: Omit<ClientOptions, 'actions'>): Promise<RegistrySource> {
    return new RegistrySource(await RegistryClient.of(reference, { ...options, actions: 'pull' }));
  }

  /** A registry has no `oci-layout`. */
  async document(path: 'oci-layout' | 'index.json'): Promise<Uint8Array> {
    if (path === 'oci-layout') return Buffer.from(layoutFile);
    const { tag, digest: wanted } = this.#client.reference;
    const asked = {
      method: 'GET' as const,
      place: `manifests/${wanted ?? tag}`,
      headers: { accept: anyManifest },
      expected: [200],
    };
    const { bytes, mediaType } = await this.#client.ask(asked, (answer) => this.#manifest(answer));
    const digest = sha256(bytes);
    if (wanted !== undefined && digest !== wanted)
      throw new ArchiveCorruptError(this.name, blobPath(wanted), `has the digest ${digest}, which is not its name`);
    this.#top = { digest, bytes };
    return Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: [{ mediaType, digest, size: bytes.length }] }));
  }

  async blob(wanted: WantedBlob, room?: Uint8Array): Promise<Uint8Array> {
    const top = this.#top;
    return top?.digest === wanted.digest ? top.bytes : download(this.#client, wanted, room);
  }

  async close(): Promise<void> {
    this.#client.close();
  }

  async #manifest(answer: IncomingMessage): Promise<{ bytes: Uint8Array; mediaType: string }> {
    const mediaType = (answer.headers['content-type'] ?? '').replace(/;.*/, '').trim();
    if (!isDocument(mediaType)) {
      answer.destroy();
      throw new NotAnArchiveError(this.name, `it holds something else than a machine (${mediaType || 'no media type'})`);
    }
    const chunks: Buffer[] = [];
    let length = 0;
    for await (const chunk of chunksOf(answer)) {
      chunks.push(chunk);
      length += chunk.length;
      if (length > LARGEST_DOCUMENT)
        throw new ArchiveCorruptError(this.name, 'its manifest', `has more than ${LARGEST_DOCUMENT} bytes`);
    }
    const { 'content-length': announced } = answer.headers;
    if (announced !== undefined && length !== Number(announced)) throw new PassingError('its answer broke off');
    return { bytes: Buffer.concat(chunks), mediaType };
  }
}
