/** What `doppel inspect` tells about a disk. Reads only. */

import { stat } from 'node:fs/promises';
import type { ArchiveAccess } from '../archive/access.ts';
import type { Archive } from '../archive/archive.ts';
import { type ArchiveFacts, archiveFacts } from '../archive/facts.ts';
import { openArchiveOrPart } from '../archive/open.ts';
import { DoppelError } from '../errors.ts';
import { examineContainer } from '../image/container.ts';
import { openFailed } from '../image/errors.ts';
import { type ImageIdentity, imageIdentity } from '../image/identity.ts';
import { parseSpec } from '../image/spec.ts';
import { imageUsers } from '../image/users.ts';
import { openForInspection } from '../layout/part-of-disk.ts';
import type { Bundle } from '../profile/model.ts';
import type { Region } from '../protect/region.ts';
import { allocationOf, type Contents, contentsOf } from './contents.ts';
import { type Disk, type Part, surveyDisk } from './disk.ts';
import { refuseUnsigned } from './plan-refusals.ts';
import { isArchive, withSource } from './source.ts';
import { readStoredProfile } from './stored-profile.ts';
import { readOnlyWindows } from './system.ts';

export interface InspectedPart extends Part {
  /** Bytes in use; undefined when nothing can tell. */
  readonly used?: number;
  /** How that is known, or why not. */
  readonly how: string;
}

/** How a file keeps its disk. */
export interface ImageStorage {
  /** Bytes that its files take on their file system; what it is based on is not counted. */
  readonly sizeOnDisk: number;
  /** Absolute paths of what it is based on, the nearest first. */
  readonly backing: readonly string[];
}

export interface Inspection {
  readonly image: ImageIdentity;
  readonly archive?: ArchiveFacts;
  /** Of files. */
  readonly storage?: ImageStorage;
  readonly disk: Disk;
  readonly parts: readonly InspectedPart[];
  /** Bytes that the medium holds, as far as it tells (holes of a file are not counted). */
  readonly allocated: number;
  readonly regions: readonly {
    readonly region: Region;
    readonly bundle?: Bundle;
    readonly generation?: number;
    /** Why it holds no usable profile, or what was survived. */
    readonly problems: readonly string[];
  }[];
  /** Who uses the image right now, each a clause. */
  readonly users: readonly string[];
  readonly notes: readonly string[];
}

/** `access` is for archives. @throws CorruptInputError for a table that cannot be read, ImageIoError, ForeignFormatError, the errors of openArchive */
export async function inspectImage(path: string, access: ArchiveAccess = {}): Promise<Inspection> {
  if (await isArchive(path)) return inspectArchive(path, access);
  refuseUnsigned(path, access);
  const users = (await imageUsers(path)).map(({ what }) => what);
  const image = await openForInspection(path);
  try {
    const root = process.getuid?.() === 0;
    const openWindow = readOnlyWindows(image);
    const disk = await surveyDisk(image, root ? { openWindow } : {});
    const allocation = await allocationOf(image);
    const parts: InspectedPart[] = [];
    for (const part of disk.parts) {
      if (part.kind === 'profile') {
        parts.push({ ...part, how: 'protected' });
        continue;
      }
      const contents: Contents = await contentsOf(image, part, allocation, { exact: false, inconsistent: false });
      parts.push({ ...part, how: contents.how, ...(contents.whole ? {} : { used: contents.data.bytes + contents.zero.bytes }) });
    }
    const notes = [...image.notes, ...disk.notes, ...(root ? [] : ['whose system it is can be told only by root'])];
    const storage = await storageOf(path);
    return {
      ...(storage === undefined ? {} : { storage }),
      image: await imageIdentity(path, disk.size, disk.sectorSize),
      disk,
      parts,
      allocated: allocation.data.bytes,
      regions: await regionsOf(image, disk.regions),
      users,
      notes,
    };
  } finally {
    await image.close();
  }
}

async function inspectArchive(path: string, access: ArchiveAccess): Promise<Inspection> {
  const archive = await openArchiveOrPart(path, access);
  try {
    return await inspectOpen(path, archive);
  } finally {
    await archive.close();
  }
}

function inspectOpen(path: string, archive: Archive): Promise<Inspection> {
  const request = { source: path, archive, kinds: {}, kindOverrides: new Map(), exact: false, allowInconsistent: false };
  return withSource(request, async ({ identity, image, disk, allocation, lost, contentsOf: contents }) => {
    const parts: InspectedPart[] = [];
    for (const part of disk.parts) {
      const { how, whole, data, zero } = await contents(part);
      parts.push({ ...part, how, ...(whole ? {} : { used: data.bytes + zero.bytes }) });
    }
    return {
      image: identity,
      archive: archiveFacts(archive),
      disk,
      parts,
      allocated: allocation.data.bytes,
      regions: [],
      users: [],
      notes: [
        ...image.notes,
        ...(lost.bytes === 0 ? [] : [`${lost.bytes} bytes could not be read when it was captured, and are zeros in it`]),
      ],
    };
  });
}

async function storageOf(text: string): Promise<ImageStorage | undefined> {
  const { base } = await parseSpec(text);
  if (base.kind !== 'path') return undefined;
  const { path } = base;
  if (!(await stat(path).catch(openFailed(path))).isFile()) return undefined;
  const { files, backing } = await examineContainer(path);
  let sizeOnDisk = 0;
  for (const file of files) sizeOnDisk += (await stat(file).catch(openFailed(file))).blocks * 512;
  return { sizeOnDisk, backing };
}

async function regionsOf(
  image: Parameters<typeof readStoredProfile>[0],
  regions: readonly Region[],
): Promise<Inspection['regions']> {
  const told: Inspection['regions'][number][] = [];
  for (const region of regions) {
    try {
      const stored = await readStoredProfile(image, [region]);
      told.push(
        stored === undefined
          ? { region, problems: ['it holds no profile yet'] }
          : { region, bundle: stored.bundle, generation: stored.generation, problems: stored.problems },
      );
    } catch (error) {
      if (!(error instanceof DoppelError)) throw error;
      told.push({ region, problems: [error.message] });
    }
  }
  return told;
}
