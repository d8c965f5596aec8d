/**
 * Windows over an image in an archive. A process of its own serves them: the kernel asks for its bytes while this process waits for
 * the kernel, and nobody could answer.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ByteRange, Window } from '../image/contract.ts';
import { ImageIoError } from '../image/errors.ts';
import { privateFolder, startProgram } from '../image/helper.ts';
import { endLease } from '../image/leased-folder.ts';
import { openNbdWindow } from '../image/nbd-window.ts';
import { isRegistryName } from '../image/spec.ts';
import type { Archive } from './archive.ts';
import { parseReference, pinned } from './registry/reference.ts';

export const SOCKET = 'socket';
export const READY = 'ready';

/** Milliseconds. */
const PATIENCE = 60_000;

/** A process that serves an image, for as many windows as are opened until `stop`. */
export interface ArchiveServer {
  /** @throws MissingToolError, ImageIoError when it cannot be set up */
  openWindow(range: ByteRange): Promise<Window>;
  stop(): Promise<void>;
}

/** @throws ImageIoError when it does not start */
export async function startArchiveServer(
  archive: Pick<Archive, 'name' | 'access' | 'digest'>,
  image: string,
): Promise<ArchiveServer> {
  const { name, access } = archive;
  const folder = await privateFolder();
  const args = [...program(), lasting(archive), JSON.stringify(access), image, folder];
  const helper = await startProgram('node', process.execPath, args, folder).catch(async (error: unknown) => {
    await endLease(folder);
    throw error;
  });
  const stop = async (): Promise<void> => {
    await helper.stop();
    await endLease(folder);
  };
  if (!(await helper.made(READY, PATIENCE))) {
    const detail = `its files cannot be shown: ${helper.said() || helper.ended() || 'no answer'}`;
    await stop();
    throw new ImageIoError(name, 'open', { detail });
  }
  const uri = `nbd+unix:///?socket=${encodeURIComponent(join(folder, SOCKET))}`;
  const failure = async (): Promise<string | undefined> => helper.said() || helper.ended();
  return { openWindow: (range) => openNbdWindow({ name, uri, failure }, range, { readOnly: true }), stop };
}

/** What it is called for another process, in another folder, and when its tag has moved on. */
function lasting({ name, digest }: Pick<Archive, 'name' | 'digest'>): string {
  return isRegistryName(name) ? pinned(parseReference(name), digest) : resolve(name);
}

/** The built program has it beside itself; while it is developed the source is run. */
function program(): string[] {
  const here = dirname(fileURLToPath(import.meta.url));
  const built = join(here, 'serve.cjs');
  return existsSync(built)
    ? [built]
    : ['--import', createRequire(import.meta.url).resolve('tsx'), join(here, '../../serve-main.ts')];
}
