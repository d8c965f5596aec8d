/** The profile of a source as an archive takes it along: encrypted, or not at all. */
import { encryptTo } from '../archive/age.ts';
import { CloneRefusedError } from './errors.ts';
import type { Source } from './source.ts';

export interface CapturedProfile {
  /** Whose it is. */
  readonly host: string;
  /** An age file. */
  readonly file: Uint8Array;
}

/** `recipients` of age. @throws CloneRefusedError when there is none; what reading the source's profile throws */
export async function capturedProfile(source: Source, recipients: readonly string[]): Promise<CapturedProfile> {
  const bundle = await source.profile();
  if (bundle === undefined) {
    throw new CloneRefusedError(
      'SOURCE_WITHOUT_PROFILE',
      `--profile-to: the source ${source.disk.name} carries no profile`,
      'Leave --profile-to away.',
    );
  }
  const { encodeBundle } = await import('../profile/bundle.ts');
  return { host: bundle.resolved.host, file: await encryptTo(recipients, encodeBundle(bundle)) };
}
