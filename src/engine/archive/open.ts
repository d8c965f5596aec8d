/** Opens an archive by the name that the user gave: a directory or a tar file. */
import { stat } from 'node:fs/promises';
import type { ArchiveAccess } from './access.ts';
import { Archive } from './archive.ts';
import { DirectorySource } from './directory.ts';
import { ArchiveCorruptError, ArchiveIoError, NotAnArchiveError } from './errors.ts';
import { checkLayoutFile, DocumentError } from './oci.ts';
import type { BlobSource } from './store.ts';
import { TarSource } from './tar-source.ts';
import { Zstd } from './zstd.ts';

/** @throws NotAnArchiveError, ArchiveCorruptError, ArchiveVersionError, ArchiveIncompleteError, ArchiveIoError */
export async function openArchive(path: string, access: ArchiveAccess = {}, zstd: Zstd = Zstd.usual()): Promise<Archive> {
  const source = await openStore(path);
  try {
    return await Archive.open(source, { access, zstd });
  } catch (error) {
    await source.close();
    throw error;
  }
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
