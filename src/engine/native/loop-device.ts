/** Loop devices: ioctl(2) as in loop(4). Every function throws SystemCallError. */
import { callSync, SystemCallError } from './libc.ts';

/** Numbers and structures from linux/loop.h. */
const LOOP_GET_STATUS64 = 0x4c05;
const LOOP_CONFIGURE = 0x4c0a;
const LOOP_CTL_GET_FREE = 0x4c82;
const LO_FLAGS_DIRECT_IO = 16;
const LO_FLAGS_AUTOCLEAR = 4;
const LOOP_INFO64_SIZE = 232;
/** In struct loop_config: descriptor and block size, then the struct loop_info64, then 64 reserved bytes. */
const LOOP_CONFIG_INFO = 8;
const LOOP_CONFIG_SIZE = LOOP_CONFIG_INFO + LOOP_INFO64_SIZE + 64;

/** Number of a loop device that was free a moment ago. `controlFd` is an open /dev/loop-control. */
export function freeLoopNumber(controlFd: number): number {
  return callSync('ioctl', controlFd, LOOP_CTL_GET_FREE, null);
}

/**
 * Puts `length` bytes from `offset` of an open file or block device behind an open, free loop device, which detaches
 * itself when its last user is gone. At no moment does it show more. EBUSY when another process was quicker. Linux 5.8.
 */
export function attachLoopDevice(loopFd: number, backingFd: number, offset: number, length: number): void {
  const config = new Uint8Array(LOOP_CONFIG_SIZE);
  const view = new DataView(config.buffer);
  view.setUint32(0, backingFd, true);
  view.setBigUint64(LOOP_CONFIG_INFO + 24, BigInt(offset), true);
  view.setBigUint64(LOOP_CONFIG_INFO + 32, BigInt(length), true);
  view.setUint32(LOOP_CONFIG_INFO + 52, LO_FLAGS_AUTOCLEAR, true);
  callSync('ioctl', loopFd, LOOP_CONFIGURE, config);
}

/** What is behind a loop device, as stat(2) has it: `rdevice` is 0 for a regular file. */
export interface LoopBacking {
  readonly device: bigint;
  readonly inode: bigint;
  readonly rdevice: bigint;
  /** Where in it the device begins, in bytes. */
  readonly offset: number;
  /** Whether the device goes past its page cache. */
  readonly directIo: boolean;
}

/** Undefined when nothing is attached to the open loop device. */
export function loopBacking(loopFd: number): LoopBacking | undefined {
  const info = new Uint8Array(LOOP_INFO64_SIZE);
  try {
    callSync('ioctl', loopFd, LOOP_GET_STATUS64, info);
  } catch (error) {
    if (error instanceof SystemCallError && error.errnoName === 'ENXIO') return undefined;
    throw error;
  }
  const view = new DataView(info.buffer);
  return {
    device: view.getBigUint64(0, true),
    inode: view.getBigUint64(8, true),
    rdevice: view.getBigUint64(16, true),
    offset: Number(view.getBigUint64(24, true)),
    directIo: (view.getUint32(52, true) & LO_FLAGS_DIRECT_IO) !== 0,
  };
}
