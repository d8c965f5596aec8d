/**
 * A window over a part of an image that may be written although the image is not: what is written goes into an overlay that
 * qemu-nbd keeps in a temporary file, and is gone when the window is closed. For journals that have to be replayed to be read.
 */
import { stat } from 'node:fs/promises';
import { examineContainer } from './container.ts';
import type { ByteRange, Window } from './contract.ts';
import { openFailed, UnusableImageError } from './errors.ts';
import { openNbdWindow } from './nbd-window.ts';
import { serveDisk } from './qemu-nbd.ts';
import { parseSpec } from './spec.ts';

/**
 * `text` is what the user named: a disk, not a part of one.
 * @throws UnusableImageError for servers and parts of disks; MissingToolError, ImageIoError
 */
export async function openScratch(text: string, range: ByteRange): Promise<Window> {
  const { base, part } = await parseSpec(text);
  if (base.kind !== 'path' || part !== undefined) {
    const why = `a journal cannot be replayed beside ${part === undefined ? 'a server' : 'a part of a disk'}`;
    throw new UnusableImageError(text, why, 'Name the disk itself, or a copy of it in a file.');
  }
  const { path } = base;
  const device = (await stat(path).catch(openFailed(path))).isBlockDevice();
  const format = (await examineContainer(path)).format ?? 'raw';
  const server = await serveDisk({ path, name: text, format, readOnly: false, scratch: true, device });
  let window: Window;
  try {
    window = await openNbdWindow({ name: text, uri: server.uri, failure: () => server.failure() }, range, { readOnly: false });
  } catch (error) {
    await server.stop();
    throw error;
  }
  let closing: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    try {
      await window.close();
    } finally {
      await server.stop();
    }
  };
  return {
    device: window.device,
    close: () => {
      closing ??= close();
      return closing;
    },
  };
}
