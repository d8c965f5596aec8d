/** A qemu-nbd of our own that serves one disk on a private socket. It ends with its last connection, and with us. */
import { join } from 'node:path';
import { ImageIoError } from './errors.ts';
import type { DiskFormat } from './format.ts';
import { type Helper, privateFolder, startHelper } from './helper.ts';
import { endLease } from './leased-folder.ts';

export interface ServeOptions {
  /** Absolute path of a regular file, or with `device` of a block device. */
  readonly path: string;
  /** As the user named the image; for messages. */
  readonly name: string;
  readonly format: DiskFormat | 'raw';
  readonly readOnly: boolean;
  /** Look at it even when a virtual machine has it. */
  readonly evenInUse?: boolean;
  /** Nothing is written to the file: it goes into a temporary overlay, and is gone with the server. */
  readonly scratch?: boolean;
  readonly device?: boolean;
}

export interface QemuServer {
  readonly uri: string;
  /** Why it ended, in its own words; undefined while it runs. Waits a moment, as a broken connection is noticed earlier. */
  failure(): Promise<string | undefined>;
  /** To be called when all connections are closed: waits until it has put everything into the file. @throws ImageIoError */
  stop(): Promise<void>;
}

const SOCKET = 'socket';
const PID = 'pid';
/** Lanes, their read-back, and windows. */
const CONNECTIONS = 64;

/** @throws MissingToolError, ImageIoError with what qemu-nbd said */
export async function serveDisk(options: ServeOptions): Promise<QemuServer> {
  const folder = await privateFolder();
  const clean = (): Promise<void> => endLease(folder);
  let helper: Helper;
  try {
    helper = await startHelper('qemu-nbd', argumentsFor(options, folder), folder);
  } catch (error) {
    await clean();
    throw error;
  }
  // The file with its process id comes when it listens.
  if (!(await helper.made(PID))) {
    await clean();
    throw new ImageIoError(options.name, 'open', { detail: said(helper) });
  }
  return {
    uri: `nbd+unix:///?socket=${encodeURIComponent(join(folder, SOCKET))}`,
    async failure() {
      return (await helper.gone(500)) ? said(helper) : undefined;
    },
    async stop() {
      // It ends by itself when the last connection does.
      if (!(await helper.gone(PATIENCE))) await helper.stop();
      await clean();
      const bad = helper.ended() !== 'qemu-nbd ended with status 0';
      if (bad && !options.readOnly) throw new ImageIoError(options.name, 'flush', { detail: said(helper) });
    },
  };
}

/** Closing writes what is left of the format's own tables, on a slow medium for a while. */
const PATIENCE = 60_000;

function argumentsFor({ path, format, readOnly, evenInUse, scratch, device }: ServeOptions, folder: string): string[] {
  const image = {
    driver: format,
    'file.driver': device === true ? 'host_device' : 'file',
    'file.filename': path,
    ...(evenInUse === true ? { 'force-share': 'on' } : {}),
  };
  return [
    '--image-opts',
    `--socket=${join(folder, SOCKET)}`,
    `--pid-file=${join(folder, PID)}`,
    `--shared=${CONNECTIONS}`,
    // With early writeback as fast as past the cache, and the read-back drops what is cached.
    '--cache=writeback',
    '--aio=threads',
    '--discard=unmap',
    '--detect-zeroes=off',
    ...(readOnly ? ['--read-only'] : []),
    ...(scratch === true ? ['--snapshot'] : []),
    Object.entries(image)
      .map(([key, value]) => `${key}=${value.replaceAll(',', ',,')}`)
      .join(','),
  ];
}

/** In its own words, without its name before each line. */
function said(helper: Helper): string {
  const words = helper.said().replaceAll(/^qemu-nbd: /gm, '');
  return [helper.ended(), words].filter((part) => part !== undefined && part !== '').join(': ');
}
