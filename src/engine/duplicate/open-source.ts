/** Opens the source of a plan, whatever it is. */
import { ArchivedDisk } from '../archive/archived-disk.ts';
import { openArchive } from '../archive/open.ts';
import type { ImageIdentity } from '../image/identity.ts';
import type { SourceImage } from '../image/open-image.ts';
import { openSource } from '../layout/part-of-disk.ts';
import { archivedMachine } from './archived-source.ts';

/** @throws the errors of openSource and openArchive */
export async function openPlannedSource({
  source: { path, kind },
  inconsistent,
}: {
  readonly source: ImageIdentity;
  readonly inconsistent: boolean;
}): Promise<SourceImage> {
  if (kind === 'archive') {
    const archive = await openArchive(path);
    return new ArchivedDisk(archive, archivedMachine(archive).image);
  }
  return (await openSource(path, { allowInconsistent: inconsistent })).image;
}
