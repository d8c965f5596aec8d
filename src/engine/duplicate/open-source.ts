/** Opens the source of a plan, whatever it is, and makes sure that it is still what the plan was made for. */
import type { ArchiveAccess } from '../archive/access.ts';
import type { OpenArchive } from '../archive/archive.ts';
import { openArchiveOrPart } from '../archive/open.ts';
import { PipedArchive } from '../archive/piped.ts';
import type { RunOptions } from '../events.ts';
import { blockName } from '../image/devices.ts';
import type { ImageIdentity } from '../image/identity.ts';
import type { SourceImage } from '../image/open-image.ts';
import { parseSpec } from '../image/spec.ts';
import { readOptional } from '../image/sysfs.ts';
import { openSource } from '../layout/part-of-disk.ts';
import { IntervalSet } from '../protect/intervals.ts';
import { archivedImage } from './archived-source.ts';
import { SourceChangedError } from './errors.ts';
import { pastCache } from './past-cache.ts';
import { checkUnchanged, outdated, recheckOne, type Sighting } from './preconditions.ts';

export interface PlannedSource {
  readonly archive?: OpenArchive;
  readonly access?: ArchiveAccess;
  readonly inconsistent: boolean;
  readonly sighting: Sighting;
}

export interface OpenedSource {
  readonly image: SourceImage;
  /** After the last read. @throws SourceChangedError, ArchiveCorruptError: nothing of it must be put to use then */
  settle(): Promise<void>;
  /** Of an archive: what could not be read when it was captured, and is zeros; all of it is known after `settle`. */
  lost(): IntervalSet;
}

/** @throws CloneRefusedError when it has changed, the errors of openSource and openArchive */
export async function openPlannedSource(planned: PlannedSource, run: RunOptions = {}): Promise<OpenedSource> {
  const { identity } = planned.sighting;
  if (identity.kind === 'archive') {
    const archive = planned.archive ?? (await reopened(planned, run));
    if (archive instanceof PipedArchive) archive.begin();
    const { image } = archivedImage(archive);
    return { image, settle: () => image.settle(), lost: () => image.unreadable };
  }
  const { image } = await openSource(identity.path, { allowInconsistent: planned.inconsistent });
  try {
    const writes = planned.inconsistent ? undefined : await writesTo(identity);
    await recheckOne('source', planned.sighting, image, pastCache(image, identity, IntervalSet.empty));
    const settle = async (): Promise<void> => {
      await checkUnchanged(planned.sighting);
      if (writes !== undefined && (await writesTo(identity)) !== writes) throw new SourceChangedError(identity);
    };
    return { image, settle, lost: () => IntervalSet.empty };
  } catch (error) {
    await image.close();
    throw error;
  }
}

/** What the kernel has counted of writes to a local block device: see Documentation/block/stat.rst of Linux. Undefined for everything else. */
async function writesTo({ path, kind }: ImageIdentity): Promise<string | undefined> {
  const { base } = await parseSpec(path);
  if (kind !== 'block' || base.kind !== 'path') return undefined;
  const stat = readOptional(`/sys/class/block/${await blockName(base.path)}/stat`)
    ?.trim()
    .split(/\s+/);
  // Requests and sectors, written and discarded.
  return stat && [4, 6, 11, 13].map((field) => stat[field]).join(' ');
}

async function reopened({ access, sighting: { identity, stamp } }: PlannedSource, run: RunOptions): Promise<OpenArchive> {
  const archive = await openArchiveOrPart(identity.path, access, run);
  if (archive.digest === stamp) return archive;
  await archive.close();
  throw outdated('source', identity, { ...identity, digest: archive.digest });
}
