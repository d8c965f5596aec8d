/**
 * A loop device over a range of a file or block device: how kernel file systems and their tools get to see one part and
 * nothing else. It detaches itself when its last user is gone, also when this process is killed: at once, or when what was
 * mounted from it meanwhile is unmounted.
 */
import { constants, type FileHandle, open } from 'node:fs/promises';
import { basename } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { blockGeometry } from '../native/block-device.ts';
import { SystemCallError } from '../native/libc.ts';
import { attachLoopDevice, freeLoopNumber } from '../native/loop-device.ts';
import type { ByteRange, Window } from './contract.ts';
import { ImageIoError } from './errors.ts';
import { readOptional } from './sysfs.ts';

const SECTOR = 512;

/**
 * Offset and length must be multiples of 512 and lie inside the file or device.
 * @throws ImageIoError when they do not, or when no loop device can be had (no root, no loop module, a container without devices)
 */
export async function attachLoop(path: string, range: ByteRange, options: { readonly readOnly: boolean }): Promise<Window> {
  const { offset, length } = range;
  if (offset < 0 || length <= 0 || offset % SECTOR !== 0 || length % SECTOR !== 0) {
    throw new ImageIoError(path, 'open', { ...range, detail: 'a window must consist of whole sectors of 512 bytes' });
  }
  try {
    return await attach(path, range, options.readOnly);
  } catch (cause) {
    if (cause instanceof ImageIoError) throw cause;
    const hint = process.getuid?.() === 0 ? '' : '; this needs root';
    const detail = `no loop device could be set up (${(cause as Error).message})${hint}`;
    throw new ImageIoError(path, 'open', { ...range, detail, cause });
  }
}

async function attach(path: string, range: ByteRange, readOnly: boolean): Promise<Window> {
  const flags = readOnly ? constants.O_RDONLY : constants.O_RDWR;
  const backing = await open(path, flags);
  try {
    const control = await open('/dev/loop-control', constants.O_RDWR);
    try {
      return await claim(control, backing, range, flags);
    } finally {
      await control.close();
    }
  } finally {
    await backing.close();
  }
}

/** Another process may take the free device first; the kernel then says EBUSY. */
async function claim(control: FileHandle, backing: FileHandle, range: ByteRange, flags: number): Promise<Window> {
  for (let attempt = 1; ; attempt++) {
    const device = `/dev/loop${freeLoopNumber(control.fd)}`;
    const loop = await open(device, flags);
    try {
      attachLoopDevice(loop.fd, backing.fd, range.offset, range.length);
      const { size } = blockGeometry(loop.fd);
      if (size === range.length) return windowOver(device, loop);
      throw new ImageIoError(device, 'open', { ...range, detail: `the loop device shows ${size} bytes instead` });
    } catch (error) {
      await loop.close();
      if (!(error instanceof SystemCallError && error.errnoName === 'EBUSY' && attempt < 32)) throw error;
    }
  }
}

function windowOver(device: string, loop: FileHandle): Window {
  let closing: Promise<void> | undefined;
  const behind = backingFile(device);
  return {
    device,
    close: () => {
      closing ??= loop.close().then(() => detached(device, behind));
      return closing;
    },
  };
}

/** Milliseconds. */
const PATIENCE = 2000;

const backingFile = (device: string): string | undefined =>
  readOptional(`/sys/class/block/${basename(device)}/loop/backing_file`)?.trim();

/**
 * Waits for the moment that the kernel needs where somebody else just looked at the device, or a file system on it is still taken
 * down: what was behind it would still be in use. Who keeps it longer is its user.
 */
async function detached(device: string, behind: string | undefined): Promise<void> {
  const begun = performance.now();
  while (behind !== undefined && backingFile(device) === behind && performance.now() - begun < PATIENCE) await setTimeout(5);
}
