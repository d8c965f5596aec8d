/** What the process behind a window does: it shows an image of an archive to the kernel's helpers. See window.ts. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ArchiveAccess } from './access.ts';
import { ArchivedDisk } from './archived-disk.ts';
import { serveImage } from './nbd-server.ts';
import { openArchive } from './open.ts';
import { READY, SOCKET } from './window.ts';

export interface ServedImage {
  readonly path: string;
  readonly access: ArchiveAccess;
  /** Of the image. */
  readonly name: string;
  readonly folder: string;
}

/** Serves until the process ends. @throws the errors of openArchive; RangeError when there is no such image */
export async function serveArchive(
  { path, access, name, folder }: ServedImage,
  onError: (error: unknown) => void,
): Promise<void> {
  const archive = await openArchive(path, access);
  const image = archive.layout.images.find((each) => each.name === name);
  if (image === undefined) throw new RangeError(`${path} has no image ${name}`);
  await serveImage(new ArchivedDisk(archive, image), join(folder, SOCKET), onError);
  writeFileSync(join(folder, READY), '');
}
