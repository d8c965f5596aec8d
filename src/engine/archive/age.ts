/**
 * Files of age, https://age-encryption.org/v1. Their headers, and so the keys, are those of age's own library. The payload goes
 * through OpenSSL, which is some 18 times as fast as JavaScript: chunks of 64 KiB in ChaCha20-Poly1305, the nonce of each a counter
 * of 11 bytes and one byte that is 1 for the last.
 */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { Decrypter, Encrypter } from 'age-encryption';

/** It is no age file, or it was changed; the message is about it. */
export class AgeError extends Error {}

/** It was encrypted to others. */
export class NoIdentityError extends AgeError {}

const CIPHER = 'chacha20-poly1305';
const TAG = 16;
const NONCE = 16;
const CHUNK = 64 << 10;
const BEGIN = Buffer.from('age-encryption.org/v1\n');
const LONGEST_HEADER = 1 << 20;

export function isAge(bytes: Uint8Array): boolean {
  return BEGIN.equals(bytes.subarray(0, BEGIN.length));
}

/** `recipients` are as age writes them: `age1...`. @throws Error for one that makes no sense */
export async function encryptTo(recipients: readonly string[], content: Uint8Array): Promise<Uint8Array> {
  const encrypter = new Encrypter();
  for (const recipient of recipients) encrypter.addRecipient(recipient);
  let fileKey = new Uint8Array(0);
  encrypter.addRecipient({
    wrapFileKey(key) {
      fileKey = key.slice();
      return [];
    },
  });
  const empty = await encrypter.encrypt(new Uint8Array(0));
  const header = empty.subarray(0, empty.length - NONCE - TAG);
  const nonce = randomBytes(NONCE);
  const key = payloadKey(fileKey, nonce);
  const count = Math.max(1, Math.ceil(content.length / CHUNK));
  const file = new Uint8Array(header.length + NONCE + content.length + count * TAG);
  file.set(header);
  file.set(nonce, header.length);
  let at = header.length + NONCE;
  for (let i = 0; i < count; i++) {
    const cipher = createCipheriv(CIPHER, key, chunkNonce(i, i === count - 1), { authTagLength: TAG });
    const chunk = cipher.update(content.subarray(i * CHUNK, (i + 1) * CHUNK));
    cipher.final();
    file.set(chunk, at);
    file.set(cipher.getAuthTag(), at + chunk.length);
    at += chunk.length + TAG;
  }
  return file;
}

/** `identities` are as age writes them: `AGE-SECRET-KEY-1...`. @throws NoIdentityError, AgeError */
export async function decryptWith(identities: readonly string[], file: Uint8Array): Promise<Uint8Array> {
  const header = headerOf(file);
  const fileKey = await fileKeyOf(identities, header);
  const start = header.length + NONCE;
  const key = payloadKey(fileKey, file.subarray(header.length, start));
  const payload = file.subarray(start);
  const count = Math.ceil(payload.length / (CHUNK + TAG));
  if (payload.length < TAG) throw new AgeError('ends before its payload begins');
  if (payload.length - (count - 1) * (CHUNK + TAG) < (count === 1 ? TAG : TAG + 1))
    throw new AgeError('ends in the middle of a chunk');
  const content = new Uint8Array(payload.length - count * TAG);
  for (let i = 0; i < count; i++) {
    const chunk = payload.subarray(i * (CHUNK + TAG), (i + 1) * (CHUNK + TAG));
    const decipher = createDecipheriv(CIPHER, key, chunkNonce(i, i === count - 1), { authTagLength: TAG });
    decipher.setAuthTag(chunk.subarray(chunk.length - TAG));
    content.set(decipher.update(chunk.subarray(0, chunk.length - TAG)), i * CHUNK);
    try {
      decipher.final();
    } catch (cause) {
      throw new AgeError(
        `was changed, or cut short, in the ${CHUNK >> 10} KiB of its payload from byte ${start + i * (CHUNK + TAG)} on`,
        { cause },
      );
    }
  }
  return content;
}

async function fileKeyOf(identities: readonly string[], header: Uint8Array): Promise<Uint8Array> {
  const decrypter = new Decrypter();
  for (const identity of identities) decrypter.addIdentity(identity);
  let none = false;
  // The last one is asked when no other was the right one.
  decrypter.addIdentity({
    unwrapFileKey() {
      none = true;
      return null;
    },
  });
  try {
    return await decrypter.decryptHeader(header);
  } catch (cause) {
    if (none) throw new NoIdentityError('was encrypted to others', { cause });
    throw new AgeError(`has a wrong header: ${(cause as Error).message}`, { cause });
  }
}

/** Up to the end of the line with its checksum. */
function headerOf(file: Uint8Array): Uint8Array {
  if (!isAge(file)) throw new AgeError('is not encrypted with age');
  const head = Buffer.from(file.buffer, file.byteOffset, Math.min(file.length, LONGEST_HEADER));
  const last = head.indexOf('\n---');
  const stop = last < 0 ? -1 : head.indexOf('\n', last + 1);
  if (stop < 0) throw new AgeError('has a header without an end');
  return file.subarray(0, stop + 1);
}

function payloadKey(fileKey: Uint8Array, nonce: Uint8Array): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', fileKey, nonce, 'payload', 32));
}

function chunkNonce(index: number, last: boolean): Uint8Array {
  const nonce = Buffer.alloc(12);
  nonce.writeUIntBE(index, 5, 6);
  nonce[11] = last ? 1 : 0;
  return nonce;
}
