/** A process of its own that shows an image of an archive to the kernel's helpers: ARCHIVE IMAGE FOLDER. See engine/archive/window.ts. */
import { serveArchive } from './engine/archive/serve.ts';

export async function serve([path, name, folder]: readonly string[]): Promise<void> {
  const tell = (error: unknown): void => void process.stderr.write(`${(error as Error).message}\n`);
  try {
    if (path === undefined || name === undefined || folder === undefined) throw new RangeError('usage: ARCHIVE IMAGE FOLDER');
    await serveArchive({ path, name, folder }, tell);
  } catch (error) {
    tell(error);
    process.exit(1);
  }
}
