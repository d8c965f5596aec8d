/** A qemu-nbd of our own that serves one disk on a private socket. It ends with its last connection, and with us. */
import { join, resolve } from 'node:path';
import { ImageIoError } from './errors.ts';
import type { DiskFormat } from './format.ts';
import { type Helper, privateFolder, startHelper } from './helper.ts';
import { endLease } from './leased-folder.ts';

export interface ServeOptions {
  /** Path of a regular file, or with `device` of a block device. */
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
export function serveDisk({ path, name, format, readOnly, evenInUse, scratch, device }: ServeOptions): Promise<QemuServer> {
  const image = {
    driver: format,
    'file.driver': device === true ? 'host_device' : 'file',
    // It runs elsewhere.
    'file.filename': resolve(path),
    ...(evenInUse === true ? { 'force-share': 'on' } : {}),
  };
  return serveNode({ name, readOnly, image, more: () => Promise.resolve(scratch === true ? ['--snapshot'] : []) });
}

export interface NodeOptions {
  /** As the user named the image; for messages. */
  readonly name: string;
  readonly readOnly: boolean;
  /** What QEMU opens, as options of a block device of it. */
  readonly image: Readonly<Record<string, string>>;
  /** Puts into the private folder what is needed there, and gives further arguments. */
  readonly more: (folder: string) => Promise<readonly string[]>;
  /** How long it may take until it serves, in milliseconds, and what is wrong when it does not. */
  readonly limit?: { readonly patience: number; readonly error: () => Error };
}

/** @throws MissingToolError, ImageIoError with what qemu-nbd said, the limit's error */
export async function serveNode(options: NodeOptions): Promise<QemuServer> {
  const { limit } = options;
  const folder = await privateFolder();
  const clean = (): Promise<void> => endLease(folder);
  let helper: Helper;
  try {
    helper = await startHelper('qemu-nbd', argumentsFor(options, folder, await options.more(folder)), folder);
  } catch (error) {
    await clean();
    throw error;
  }
  // The file with its process id comes when it listens.
  if (!(await helper.made(PID, limit?.patience))) {
    const late = helper.ended() === undefined;
    // Nothing was written yet that it could still have to put away.
    if (late) await helper.stop(0);
    await clean();
    throw late && limit !== undefined ? limit.error() : new ImageIoError(options.name, 'open', { detail: said(helper) });
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

function argumentsFor({ image, readOnly }: NodeOptions, folder: string, more: readonly string[]): string[] {
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
    ...more,
    qemuOptions(image),
  ];
}

/** As QEMU takes options on its command line: a comma in a value is doubled. */
export function qemuOptions(options: Readonly<Record<string, string>>): string {
  return Object.entries(options)
    .map(([key, value]) => `${key}=${value.replaceAll(',', ',,')}`)
    .join(',');
}

/** In its own words, without its name before each line. */
function said(helper: Helper): string {
  const words = helper.said().replaceAll(/^qemu-nbd: /gm, '');
  return [helper.ended(), words].filter((part) => part !== undefined && part !== '').join(': ');
}
