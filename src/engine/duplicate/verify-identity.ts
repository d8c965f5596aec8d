/** Whom a target shall be, for a comparison: nothing is drawn, and nothing is written. */
import type { SourceImage } from '../image/open-image.ts';
import type { Bundle } from '../profile/model.ts';
import type { Disk } from './disk.ts';
import { CloneRefusedError } from './errors.ts';
import { chooseIdentity } from './identity.ts';
import type { IdentityChoice } from './plan.ts';
import type { Source } from './source.ts';
import { readStoredProfile } from './stored-profile.ts';
import type { DiskDifference } from './verify-result.ts';

export interface IdentityQuestion {
  readonly as: IdentityChoice;
  /** YAML file, for `file`. */
  readonly file?: string;
  /** Directories to find bases of profiles in. */
  readonly profiles: readonly string[];
  readonly source: Pick<Source, 'disk' | 'profile'>;
  readonly target: { readonly image: SourceImage; readonly disk: Disk };
}

export interface ExpectedIdentity {
  /** Absent for a plain copy. */
  readonly bundle?: Bundle;
  readonly differences: readonly DiskDifference[];
  readonly notes: readonly string[];
}

/** @throws CloneRefusedError, ProfileInvalidError, and what readStoredProfile throws */
export async function expectIdentity({ as, file, profiles, source, target }: IdentityQuestion): Promise<ExpectedIdentity> {
  if (as === 'none') return { differences: [], notes: [] };
  const stored = await readStoredProfile(target.image, target.disk.regions);
  const notes = (stored?.problems ?? []).map((problem) => `the target's profile was read, but ${problem}`);
  if (as === 'target') {
    if (stored === undefined) throw withoutProfile(target.disk.name);
    return { bundle: stored.bundle, differences: [], notes };
  }
  const { bundle, writeReason } = await chooseIdentity(
    { choice: as, profiles, replaceProfile: true, ...(file === undefined ? {} : { file }) },
    {
      source: source.disk,
      target: target.disk,
      sourceProfile: () => source.profile(),
      targetProfile: stored,
      targetKept: async () => ({}),
    },
  );
  if (writeReason === undefined) return { differences: [], notes, ...(bundle === undefined ? {} : { bundle }) };
  const found = stored === undefined ? 'none' : `that of ${stored.bundle.resolved.host}`;
  const message = `the profile in its region is ${found}, not that of ${bundle?.resolved.host}`;
  return { differences: [{ what: 'profile', message }], notes, ...(stored === undefined ? {} : { bundle: stored.bundle }) };
}

function withoutProfile(target: string): CloneRefusedError {
  return new CloneRefusedError(
    'NO_PROFILE',
    `${target} has no profile that says whom it shall be`,
    'Add --as none to compare it as a plain copy; if it should have a profile, that is lost.',
    { target },
  );
}
