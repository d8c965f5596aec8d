/** Where an archive is kept: a directory or a tar file, and later a registry. */
import type { Descriptor } from './oci.ts';

export interface BlobSource {
  /** As the user named it. */
  readonly name: string;
  /** What is found by its name. @throws ArchiveCorruptError, ArchiveIoError */
  document(path: 'oci-layout' | 'index.json'): Promise<Uint8Array>;
  /** The whole blob, in `room` if it fits; its size and SHA-256 are those of the descriptor. @throws ArchiveCorruptError, ArchiveIoError */
  blob(descriptor: Pick<Descriptor, 'digest' | 'size'>, room?: Uint8Array): Promise<Uint8Array>;
  /** The path of the file that is the blob, where blobs are files. */
  fileOf?(digest: string): string;
  /** Idempotent. */
  close(): Promise<void>;
}

export interface BlobSink {
  readonly name: string;
  /** Blobs come one after the other, a repeated one again. `attributes` are for whoever reads the blobs as they come. @throws ArchiveIoError */
  put(digest: string, bytes: Uint8Array, attributes?: Readonly<Record<string, string>>): Promise<void>;
  /** In place of `put`, for a blob that is a file already. False where that cannot be. @throws ArchiveIoError */
  link?(digest: string, file: string): Promise<boolean>;
  /** With the content of `index.json`; returns when all of it is on stable storage. @throws ArchiveIoError */
  finish(index: Uint8Array): Promise<void>;
  /** After an error: nothing that could be taken for an archive stays. Never rejects. */
  abort(): Promise<void>;
}
