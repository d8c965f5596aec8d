/** Where an archive is kept: a directory, a tar file, or a registry. */
import type { Descriptor } from './oci.ts';

/** The media type is needed of manifests and indexes. */
export type WantedBlob = Pick<Descriptor, 'digest' | 'size'> & Partial<Pick<Descriptor, 'mediaType'>>;

export interface BlobSource {
  /** As the user named it. */
  readonly name: string;
  /** What is found by its name. @throws ArchiveCorruptError, ArchiveIoError */
  document(path: 'oci-layout' | 'index.json'): Promise<Uint8Array>;
  /** The whole blob, in `room` if it fits; its size and SHA-256 are those of the descriptor. @throws ArchiveCorruptError, ArchiveIoError */
  blob(wanted: WantedBlob, room?: Uint8Array): Promise<Uint8Array>;
  /** The path of the file that is the blob, where blobs are files. */
  fileOf?(digest: string): string;
  /** Idempotent. */
  close(): Promise<void>;
}

export interface BlobSink {
  readonly name: string;
  /** Segments that were there already when it was their turn, and were not sent; absent where that cannot be. */
  readonly present?: number;
  /** Blobs come one after the other, a repeated one again; nobody writes to `bytes` afterwards. `attributes` are for whoever reads the blobs as they come. @throws ArchiveIoError */
  put(descriptor: Descriptor, bytes: Uint8Array, attributes?: Readonly<Record<string, string>>): Promise<void>;
  /** In place of `put`, for a blob that is a file already. False where that cannot be. @throws ArchiveIoError */
  link?(digest: string, file: string): Promise<boolean>;
  /** With the content of `index.json`; returns when all of it is on stable storage. @throws ArchiveIoError */
  finish(index: Uint8Array): Promise<void>;
  /** After an error: nothing that could be taken for an archive stays. Never rejects. */
  abort(): Promise<void>;
}
