/** The source of a clone: opened once, looked at once, for however many targets. */

import type { RunOptions } from '../events.ts';
import { type ImageIdentity, imageIdentity, looksLikeArchive } from '../image/identity.ts';
import type { SourceImage } from '../image/open-image.ts';
import { withReadCache } from '../image/read-cache.ts';
import { refuseShrunk } from '../image/shrunk.ts';
import { parseSpec } from '../image/spec.ts';
import { withUnreadable } from '../image/unreadable.ts';
import type { ImageUser } from '../image/users.ts';
import type { SourceReaderOptions } from '../lanes/source-reader.ts';
import { openSource } from '../layout/part-of-disk.ts';
import type { Bundle } from '../profile/model.ts';
import { IntervalSet } from '../protect/intervals.ts';
import { withArchivedSource } from './archived-source.ts';
import { type Allocation, allocationOf, type Contents, contentsOf } from './contents.ts';
import { ContentsAhead } from './contents-ahead.ts';
import { type Disk, type Part, surveyDisk } from './disk.ts';
import { loadersOn } from './loaders.ts';
import { pastCache } from './past-cache.ts';
import { refuseSource, refuseUnknownParts, refuseUnsigned } from './plan-refusals.ts';
import type { KindChoice } from './plan-table.ts';
import { type Sighting, sighting, stampOf } from './preconditions.ts';
import type { CopyRequest } from './request.ts';
import { readRescueMap } from './rescue-map.ts';
import { readStoredProfile } from './stored-profile.ts';
import { readOnlyWindows } from './system.ts';

/** What of a request is about the source. */
export type SourceRequest = Pick<
  CopyRequest,
  'source' | 'archive' | 'access' | 'kinds' | 'kindOverrides' | 'exact' | 'allowInconsistent' | 'readErrors' | 'sourceMap'
>;

export interface Source {
  /** False when it comes but once, from the front to the end: nothing of it can be looked at before. */
  readonly seekable: boolean;
  readonly identity: ImageIdentity;
  readonly image: SourceImage;
  readonly disk: Disk;
  /** Who may write to it meanwhile. */
  readonly writers: readonly ImageUser[];
  readonly allocation: Allocation;
  /** What it holds before its first partition. */
  readonly loaders: IntervalSet;
  /** What a map file says to be lost. */
  readonly knownBad: IntervalSet;
  /** Of an archive: what could not be read when it was captured, as far as that is known by now. */
  readonly lost: IntervalSet;
  /** What a plan is made of. */
  sighting(): Promise<Sighting>;
  /** How it is read past the cache. */
  readonly past: Pick<SourceReaderOptions, 'openDirect'>;
  /** What an archive was made of; a disk has all kinds. */
  readonly kinds?: KindChoice;
  contentsOf(part: Part): Promise<Contents>;
  /** Whether it has a profile of its own, as far as that shows. */
  readonly carriesProfile: boolean;
  /** That profile; undefined when it has none. @throws the errors of readStoredProfile, and of an archive's bundle */
  profile(): Promise<Bundle | undefined>;
}

/**
 * `lookInside`: also tell whose system it is, and the kinds of parts by where that mounts them; as far as root may.
 * @throws CloneRefusedError for a source that cannot be copied safely, UsageError, ImageIoError
 */
export async function withSource<T>(
  request: SourceRequest,
  action: (source: Source) => Promise<T>,
  { lookInside = true, ...run }: RunOptions & { readonly lookInside?: boolean } = {},
): Promise<T> {
  if (request.archive !== undefined || (await isArchive(request.source))) return withArchivedSource(request, action, run);
  refuseUnsigned(request.source, request.access);
  const map = request.sourceMap === undefined ? undefined : await readRescueMap(request.sourceMap);
  const { image, writers } = await openSource(request.source, { allowInconsistent: request.allowInconsistent });
  try {
    await refuseShrunk(request.source);
    const seen = await imageIdentity(request.source, image.size, image.sectorSize);
    // Before anything is read: what is read from here on must be of one state.
    const stamp = request.allowInconsistent ? undefined : await stampOf(seen);
    const knownBad = (map?.missing ?? IntervalSet.empty).intersect(IntervalSet.of({ offset: 0, length: image.size }));
    const readable = withReadCache(withUnreadable(image, [...knownBad]));
    const windows = lookInside && process.getuid?.() === 0 ? { openWindow: readOnlyWindows(image) } : {};
    const tolerant = request.readErrors !== undefined && request.readErrors !== 'fail';
    const past = pastCache(image, seen, knownBad);
    const allocated = await allocationOf(image);
    // ddrescue leaves holes where it could not read: they are no zeros.
    const allocation = { data: allocated.data.union(knownBad), zero: allocated.zero.subtract(knownBad) };
    const { only, skip } = request.kinds;
    const options = { exact: request.exact, inconsistent: writers.length > 0, tolerant };
    const contents = new ContentsAhead((part) => contentsOf(readable, part, allocation, options));
    try {
      const disk = await surveyDisk(readable, {
        ...windows,
        kinds: request.kindOverrides,
        ...(tolerant ? { tolerant: past } : {}),
        ...(only === undefined && skip === undefined ? { onParts: (parts) => contents.begin(parts) } : {}),
      });
      refuseSource(disk);
      refuseUnknownParts(disk, request.kindOverrides);
      const { table } = disk;
      const identity = { ...seen, sectorSize: disk.sectorSize };
      return await action({
        seekable: true,
        identity,
        image,
        disk,
        writers,
        allocation,
        loaders: table === undefined ? IntervalSet.empty : await loadersOn(readable, { ...disk, table }, allocation, tolerant),
        knownBad,
        lost: IntervalSet.empty,
        sighting: async () => ({
          ...(await sighting(image, disk.table, [], past)),
          ...(stamp === undefined ? {} : { stamp }),
        }),
        past,
        contentsOf: (part) => contents.of(part),
        carriesProfile: disk.regions.length > 0,
        profile: async () => (await readStoredProfile(image, disk.regions))?.bundle,
      });
    } finally {
      await contents.stop();
    }
  } finally {
    await image.close();
  }
}

/** Or a part of one. */
export async function isArchive(text: string): Promise<boolean> {
  const { base } = await parseSpec(text);
  return base.kind === 'registry' || (base.kind === 'path' && (await looksLikeArchive(base.path)));
}
