/** What the process behind a window does: it shows an image of an archive to the kernel's helpers. See window.ts. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ArchivedDisk } from './archived-disk.ts';
import { serveImage } from './nbd-server.ts';
import { openArchive } from './open.ts';
import { READY, SOCKET } from './window.ts';

/** Serves until the process ends. @throws the errors of openArchive; RangeError when there is no such image */
export async function serveArchive(
  { path, name, folder }: { readonly path: string; readonly name: string; readonly folder: string },
  onError: (error: unknown) => void,
): Promise<void> {
  const archive = await openArchive(path);
  const image = archive.layout.images.find((each) => each.name === name);
  if (image === undefined) throw new RangeError(`${path} has no image ${name}`);
  await serveImage(new ArchivedDisk(archive, image), join(folder, SOCKET), onError);
  writeFileSync(join(folder, READY), '');
}
