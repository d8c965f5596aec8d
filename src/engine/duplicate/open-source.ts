/** Opens the source of a plan, whatever it is, and makes sure that it is still what the plan was made for. */
import type { ArchiveAccess } from '../archive/access.ts';
import type { OpenArchive } from '../archive/archive.ts';
import { ArchivedDisk } from '../archive/archived-disk.ts';
import { openArchiveOrPart } from '../archive/open.ts';
import { PipedArchive } from '../archive/piped.ts';
import type { RunOptions } from '../events.ts';
import type { SourceImage } from '../image/open-image.ts';
import { openSource } from '../layout/part-of-disk.ts';
import { IntervalSet } from '../protect/intervals.ts';
import { archivedImage } from './archived-source.ts';
import { pastCache } from './past-cache.ts';
import { checkUnchanged, outdated, recheckOne, type Sighting } from './preconditions.ts';

export interface PlannedSource {
  readonly archive?: OpenArchive;
  readonly access?: ArchiveAccess;
  readonly inconsistent: boolean;
  readonly sighting: Sighting;
}

/** @throws CloneRefusedError when it has changed, the errors of openSource and openArchive */
export async function openPlannedSource(planned: PlannedSource, run: RunOptions = {}): Promise<SourceImage> {
  const { identity } = planned.sighting;
  if (identity.kind === 'archive') {
    const archive = planned.archive ?? (await reopened(planned, run));
    if (archive instanceof PipedArchive) archive.begin();
    return archivedImage(archive).image;
  }
  const { image } = await openSource(identity.path, { allowInconsistent: planned.inconsistent });
  try {
    await recheckOne('source', planned.sighting, image, pastCache(image, identity, IntervalSet.empty));
    return image;
  } catch (error) {
    await image.close();
    throw error;
  }
}

async function reopened({ access, sighting: { identity, stamp } }: PlannedSource, run: RunOptions): Promise<OpenArchive> {
  const archive = await openArchiveOrPart(identity.path, access, run);
  if (archive.digest === stamp) return archive;
  await archive.close();
  throw outdated('source', identity, { ...identity, digest: archive.digest });
}

/** After the last read. @throws SourceChangedError, ArchiveCorruptError: nothing of it must be put to use then */
export async function settleSource(source: SourceImage, { sighting }: PlannedSource): Promise<void> {
  await (source instanceof ArchivedDisk ? source.settle() : checkUnchanged(sighting));
}
