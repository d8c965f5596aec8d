/** What a plan was made from, so that a run can tell that it is still so. */
import { stat } from 'node:fs/promises';
import { isDeepStrictEqual } from 'node:util';
import { type ByteRange, end, type ImageSource } from '../image/contract.ts';
import { hashRanges, type ImageIdentity, imageIdentity } from '../image/identity.ts';
import { parseSpec } from '../image/spec.ts';
import type { SourceReaderOptions } from '../lanes/source-reader.ts';
import { zeroFilled } from '../lanes/zero-filled.ts';
import type { PartitionTable } from '../layout/contract.ts';
import type { Region } from '../protect/region.ts';
import { CloneRefusedError, SourceChangedError } from './errors.ts';

/** One disk as the plan saw it. */
export interface Sighting {
  readonly identity: ImageIdentity;
  /** Where its partition table, boot code and profile stand. */
  readonly places: readonly ByteRange[];
  /** SHA-256 (hex) of them; an archive has no such places. */
  readonly sha256?: string;
  /** Device, inode, size and times of a raw file, the digest of an archive: as long as they stand, its bytes do. */
  readonly stamp?: string;
}

/** What must still be true when the run begins. */
export interface Preconditions {
  readonly source: Sighting;
  readonly target: Sighting;
}

/** How a failing source is read past the cache: see past-cache.ts. */
type PastCache = Pick<SourceReaderOptions, 'openDirect'>;

/** Where a table would stand on a disk that has none. */
const HEAD = 1 << 16;

export async function sighting(
  image: ImageSource,
  table: PartitionTable | undefined,
  regions: readonly Region[],
  past: PastCache = {},
): Promise<Sighting> {
  const head = table === undefined ? HEAD : table.sectorSize;
  const places = [{ offset: 0, length: Math.min(head, image.size) }, ...(table?.ownRanges ?? []), ...regions]
    .filter((range) => end(range) <= image.size)
    .map(({ offset, length }) => ({ offset, length }));
  return look(image, places, past);
}

/** @throws CloneRefusedError when the disk is no longer what the plan was made for */
export async function recheckOne(
  role: 'source' | 'target',
  planned: Sighting,
  image: ImageSource,
  past: PastCache = {},
): Promise<void> {
  const now = await look(image, planned.places, past);
  const stamp = planned.stamp === undefined ? undefined : await stampOf(planned.identity);
  if (isDeepStrictEqual(stamp === undefined ? now : { ...now, stamp }, planned)) return;
  throw outdated(role, planned.identity, now.identity);
}

export function outdated(role: 'source' | 'target', planned: ImageIdentity, found: unknown): CloneRefusedError {
  return new CloneRefusedError(
    'PLAN_OUTDATED',
    `the ${role} ${planned.path} changed after the plan was made`,
    'Look at it again and run the command again. Nothing was written.',
    { planned, found },
  );
}

/**
 * Changes whenever somebody writes to a raw file. Undefined for devices and servers, where nobody can tell, and for containers,
 * whose backing files would count too.
 */
export async function stampOf({ path, kind, format }: ImageIdentity): Promise<string | undefined> {
  const { base } = await parseSpec(path);
  if (kind !== 'file' || format !== undefined || base.kind !== 'path') return undefined;
  const { dev, ino, size, mtimeNs, ctimeNs } = await stat(base.path, { bigint: true });
  return [dev, ino, size, mtimeNs, ctimeNs].join(':');
}

/** @throws SourceChangedError when somebody has written to the source since the plan was made */
export async function checkUnchanged({ identity, stamp }: Sighting): Promise<void> {
  if (stamp !== undefined && (await stampOf(identity)) !== stamp) throw new SourceChangedError(identity);
}

async function look(image: ImageSource, places: readonly ByteRange[], past: PastCache): Promise<Sighting> {
  const identity = await imageIdentity(image.name, image.size, image.sectorSize);
  // A sector that cannot be read now will not be read then either.
  const { image: view } = zeroFilled(image, past);
  try {
    return { identity, places, sha256: await hashRanges(view, places) };
  } finally {
    await view.close();
  }
}
