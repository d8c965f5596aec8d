/** Which archives there are, and what each holds. Reads only, and of each no more than its documents. */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { ArchiveAccess } from '../archive/access.ts';
import type { Archive } from '../archive/archive.ts';
import { cellsOf } from '../archive/cells.ts';
import { UNFINISHED } from '../archive/directory.ts';
import { NotAnArchiveError } from '../archive/errors.ts';
import { readKeys } from '../archive/keys.ts';
import { openArchive } from '../archive/open.ts';
import { DoppelError, RefusedError } from '../errors.ts';
import { looksLikeArchive } from '../image/identity.ts';
import type { SystemInfo } from '../persona/system.ts';
import { archivedMachine } from './archived-source.ts';
import type { Part } from './disk.ts';

export interface ListedArchive {
  /** As for the commands that take an archive. */
  readonly name: string;
  readonly digest: string;
  readonly system?: SystemInfo;
  readonly parts: readonly Part[];
  /** Bytes of the disk. */
  readonly size: number;
  /** Bytes of it that are in the archive. */
  readonly data: number;
  readonly segments: number;
  /** Bytes of the segments, those that are the same counted once. */
  readonly stored: number;
}

/** What is no archive that can be used. */
export interface UnlistedArchive {
  readonly name: string;
  /** `foreign`, `unfinished` and `refused` (as without its key) stand in a directory among the others, and nothing is wrong with that. */
  readonly what: 'damaged' | 'foreign' | 'unfinished' | 'refused';
  readonly error: DoppelError;
}

export interface ArchiveList {
  readonly archives: readonly ListedArchive[];
  readonly others: readonly UnlistedArchive[];
}

/** Each place is an archive, or a directory with archives in it. */
export async function listArchives(places: readonly string[], access: ArchiveAccess = {}): Promise<ArchiveList> {
  // What is wrong with the keys is not wrong with every archive.
  await readKeys(access);
  const archives: ListedArchive[] = [];
  const others: UnlistedArchive[] = [];
  for (const place of places) {
    const within = await archivesIn(place);
    for (const name of within ?? [place]) {
      try {
        archives.push(await described(name, access));
      } catch (error) {
        if (!(error instanceof DoppelError)) throw error;
        others.push({ name, what: within === undefined ? 'damaged' : await whatItIs(name, error), error });
      }
    }
  }
  return { archives, others };
}

/** Paths of what may be an archive, sorted; undefined for what cannot be read as a directory, or is an archive itself. */
async function archivesIn(place: string): Promise<string[] | undefined> {
  const names = await readdir(place).catch(() => undefined);
  if (names === undefined || names.includes('oci-layout')) return undefined;
  const found: string[] = [];
  for (const name of names.sort()) {
    const path = join(place, name);
    // What is named as one is told of, also when there is nothing in it.
    const isNamed = name.endsWith('.tar') && (await isFile(path));
    if (isNamed || (await looksLikeArchive(path).catch(() => false))) found.push(path);
  }
  return found;
}

function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (stats) => stats.isFile(),
    () => false,
  );
}

async function whatItIs(path: string, error: DoppelError): Promise<UnlistedArchive['what']> {
  if (error instanceof NotAnArchiveError) return 'foreign';
  if (error instanceof RefusedError) return 'refused';
  if (path.endsWith(UNFINISHED)) return 'unfinished';
  const names = await readdir(path).catch(() => ['index.json']);
  return names.includes('index.json') ? 'damaged' : 'unfinished';
}

async function described(name: string, access: ArchiveAccess): Promise<ListedArchive> {
  const archive = await openArchive(name, access);
  try {
    const { image, disk } = archivedMachine(archive);
    const { digest } = archive;
    const { system, parts, size } = disk;
    return {
      name,
      digest,
      ...(system === undefined ? {} : { system }),
      parts,
      size,
      data: image.data.bytes,
      ...sizesOf(archive),
    };
  } finally {
    await archive.close();
  }
}

function sizesOf(archive: Archive): Pick<ListedArchive, 'segments' | 'stored'> {
  const sizes = new Map<string, number>();
  let segments = 0;
  for (const image of archive.layout.images) {
    for (const cell of cellsOf(image, archive.layout.segmentSize)) {
      const { digest, size } = archive.segment(cell);
      sizes.set(digest, size);
      segments++;
    }
  }
  return { segments, stored: [...sizes.values()].reduce((sum, size) => sum + size, 0) };
}
