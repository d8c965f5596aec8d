/** A disk file in another format than raw, opened through a qemu-nbd of our own. */
import { constants, type FileHandle, open } from 'node:fs/promises';
import { setTimeout } from 'node:timers/promises';
import { SystemCallError, startWriteback, tryLock } from '../native/libc.ts';
import type { Container } from './container.ts';
import { ImageIoError, openFailed, UnusableImageError } from './errors.ts';
import type { DiskFormat } from './format.ts';
import { NbdImage } from './nbd.ts';
import type { OpenMode } from './open-image.ts';
import { type QemuServer, serveDisk } from './qemu-nbd.ts';
import { dropCached } from './read-back.ts';

/** Formats for which QEMU's drivers have a way of their own to make zeros. */
const zeroesWell: ReadonlySet<DiskFormat> = new Set(['qcow2', 'qed']);

/**
 * `name` is what the user wrote. `evenInUse`: look at it although a virtual machine runs from it.
 * @throws UnusableImageError, MissingToolError, ImageIoError
 */
export async function openContainer(
  name: string,
  container: Container,
  mode: OpenMode,
  options: { readonly evenInUse?: boolean } = {},
): Promise<NbdImage> {
  const { format, files, readOnlyBecause } = container;
  const path = files[0] as string;
  if (format === undefined) throw new TypeError(`${name} is raw`);
  if (mode === 'write' && readOnlyBecause !== undefined) {
    throw new UnusableImageError(name, readOnlyBecause, 'Use it as a source, or name another target.');
  }
  const host = await open(path, mode === 'read' ? constants.O_RDONLY : constants.O_RDWR).catch(openFailed(name));
  let server: QemuServer;
  try {
    const serve = { path, name, format, readOnly: mode === 'read' };
    server = await serveDisk({ ...serve, ...(options.evenInUse === undefined ? {} : { evenInUse: options.evenInUse }) });
  } catch (error) {
    await host.close();
    throw error;
  }
  return NbdImage.open(
    {
      name,
      uri: server.uri,
      notes: container.notes,
      storesZeros: !zeroesWell.has(format),
      failure: () => server.failure(),
      lock: (wanted) => lock(host, name, wanted),
      dropCaches: async () => {
        let gone = true;
        for (const file of files) gone = (await dropCached(file)) && gone;
        // QEMU itself keeps no data, so what is read from now on came from the medium.
        return gone ? 'dropped' : 'none';
      },
      startWriteback: () => begin(host),
      close: async () => {
        try {
          await server.stop();
          // Closing may have written the format's own header once more.
          if (mode === 'write') {
            await host.sync().catch((cause) => {
              throw new ImageIoError(name, 'flush', { cause });
            });
          }
        } finally {
          await host.close();
        }
      },
    },
    mode,
  );
}

/** As of raw files: a second doppel stays away. QEMU's own locks keep other QEMUs away. */
async function lock(host: FileHandle, name: string, mode: 'exclusive' | 'shared'): Promise<boolean> {
  for (let attempt = 0; attempt < 20; attempt++) {
    try {
      if (tryLock(host.fd, mode)) return true;
    } catch (cause) {
      throw new ImageIoError(name, 'lock', { cause });
    }
    await setTimeout(100);
  }
  return false;
}

const beginning = new WeakSet<FileHandle>();

/** Where a byte of the disk stands in the file only QEMU knows: everything dirty begins its way to the medium, one call at a time. */
async function begin(host: FileHandle): Promise<void> {
  if (beginning.has(host)) return;
  beginning.add(host);
  try {
    await startWriteback(host.fd, 0, 0);
  } catch (error) {
    // A hint: flush does the work and reports what is wrong.
    if (!(error instanceof SystemCallError)) throw error;
  } finally {
    beginning.delete(host);
  }
}
