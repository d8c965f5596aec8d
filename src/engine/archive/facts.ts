/** What an archive is beside the machine in it. */
import type { Archive } from './archive.ts';
import type { Signature } from './signature.ts';

export interface ArchiveFacts {
  readonly digest: string;
  readonly signature: Signature;
  readonly encrypted: boolean;
  /** It has the profile of its source. */
  readonly profile: boolean;
}

export function archiveFacts({ digest, signature, layout, hasBundle }: Archive): ArchiveFacts {
  return { digest, signature, encrypted: layout.salt !== undefined, profile: hasBundle };
}
