/** Keys to sign archives with, and keys to trust: ed25519, in the PEM files that openssl writes. */
import { createHash, createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { RefusedError } from '../errors.ts';
import { KeyFileError, KeyFileIoError, readKeyFile } from './key-files.ts';
import type { Signer, Trust } from './signature.ts';

/** Where trusted keys are, unless somebody names others. */
export const TRUSTED_KEYS = '/etc/doppel/trusted-keys';

const aPrivateKey = 'Make one: openssl genpkey -algorithm ed25519 -out key.pem';
const aPublicKey = "Make one of the signer's key: openssl pkey -in key.pem -pubout -out trusted.pem";

/** PEM, PKCS#8. @throws KeyFileError, KeyFileIoError */
export async function readSigner(path: string): Promise<Signer> {
  const text = await readKeyFile(path);
  if (text.includes('-----BEGIN ENCRYPTED PRIVATE KEY-----')) {
    throw new KeyFileError(
      `${path} is protected by a passphrase`,
      `Take the passphrase away for as long as it is needed, in memory: openssl pkey -in ${path} -out /dev/shm/key.pem, then --sign /dev/shm/key.pem, then remove that.`,
      { path },
    );
  }
  const key = keyOf(path, 'private', aPrivateKey, () => createPrivateKey(text));
  return { id: keyId(createPublicKey(key)), key };
}

/** `paths`: files, and directories with files NAME.pem; by default those of the system. @throws KeyFileError, KeyFileIoError, RefusedError when there are none, and one is needed */
export async function readTrust(paths: readonly string[] | undefined, required: boolean): Promise<Trust> {
  const keys = new Map<string, KeyObject>();
  for (const path of await filesOf(paths)) for (const key of await readPublicKeys(path)) keys.set(keyId(key), key);
  if (required && keys.size === 0) {
    const place = paths?.join(', ') ?? TRUSTED_KEYS;
    throw new RefusedError(`a signature is required, and ${place} holds no key to check one with`, {
      code: 'NO_TRUSTED_KEYS',
      todo: `Name the public key of who signs: --trust FILE.pem, or put it into ${TRUSTED_KEYS}.`,
      data: { place },
    });
  }
  return { keys, required };
}

async function filesOf(paths: readonly string[] | undefined): Promise<readonly string[]> {
  const found: string[] = [];
  for (const path of paths ?? [TRUSTED_KEYS]) {
    try {
      if (!(await stat(path)).isDirectory()) found.push(path);
      else for (const name of (await readdir(path)).sort()) if (name.endsWith('.pem')) found.push(join(path, name));
    } catch (error) {
      if (paths === undefined && (error as NodeJS.ErrnoException).code === 'ENOENT') continue;
      throw new KeyFileIoError(path, error);
    }
  }
  return found;
}

async function readPublicKeys(path: string): Promise<readonly KeyObject[]> {
  const text = await readKeyFile(path);
  if (/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(text))
    throw new KeyFileError(`${path} holds a private key: that is for who signs`, aPublicKey, { path });
  const blocks = text.match(/-----BEGIN PUBLIC KEY-----[^-]*-----END PUBLIC KEY-----/g) ?? [];
  if (blocks.length === 0) throw new KeyFileError(`${path} holds no public key`, aPublicKey, { path });
  return blocks.map((block) => keyOf(path, 'public', aPublicKey, () => createPublicKey(block)));
}

function keyOf(path: string, what: 'private' | 'public', todo: string, read: () => KeyObject): KeyObject {
  let key: KeyObject;
  try {
    key = read();
  } catch (cause) {
    throw new KeyFileError(`${path} holds no ${what} key that can be understood`, todo, { path }, cause);
  }
  if (key.asymmetricKeyType === 'ed25519') return key;
  throw new KeyFileError(`${path} holds a key of the type ${key.asymmetricKeyType}, and signatures are of ed25519`, todo, {
    path,
  });
}

function keyId(key: KeyObject): string {
  const { x = '' } = key.export({ format: 'jwk' });
  return createHash('sha256').update(Buffer.from(x, 'base64url')).digest('hex');
}
