/** Fetches a blob or a manifest by its digest; what breaks off goes on where it stopped, if the server can do that. */
import type { IncomingMessage } from 'node:http';
import { ArchiveCorruptError } from '../errors.ts';
import { blobPath, isDocument } from '../oci.ts';
import { roomFor } from '../read-into.ts';
import type { WantedBlob } from '../store.ts';
import { checkDigest, checkSize } from '../verified.ts';
import type { RegistryClient } from './client.ts';
import { RegistryNotFoundError } from './errors.ts';
import { chunksOf, drain } from './exchange.ts';
import { PassingError } from './retry.ts';

/** In `room` if it fits; its size and SHA-256 are those of the descriptor. @throws ArchiveCorruptError, and as RegistryClient tells */
export async function download(client: RegistryClient, blob: WantedBlob, room?: Uint8Array): Promise<Uint8Array> {
  const { text } = client.reference;
  const path = blobPath(blob.digest);
  checkSize(text, blob, blob.size);
  const bytes = roomFor(blob.size, room);
  const place = `${isDocument(blob.mediaType) ? 'manifests' : 'blobs'}/${blob.digest}`;
  const accept: Record<string, string> = blob.mediaType === undefined ? {} : { accept: blob.mediaType };
  let have = 0;
  let most = 0;
  const fetch = async (further: () => void): Promise<void> => {
    const answer = await client.send({
      method: 'GET',
      place,
      headers: have === 0 ? accept : { ...accept, range: `bytes=${have}-` },
      expected: have === 0 ? [200] : [200, 206, 400, 416],
    });
    if (!continues(answer, have)) {
      have = 0;
      if (answer.statusCode !== 200) {
        await drain(answer);
        throw new PassingError(`it does not go on in the middle of ${path}`);
      }
    }
    const { 'content-length': announced } = answer.headers;
    if (announced !== undefined && have + Number(announced) !== blob.size) {
      answer.destroy();
      checkSize(text, blob, have + Number(announced));
    }
    for await (const chunk of chunksOf(answer)) {
      if (have + chunk.length > blob.size) checkSize(text, blob, have + chunk.length);
      bytes.set(chunk, have);
      have += chunk.length;
      if (have > most) further();
      most = Math.max(most, have);
    }
    if (have < blob.size) throw new PassingError(`it sent ${have} of ${blob.size} bytes of ${path}`);
  };
  await client.retrying(fetch).catch((error: unknown) => {
    if (error instanceof RegistryNotFoundError) throw new ArchiveCorruptError(text, path, 'is missing', error);
    throw error;
  });
  checkDigest(text, blob.digest, bytes);
  return bytes;
}

function continues({ statusCode, headers }: IncomingMessage, have: number): boolean {
  return statusCode === 206 && headers['content-range']?.startsWith(`bytes ${have}-`) === true;
}
