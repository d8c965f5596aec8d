/** What the content of a segment is known by. */
import { createRequire } from 'node:module';

interface Hasher {
  update(bytes: Uint8Array): Hasher;
  digestBuffer(): Buffer;
}
interface BlakeHash {
  readonly blake3: (bytes: Uint8Array) => Buffer;
  readonly Blake3Hasher: new () => Hasher;
}
let blakeHash: BlakeHash | undefined;

/** BLAKE3, hexadecimal. With a salt, which comes first, it tells only who knows that what the content is. */
export function contentDigest(content: Uint8Array, salt?: Uint8Array): string {
  blakeHash ??= createRequire(import.meta.url)('@napi-rs/blake-hash') as BlakeHash;
  const digest =
    salt === undefined ? blakeHash.blake3(content) : new blakeHash.Blake3Hasher().update(salt).update(content).digestBuffer();
  return digest.toString('hex');
}
