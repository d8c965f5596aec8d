/** The profile that a disk's protected region holds. */
import { CorruptInputError, ProfileError } from '../errors.ts';
import type { ImageSource } from '../image/contract.ts';
import { readContainer } from '../profile/container.ts';
import { ContainerEmptyError } from '../profile/container-errors.ts';
import type { Bundle } from '../profile/model.ts';
import type { Region } from '../protect/region.ts';
import { CloneRefusedError } from './errors.ts';

export interface StoredProfile {
  readonly region: Region;
  readonly bundle: Bundle;
  readonly generation: number;
  /** Damage that was survived, each a sentence. */
  readonly problems: readonly string[];
}

/**
 * The profile of a disk; undefined when no region holds one yet.
 * @throws CloneRefusedError when two regions hold one each, and the errors of readContainer and decodeBundle for damage
 */
export async function readStoredProfile(image: ImageSource, regions: readonly Region[]): Promise<StoredProfile | undefined> {
  const found: StoredProfile[] = [];
  for (const region of regions) {
    const stored = await readRegion(image, region);
    if (stored !== undefined) found.push(stored);
  }
  if (found.length > 1) {
    const names = found.map(({ region, bundle }) => `${region.name} (${bundle.resolved.host})`).join(' and ');
    throw new CloneRefusedError(
      'SEVERAL_PROFILES',
      `${image.name} holds more than one profile: ${names}`,
      'It is not clear who this target is. Remove all but one: delete the partition, or wipe the range.',
      { regions: found.map(({ region }) => region) },
    );
  }
  return found[0];
}

/** What `--replace-profile` may replace: also a profile that is too damaged to be read. */
export interface Replaceable {
  readonly stored: StoredProfile | undefined;
  /** Why the profile that is there cannot be read; only with `replace`. */
  readonly damage?: string;
}

/** @throws what readStoredProfile throws, but not for damage when the profile is to be replaced anyway */
export async function readReplaceableProfile(
  image: ImageSource,
  regions: readonly Region[],
  replace: boolean,
): Promise<Replaceable> {
  try {
    return { stored: await readStoredProfile(image, regions) };
  } catch (error) {
    const damaged = error instanceof CorruptInputError || error instanceof ProfileError;
    if (!replace || !damaged) throw error;
    return { stored: undefined, damage: error.message };
  }
}

async function readRegion(image: ImageSource, region: Region): Promise<StoredProfile | undefined> {
  try {
    const { payload, generation, problems } = await readContainer(image, region);
    const { decodeBundle } = await import('../profile/bundle.ts');
    return { region, bundle: decodeBundle(payload), generation, problems: problems.map(({ message }) => message) };
  } catch (error) {
    if (error instanceof ContainerEmptyError) return undefined;
    throw error;
  }
}
