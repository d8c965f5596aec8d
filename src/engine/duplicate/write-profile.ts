/** Draws an identity from a profile and stores it in a target's protected region. */
import { ignoreEvents, type RunOptions } from '../events.ts';
import { type ImageIdentity, imageIdentity } from '../image/identity.ts';
import { openTarget } from '../layout/part-of-disk.ts';
import { encodeBundle, makeBundle } from '../profile/bundle.ts';
import { regionWriter, writeContainer } from '../profile/container-write.ts';
import { loadProfile } from '../profile/load.ts';
import type { Bundle } from '../profile/model.ts';
import { IntervalSet } from '../protect/intervals.ts';
import type { Region } from '../protect/region.ts';
import { allocationOf, dataIn } from './contents.ts';
import { type Disk, surveyDisk } from './disk.ts';
import { CloneRefusedError } from './errors.ts';
import { keptIdentity } from './kept.ts';
import { placeRegion } from './plan-table.ts';
import { recheckOne, type Sighting, sighting } from './preconditions.ts';
import { readReplaceableProfile } from './stored-profile.ts';
import { readOnlyWindows, systemParts } from './system.ts';

export interface WriteProfileRequest {
  readonly target: string;
  readonly file: string;
  /** Directories to find bases in. */
  readonly profiles: readonly string[];
  /** Draw machine id and keys anew, even if the target has some already. */
  readonly regenerate: boolean;
  /** The target may become another host. */
  readonly replaceProfile: boolean;
}

export interface WriteProfilePlan {
  readonly target: ImageIdentity;
  readonly disk: Disk;
  readonly region: Region;
  readonly bundle: Bundle;
  /** Who the target is by the profile that is replaced. */
  readonly previous?: Bundle;
  /** Why the profile that is replaced cannot be read. */
  readonly damage?: string;
  /** 0 when there is none, or none that can be read. */
  readonly generation: number;
  readonly precondition: Sighting;
}

/** Writes nothing. @throws ProfileInvalidError, CloneRefusedError and the errors of what is looked at */
export async function planWriteProfile(request: WriteProfileRequest): Promise<WriteProfilePlan> {
  const loaded = await loadProfile(request.file, { searchPath: request.profiles });
  const target = await openTarget(request.target);
  try {
    const openWindow = readOnlyWindows(target);
    const disk = await surveyDisk(target, process.getuid?.() === 0 ? { openWindow } : {});
    const { stored, damage } = await readReplaceableProfile(target, disk.regions, request.replaceProfile);
    const sameHost = stored?.bundle.resolved.host === loaded.resolved.host;
    if (stored !== undefined && !sameHost && !request.replaceProfile) {
      throw new CloneRefusedError(
        'PROFILE_EXISTS',
        `${disk.name} already has a profile: it is ${stored.bundle.resolved.host}, and would become ${loaded.resolved.host}`,
        'Add --replace-profile if it shall really become another host.',
        { host: stored.bundle.resolved.host, newHost: loaded.resolved.host },
      );
    }
    const region = stored?.region ?? disk.regions[0] ?? (await newRawRegion(disk, target));
    const kept = await keptIdentity(systemParts(disk.parts, openWindow));
    const bundle = await makeBundle(loaded, {
      kept,
      regenerate: request.regenerate,
      ...(stored !== undefined && sameHost ? { previous: stored.bundle, targetId: stored.bundle.targetId } : {}),
    });
    return {
      target: await imageIdentity(request.target, target.size, disk.sectorSize),
      disk,
      region,
      bundle,
      ...(stored === undefined ? {} : { previous: stored.bundle }),
      ...(damage === undefined ? {} : { damage }),
      generation: stored?.generation ?? 0,
      precondition: await sighting(target, disk.table, [region]),
    };
  } finally {
    await target.close();
  }
}

/** Answers the generation that the region has now. @throws the errors of writeContainer */
export async function executeWriteProfile(plan: WriteProfilePlan, { onEvent = ignoreEvents }: RunOptions = {}): Promise<number> {
  const target = await openTarget(plan.target.path);
  try {
    await recheckOne('target', plan.precondition, target);
    const { targetId } = plan.bundle;
    const expected = plan.damage === undefined ? { expectGeneration: plan.generation } : { replaceDamaged: true };
    const written = await writeContainer(regionWriter(target, plan.region), plan.region, encodeBundle(plan.bundle), {
      targetId,
      replaceTarget: plan.damage !== undefined || (plan.previous !== undefined && plan.previous.targetId !== targetId),
      ...expected,
    });
    onEvent({ type: 'target', name: plan.target.path, state: 'committed' });
    return written.generation;
  } finally {
    await target.close();
  }
}

/** An MBR disk has its profile in a raw range; every other disk gets its region by `profile init`. */
async function newRawRegion(disk: Disk, target: Parameters<typeof dataIn>[0]): Promise<Region> {
  if (disk.table?.kind !== 'mbr') {
    throw new CloneRefusedError(
      'NO_REGION',
      `${disk.name} has no profile region`,
      `Make one first: doppel profile init ${disk.name}`,
      { target: disk.name },
    );
  }
  const whole = IntervalSet.of({ offset: 0, length: disk.size });
  const free = whole.subtract(IntervalSet.of(...disk.parts.map(({ range }) => range)));
  return placeRegion(disk.table, disk.size, await dataIn(target, free, await allocationOf(target)), disk.name).region;
}
