/** Checks several profiles, each for itself and all against each other. */
import type { Diagnostic } from './diagnostic.ts';
import { ProfileInvalidError } from './diagnostic.ts';
import { checkProfile, type LoadOptions, loadProfile } from './load.ts';
import { checkSet } from './set.ts';

/** @throws ProfileInvalidError with every diagnostic of every file; ProfileError when one cannot be read */
export async function validateProfiles(
  files: readonly string[],
  options: LoadOptions & { readonly base: boolean },
): Promise<void> {
  const found: Diagnostic[] = [];
  for (const file of files) found.push(...(await checkProfile(file, options)));
  if (found.length === 0 && !options.base) {
    found.push(...checkSet(await Promise.all(files.map((file) => loadProfile(file, options)))));
  }
  if (found.length > 0) throw new ProfileInvalidError(found);
}
