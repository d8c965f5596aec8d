/**
 * Which certificates are trusted: those that Node.js trusts, NODE_EXTRA_CA_CERTS among them, and what is kept for a registry where
 * docker and podman look for it (certs.d).
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { rootCertificates } from 'node:tls';
import { isMissing, listOptional } from '../../image/sysfs.ts';
import { LoginError } from './errors.ts';

export const certificateFolders = ['/etc/docker/certs.d', '/etc/containers/certs.d'] as const;

/** Undefined when nothing is kept for the host: Node.js knows what it trusts. */
export async function trustedFor(host: string, folders: readonly string[] = certificateFolders): Promise<string[] | undefined> {
  const files = folders
    .map((folder) => join(folder, host))
    .flatMap((folder) =>
      listOptional(folder)
        .filter((name) => name.endsWith('.crt'))
        .map((name) => join(folder, name)),
    );
  if (files.length === 0) return undefined;
  const extra = process.env.NODE_EXTRA_CA_CERTS;
  const texts = await Promise.all([...files, ...(extra ? [extra] : [])].map(readCertificates));
  return [...rootCertificates, ...texts.filter((text) => text !== undefined)];
}

async function readCertificates(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw new LoginError(path, `cannot be read: ${(error as Error).message}`, 'Check its permissions.', error);
  }
}
