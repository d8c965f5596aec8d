/** The profile of a disk, fit to be shown: no key, no secret, no password hash. */
import { openForInspection } from '../layout/part-of-disk.ts';
import { readTable } from '../layout/table.ts';
import { redactBundle } from '../profile/bundle.ts';
import { findRegions } from '../profile/carriers/find.ts';
import type { Region } from '../protect/region.ts';
import { CloneRefusedError } from './errors.ts';
import { readStoredProfile } from './stored-profile.ts';

export interface ShownProfile {
  readonly region: Region;
  readonly generation: number;
  readonly bundle: ReturnType<typeof redactBundle>;
  readonly problems: readonly string[];
}

/** @throws CloneRefusedError without a profile, and the errors of readContainer and decodeBundle */
export async function showProfile(path: string): Promise<ShownProfile> {
  const image = await openForInspection(path);
  try {
    const regions = await findRegions(image, await readTable(image));
    const stored = await readStoredProfile(image, regions);
    if (stored === undefined) {
      const todo = `Give it one: doppel profile ${regions.length === 0 ? `init ${path}, then doppel profile ` : ''}write ${path} FILE.yaml`;
      throw new CloneRefusedError('NO_PROFILE', `${path} has no profile`, todo, { regions });
    }
    return { ...stored, bundle: redactBundle(stored.bundle) };
  } finally {
    await image.close();
  }
}
