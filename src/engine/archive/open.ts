/** Opens an archive by the name that the user gave: a directory or a tar file. */
import { stat } from 'node:fs/promises';
import { parseSpec } from '../image/spec.ts';
import type { ArchiveAccess } from './access.ts';
import { Archive, type ArchiveOptions } from './archive.ts';
import { DirectorySource } from './directory.ts';
import { ArchiveCorruptError, ArchiveIoError, NotAnArchiveError } from './errors.ts';
import { readKeys } from './keys.ts';
import { checkLayoutFile, DocumentError } from './oci.ts';
import type { BlobSource } from './store.ts';
import { TarSource } from './tar-source.ts';
import { Zstd } from './zstd.ts';

/** @throws NotAnArchiveError, ArchiveCorruptError, ArchiveVersionError, ArchiveIncompleteError, ArchiveIoError */
export async function openArchive(path: string, access: ArchiveAccess = {}, zstd: Zstd = Zstd.usual()): Promise<Archive> {
  return openWith(path, await archiveOptions(access, zstd));
}

/** As `openArchive`, also when only a part is meant: `golden.tar#3`. @throws NoSuchPartError when that names no part */
export async function openArchiveOrPart(text: string, access: ArchiveAccess = {}): Promise<Archive> {
  const { base, part } = await parseSpec(text);
  const options = { ...(await archiveOptions(access)), ...(part === undefined ? {} : { part }) };
  return openWith(base.kind === 'path' ? base.path : text, options);
}

async function openWith(path: string, options: ArchiveOptions): Promise<Archive> {
  const source = await openStore(path);
  try {
    return await Archive.open(source, options);
  } catch (error) {
    await source.close();
    throw error;
  }
}

/** With the keys that `access` names. @throws as readKeys */
export async function archiveOptions(access: ArchiveAccess = {}, zstd: Zstd = Zstd.usual()): Promise<ArchiveOptions> {
  return { access, zstd, keys: await readKeys(access) };
}

export async function openStore(path: string): Promise<BlobSource> {
  const stats = await stat(path).catch((error: unknown) => {
    throw new ArchiveIoError(path, 'reading', error);
  });
  const source = stats.isDirectory() ? new DirectorySource(path) : await TarSource.open(path);
  try {
    checkLayoutFile(await source.document('oci-layout'));
    return source;
  } catch (error) {
    await source.close();
    if (error instanceof ArchiveCorruptError) throw new NotAnArchiveError(path, 'it has no file "oci-layout"');
    if (error instanceof DocumentError) throw new ArchiveCorruptError(path, 'oci-layout', error.message, error);
    throw error;
  }
}
