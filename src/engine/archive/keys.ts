/** The keys that an archive is opened with. */
import type { ArchiveAccess } from './access.ts';
import { readIdentities } from './age-keys.ts';
import type { Trust } from './signature.ts';
import { readTrust } from './signing-keys.ts';

export interface ArchiveKeys {
  /** Of age, as text. */
  readonly identities: readonly string[];
  readonly trust: Trust;
}

/** @throws KeyFileError, KeyFileIoError, RefusedError when a signature is required and there is no key to check it with */
export async function readKeys({ identities = [], trust, requireSigned = false }: ArchiveAccess): Promise<ArchiveKeys> {
  return { identities: await readIdentities(identities), trust: await readTrust(trust, requireSigned) };
}
