/** Opens an archive by the name that the user gave: a directory, a tar file, or one in a registry. */
import { stat } from 'node:fs/promises';
import type { RunOptions } from '../events.ts';
import { isRegistryName, parseSpec } from '../image/spec.ts';
import type { ArchiveAccess } from './access.ts';
import { Archive, type ArchiveOptions } from './archive.ts';
import { DirectorySource } from './directory.ts';
import { ArchiveCorruptError, ArchiveIoError, NotAnArchiveError } from './errors.ts';
import { readKeys } from './keys.ts';
import { checkLayoutFile, DocumentError } from './oci.ts';
import { parseReference } from './registry/reference.ts';
import type { BlobSource } from './store.ts';
import { TarSource } from './tar-source.ts';
import { Zstd } from './zstd.ts';

/**
 * `run` is heeded while something is fetched from a registry, also after this.
 * @throws NotAnArchiveError, ArchiveCorruptError, ArchiveVersionError, ArchiveIncompleteError, ArchiveIoError, the errors of registries and of keys
 */
export async function openArchive(path: string, access: ArchiveAccess = {}, run: RunOptions = {}): Promise<Archive> {
  return openWith(path, await archiveOptions(access), run);
}

/** As `openArchive`, also when only a part is meant: `golden.tar#3`. @throws NoSuchPartError when that names no part */
export async function openArchiveOrPart(text: string, access: ArchiveAccess = {}, run: RunOptions = {}): Promise<Archive> {
  const { base, part } = await parseSpec(text);
  const options = { ...(await archiveOptions(access)), ...(part === undefined ? {} : { part }) };
  return openWith(base.kind === 'path' ? base.path : base.uri, options, run);
}

async function openWith(path: string, options: ArchiveOptions, run: RunOptions): Promise<Archive> {
  const source = await (isRegistryName(path) ? openInRegistry(path, options.access, run) : openStore(path));
  try {
    return await Archive.open(source, options);
  } catch (error) {
    await source.close();
    throw error;
  }
}

async function openInRegistry(name: string, { plainHttp = false }: ArchiveAccess, run: RunOptions): Promise<BlobSource> {
  const { RegistrySource } = await import('./registry/registry-source.ts');
  return RegistrySource.open(parseReference(name), { ...run, plainHttp });
}

/** With the keys that `access` names. @throws as readKeys */
export async function archiveOptions(access: ArchiveAccess = {}): Promise<ArchiveOptions> {
  return { access, zstd: Zstd.usual(), keys: await readKeys(access) };
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
