/** What the content of a segment is known by. */
import { createRequire } from 'node:module';

type Blake3 = (bytes: Uint8Array) => Buffer;
let blake3: Blake3 | undefined;

/** BLAKE3, hexadecimal. */
export function contentDigest(content: Uint8Array): string {
  blake3 ??= createRequire(import.meta.url)('@napi-rs/blake-hash').blake3 as Blake3;
  return blake3(content).toString('hex');
}
