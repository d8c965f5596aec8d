/** SSH host keys, made with ssh-keygen in a private directory that is gone afterwards. */
import { constants } from 'node:fs';
import { access, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ExecaError, execa } from 'execa';
import { MissingToolError } from '../errors.ts';
import { endLease, leasedFolder } from '../image/leased-folder.ts';
import { KeygenError } from './bundle-errors.ts';
import type { SshHostKey, SshKeyType } from './model.ts';

/** Bits, where the type leaves a choice; the others have ssh-keygen's own. */
const bits: Partial<Record<SshKeyType, number>> = { rsa: 3072, ecdsa: 256 };

/** One key pair of each type, with the comment root@HOST. @throws KeygenError, MissingToolError */
export async function generateHostKeys(types: readonly SshKeyType[], host: string, signal?: AbortSignal): Promise<SshHostKey[]> {
  if (types.length === 0) return [];
  const directory = await leasedFolder(join(await memoryDirectory(), 'doppel-keys-'));
  try {
    const keys: SshHostKey[] = [];
    for (const type of types) {
      const file = join(directory, type);
      const size = bits[type] === undefined ? [] : ['-b', String(bits[type])];
      await keygen(['-q', '-t', type, ...size, '-N', '', '-C', `root@${host}`, '-f', file], signal);
      keys.push({ type, privateKey: await readFile(file, 'utf8'), publicKey: await readFile(`${file}.pub`, 'utf8') });
    }
    return keys;
  } finally {
    await endLease(directory);
  }
}

/** Memory rather than disk where there is a choice: a deleted key stays in a disk's free blocks. */
async function memoryDirectory(): Promise<string> {
  try {
    await access('/dev/shm', constants.W_OK | constants.X_OK);
    return '/dev/shm';
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === undefined) throw error;
    return tmpdir();
  }
}

async function keygen(args: readonly string[], signal: AbortSignal | undefined): Promise<void> {
  try {
    await execa('ssh-keygen', args, {
      stdin: 'ignore',
      timeout: 60_000,
      ...(signal === undefined ? {} : { cancelSignal: signal }),
    });
  } catch (error) {
    if (!(error instanceof ExecaError)) throw error;
    if (error.code === 'ENOENT') throw new MissingToolError('ssh-keygen', 'openssh-client', 'openssh');
    throw new KeygenError(String(error.stderr ?? '').trim() || error.shortMessage, error);
  }
}

/** Whether the texts look like a key pair of this type; the public one is `TYPE BASE64 [COMMENT]`. */
export function isHostKey(key: SshHostKey): boolean {
  const names: Record<SshKeyType, RegExp> = {
    ed25519: /^ssh-ed25519$/,
    rsa: /^ssh-rsa$/,
    ecdsa: /^ecdsa-sha2-nistp(256|384|521)$/,
  };
  const match = /^(\S+) ([A-Za-z0-9+/]+={0,2})( [^\n]*)?\n$/.exec(key.publicKey);
  const name = match?.[1] ?? '';
  const blob = Buffer.from(match?.[2] ?? '', 'base64');
  // RFC 4253, section 6.6: the blob begins with the length and the name of its algorithm.
  const inner = blob.length > 4 ? blob.subarray(4, 4 + blob.readUInt32BE(0)).toString('latin1') : '';
  const secret = /^-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----\n[\s\S]+\n-----END \1-----\n$/.test(key.privateKey);
  return secret && names[key.type].test(name) && inner === name;
}
