/**
 * A window over an image in an archive. A process of its own serves it: the kernel asks for its bytes while this process waits for
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
import type { Archive } from './archive.ts';

export const SOCKET = 'socket';
export const READY = 'ready';

/** Milliseconds. */
const PATIENCE = 60_000;

/** @throws MissingToolError, ImageIoError when it cannot be set up */
export async function openArchiveWindow(
  archive: Pick<Archive, 'name' | 'access'>,
  image: string,
  range: ByteRange,
): Promise<Window> {
  const { name, access } = archive;
  const folder = await privateFolder();
  const args = [...program(), resolve(name), JSON.stringify(access), image, folder];
  const helper = await startProgram('node', process.execPath, args, folder).catch(async (error: unknown) => {
    await endLease(folder);
    throw error;
  });
  const end = async (): Promise<void> => {
    await helper.stop();
    await endLease(folder);
  };
  try {
    if (!(await helper.made(READY, PATIENCE))) {
      throw new ImageIoError(name, 'open', {
        detail: `its files cannot be shown: ${helper.said() || helper.ended() || 'no answer'}`,
      });
    }
    const uri = `nbd+unix:///?socket=${encodeURIComponent(join(folder, SOCKET))}`;
    const failure = async (): Promise<string | undefined> => helper.said() || helper.ended();
    const window = await openNbdWindow({ name, uri, failure }, range, { readOnly: true });
    return {
      device: window.device,
      async close() {
        try {
          await window.close();
        } finally {
          await end();
        }
      },
    };
  } catch (error) {
    await end();
    throw error;
  }
}

/** The built program has it beside itself; while it is developed the source is run. */
function program(): string[] {
  const here = dirname(fileURLToPath(import.meta.url));
  const built = join(here, 'serve.cjs');
  return existsSync(built)
    ? [built]
    : ['--import', createRequire(import.meta.url).resolve('tsx'), join(here, '../../serve-main.ts')];
}
