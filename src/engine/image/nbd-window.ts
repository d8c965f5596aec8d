/**
 * A window over a disk that the kernel cannot see: nbdfuse shows it as a file in a private folder, and a loop device with
 * offset and size limit stands on that file. A flush of the loop device becomes a flush of the server.
 */
import { mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import type { ByteRange, Window } from './contract.ts';
import { ImageIoError } from './errors.ts';
import { privateFolder, startHelper } from './helper.ts';
import { endLease } from './leased-folder.ts';
import { attachLoop } from './loop.ts';
import { bridgeTo } from './nbd-bridge.ts';
import { NbdFewClientsError } from './nbd-errors.ts';
import { type NbdEndpoint, usualPatience } from './nbd-pool.ts';
import { tlsOf } from './nbd-tls.ts';
import { withAbsoluteSocket } from './nbd-uri.ts';
import { ImageToolError, runTool } from './tools.ts';

const MOUNT = 'disk';
const FILE = 'raw';
const PID = 'pid';

/** @throws MissingToolError, UnusableImageError, NbdFewClientsError, ImageIoError when it cannot be set up */
export async function openNbdWindow(
  endpoint: NbdEndpoint,
  range: ByteRange,
  { readOnly }: { readonly readOnly: boolean },
): Promise<Window> {
  const tls = endpoint.failure === undefined ? await tlsOf(endpoint.name, endpoint.uri) : undefined;
  if (tls === undefined) return openPlain(endpoint, range, readOnly);
  const bridge = await bridgeTo(endpoint, tls, { readOnly });
  let window: Window;
  try {
    const { uri, failure } = bridge;
    window = await openPlain({ name: endpoint.name, uri, failure }, range, readOnly);
  } catch (error) {
    await bridge.stop();
    throw error;
  }
  return closing(window.device, async () => {
    try {
      await window.close();
    } finally {
      await bridge.stop();
    }
  });
}

async function openPlain(endpoint: NbdEndpoint, range: ByteRange, readOnly: boolean): Promise<Window> {
  const folder = await privateFolder();
  const shown = await showAsFile(endpoint, folder, readOnly).catch(async (error) => {
    await endLease(folder);
    throw error;
  });
  let window: Window;
  try {
    window = await attachLoop(join(shown.mount, FILE), range, { readOnly });
  } catch (error) {
    await shown.end();
    throw error;
  }
  return closing(window.device, async () => {
    try {
      if (!readOnly) await flush(endpoint.name, window.device, range);
    } finally {
      await window.close();
      await shown.end();
    }
  });
}

/** A window that is closed once, however often it is asked for. */
function closing(device: string, close: () => Promise<void>): Window {
  let closed: Promise<void> | undefined;
  return {
    device,
    close: () => {
      closed ??= close();
      return closed;
    },
  };
}

async function showAsFile(endpoint: NbdEndpoint, folder: string, readOnly: boolean) {
  const mount = join(folder, MOUNT);
  await mkdir(mount);
  const foreign = endpoint.failure === undefined;
  // Somebody else's server may have few places: each window takes one.
  const options = [...(readOnly ? ['-r'] : []), ...(foreign ? ['-C', '1'] : []), '-P', join(folder, PID)];
  const helper = await startHelper('nbdfuse', [...options, join(mount, FILE), withAbsoluteSocket(endpoint.uri)], folder);
  // The file with its process id comes when it serves.
  const { further } = endpoint.patience ?? usualPatience;
  if (!(await helper.made(PID, foreign ? further : undefined))) {
    const late = helper.ended() === undefined;
    if (late) await helper.stop(0);
    if (late) throw new NbdFewClientsError(endpoint.name, further);
    const detail = `the disk cannot be shown as a file: ${helper.said() || helper.ended()}`;
    throw new ImageIoError(endpoint.name, 'open', { detail });
  }
  return {
    mount,
    async end() {
      await unmount(mount, endpoint.name);
      if (!(await helper.gone(PATIENCE))) await helper.stop();
      await endLease(folder);
    },
  };
}

const PATIENCE = 10_000;

/** The loop device goes away only when whoever looked at it as well (udev) has closed it. */
async function unmount(mount: string, image: string): Promise<void> {
  const begun = performance.now();
  for (;;) {
    try {
      await runTool('umount', [mount], `closing a window of ${image}`);
      return;
    } catch (error) {
      const busy = error instanceof ImageToolError && /busy/.test(error.reason);
      if (!busy || performance.now() - begun > PATIENCE) throw error;
      await setTimeout(20);
    }
  }
}

/** Through the loop device, the file, and the server, to stable storage. */
async function flush(image: string, device: string, range: ByteRange): Promise<void> {
  try {
    const loop = await open(device, 'r+');
    try {
      await loop.sync();
    } finally {
      await loop.close();
    }
  } catch (cause) {
    throw new ImageIoError(image, 'flush', { ...range, cause });
  }
}
