/** A process of its own that shows an image of an archive to the kernel's helpers: ARCHIVE ACCESS IMAGE FOLDER. See engine/archive/window.ts. */
import type { ArchiveAccess } from './engine/archive/access.ts';
import { serveArchive } from './engine/archive/serve.ts';

export async function serve([path, access, name, folder]: readonly string[]): Promise<void> {
  const tell = (error: unknown): void => void process.stderr.write(`${(error as Error).message}\n`);
  try {
    if (path === undefined || access === undefined || name === undefined || folder === undefined)
      throw new RangeError('usage: ARCHIVE ACCESS IMAGE FOLDER');
    await serveArchive({ path, access: JSON.parse(access) as ArchiveAccess, name, folder }, tell);
  } catch (error) {
    tell(error);
    process.exit(1);
  }
}
