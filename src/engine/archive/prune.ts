/** Which files of an archive's directory nothing names, and how they go. */
import { open, readdir, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { RefusedError } from '../errors.ts';
import { BLOBS, openLocked, UNFINISHED } from './directory.ts';
import { ArchiveIoError, NotAnArchiveError } from './errors.ts';
import { openStore } from './open.ts';
import { reachable } from './reachable.ts';

export interface PrunableFile {
  /** In the directory. */
  readonly path: string;
  /** Bytes. */
  readonly size: number;
}

export interface PrunePlan {
  readonly directory: string;
  readonly remove: readonly PrunableFile[];
  /** Blobs that are named. */
  readonly kept: { readonly blobs: number; readonly bytes: number };
}

export interface PruneOptions {
  /** Also of a directory that has no `index.json`, where nothing is named. */
  readonly unfinished: boolean;
}

const BLOB_NAME = new RegExp(`^([0-9a-f]{64})(${UNFINISHED.replace('.', '\\.')})?$`);

/** @throws RefusedError when it cannot be told what is named; NotAnArchiveError, ArchiveCorruptError, ArchiveIoError */
export async function planPrune(directory: string, { unfinished }: PruneOptions): Promise<PrunePlan> {
  const failed = (error: unknown): never => {
    throw new ArchiveIoError(directory, 'looking through', error);
  };
  if (!(await stat(directory).catch(failed)).isDirectory()) throw new NotAnArchiveError(directory, 'it is no directory');
  const source = await openStore(directory);
  try {
    const names = await readdir(directory).catch(failed);
    const isFinished = names.includes('index.json');
    if (!isFinished && !unfinished) throw refusedWithoutIndex(directory);
    const files = names.includes('blobs') ? await blobFiles(directory).catch(failed) : [];
    const present = new Set(files.flatMap(({ digest }) => digest ?? []));
    const named = isFinished ? await reachable(source, present) : new Set<string>();
    const [remove, kept] = [[] as PrunableFile[], { blobs: 0, bytes: 0 }];
    for (const { digest, path, size } of files) {
      if (digest === undefined || !named.has(digest)) remove.push({ path, size });
      else {
        kept.blobs++;
        kept.bytes += size;
      }
    }
    const index = `index.json${UNFINISHED}`;
    if (names.includes(index)) remove.push({ path: index, size: (await stat(join(directory, index)).catch(failed)).size });
    return { directory, remove, kept };
  } finally {
    await source.close();
  }
}

/**
 * Returns when what was removed is gone for good.
 * @throws RefusedError when the directory is not what the plan was made for, or somebody writes to it; ArchiveIoError
 */
export async function executePrune(plan: PrunePlan, options: PruneOptions): Promise<void> {
  const { directory } = plan;
  const failed = (error: unknown): never => {
    throw error instanceof RefusedError ? error : new ArchiveIoError(directory, 'removing blobs of', error);
  };
  const folder = await openLocked(directory).catch(failed);
  try {
    if (!isDeepStrictEqual(await planPrune(directory, options), plan)) throw changedMeanwhile(directory);
    for (const { path } of plan.remove) await rm(join(directory, path)).catch(failed);
    for (const changed of new Set(plan.remove.map(({ path }) => dirname(path))))
      await syncFolder(join(directory, changed)).catch(failed);
  } finally {
    await folder.close();
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path);
  await folder.sync().finally(() => folder.close());
}

interface BlobFile extends PrunableFile {
  /** Absent of one that is not whole. */
  readonly digest?: string;
}

/** Files that have the name of a blob, sorted; whatever else is there is none of ours. */
async function blobFiles(directory: string): Promise<BlobFile[]> {
  const files: BlobFile[] = [];
  const entries = await readdir(join(directory, BLOBS), { withFileTypes: true });
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const [, hex, ending] = BLOB_NAME.exec(entry.name) ?? [];
    if (hex === undefined || !entry.isFile()) continue;
    const path = `${BLOBS}/${entry.name}`;
    const { size } = await stat(join(directory, path));
    files.push({ path, size, ...(ending === undefined ? { digest: `sha256:${hex}` } : {}) });
  }
  return files;
}

function refusedWithoutIndex(directory: string): RefusedError {
  return new RefusedError(`${directory} has no index.json: a capture was interrupted there, or is going on`, {
    code: 'ARCHIVE_UNFINISHED',
    todo: `The same capture goes on in it. If it shall not: add --unfinished, which removes all blobs.`,
    data: { directory },
  });
}

function changedMeanwhile(directory: string): RefusedError {
  return new RefusedError(`${directory} changed after it was looked through`, {
    code: 'PLAN_OUTDATED',
    todo: 'Nothing was removed. Run the command again when nobody writes to it.',
    data: { directory },
  });
}
