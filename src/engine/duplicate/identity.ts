/** Whose identity the target gets: its own, the source's, that of a profile, or none. */
import { isDeepStrictEqual } from 'node:util';
import type { ProfileContent } from '../profile/load.ts';
import type { Bundle } from '../profile/model.ts';
import type { Disk } from './disk.ts';
import { CloneRefusedError } from './errors.ts';
import type { Kept } from './kept.ts';
import type { IdentityChoice } from './plan.ts';
import type { StoredProfile } from './stored-profile.ts';

export interface IdentityRequest {
  readonly choice: IdentityChoice;
  /** YAML file, for `file`. */
  readonly file?: string;
  /** What it says, where it was read elsewhere. */
  readonly loaded?: ProfileContent;
  /** The source's own, where it was read elsewhere. */
  readonly sourceBundle?: Bundle;
  /** Directories to find bases in. */
  readonly profiles: readonly string[];
  /** An existing profile of the target may be replaced. */
  readonly replaceProfile: boolean;
}

export interface ChosenIdentity {
  readonly bundle?: Bundle;
  /** Why the region has to be written with the bundle; absent when it need not. */
  readonly writeReason?: string;
}

export interface IdentityFacts {
  readonly source: Disk;
  readonly target: Disk;
  readonly sourceProfile: () => Promise<Bundle | undefined>;
  readonly targetProfile: StoredProfile | undefined;
  /** What the target's own system has now, for the `keep` modes. */
  readonly targetKept: () => Promise<Kept>;
}

/** @throws CloneRefusedError, ProfileInvalidError */
export async function chooseIdentity(request: IdentityRequest, facts: IdentityFacts): Promise<ChosenIdentity> {
  switch (request.choice) {
    case 'none':
      return {};
    case 'target':
      return { bundle: targetIdentity(facts) };
    case 'source': {
      const bundle = request.sourceBundle ?? (await facts.sourceProfile());
      if (bundle === undefined) {
        throw sourceWithoutProfile(facts.source.name);
      }
      return replaceUnlessSame(request, facts, bundle);
    }
    case 'file': {
      const loaded = request.loaded ?? (await loadRequested(request));
      const existing = facts.targetProfile?.bundle;
      // A profile that is there already is not drawn again: the same command, run twice, makes the same machine.
      if (
        existing !== undefined &&
        isDeepStrictEqual(existing.resolved, loaded.resolved) &&
        isDeepStrictEqual(existing.secrets, await loaded.readSecrets())
      ) {
        return { bundle: existing };
      }
      const kept = await facts.targetKept();
      const { makeBundle } = await import('../profile/bundle.ts');
      const bundle = await makeBundle(loaded, {
        kept,
        ...(existing?.resolved.host === loaded.resolved.host ? { previous: existing, targetId: existing.targetId } : {}),
      });
      return replaceUnlessSame(request, facts, bundle);
    }
  }
}

export function sourceWithoutProfile(source: string): CloneRefusedError {
  return new CloneRefusedError(
    'SOURCE_WITHOUT_PROFILE',
    `--as source: the source ${source} carries no profile`,
    'Name a profile instead (--as FILE.yaml), or make a plain copy (--as none). An archive has the profile of its source when it was captured with --profile-to.',
  );
}

async function loadRequested({ file, profiles }: IdentityRequest): Promise<ProfileContent> {
  const { loadProfile } = await import('../profile/load.ts');
  return loadProfile(file as string, { searchPath: profiles });
}

function targetIdentity({ source, target, targetProfile }: IdentityFacts): Bundle {
  if (targetProfile !== undefined) return targetProfile.bundle;
  const twin = source.system?.hostname ?? source.name;
  if (target.regions.length > 0) {
    throw new CloneRefusedError(
      'EMPTY_PROFILE',
      `the profile region of ${target.name} is empty: the target would be a twin of ${twin}`,
      `Write its profile first (doppel profile write ${target.name} FILE.yaml), name one (--as FILE.yaml), or make a plain copy (--as none).`,
      { target: target.name, regions: target.regions },
    );
  }
  throw new CloneRefusedError(
    'NO_PROFILE',
    `${target.name} has no profile: it would be a twin of ${twin}`,
    `Say who it shall be: give it a profile (doppel profile init ${target.name}, doppel profile write ${target.name} FILE.yaml), name one (--as FILE.yaml), or make a plain copy (--as none).`,
    { target: target.name, twin },
  );
}

function replaceUnlessSame(request: IdentityRequest, { target, targetProfile }: IdentityFacts, bundle: Bundle): ChosenIdentity {
  const existing = targetProfile?.bundle;
  if (existing === undefined) return { bundle, writeReason: `the region of ${target.name} holds no profile yet` };
  if (isDeepStrictEqual(existing, bundle)) return { bundle: existing };
  if (existing.targetId === bundle.targetId)
    return { bundle, writeReason: `the profile of ${bundle.resolved.host} is brought up to date` };
  if (!request.replaceProfile) {
    throw new CloneRefusedError(
      'PROFILE_EXISTS',
      `${target.name} already has a profile: it is ${existing.resolved.host}, and would become ${bundle.resolved.host}`,
      'Leave --as away to keep its own identity, or add --replace-profile if it shall really become another.',
      { target: target.name, host: existing.resolved.host, newHost: bundle.resolved.host },
    );
  }
  return { bundle, writeReason: `it replaces the profile of ${existing.resolved.host} (--replace-profile)` };
}
