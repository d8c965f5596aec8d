/** What block devices tell and do: ioctl(2) as in linux/fs.h. Every function throws SystemCallError. */
import { call, callSync, rangeArgument } from './libc.ts';

/** Numbers from linux/fs.h; the argument is a little-endian buffer that the call reads or fills. */
const BLKROGET = 0x125e;
const BLKRRPART = 0x125f;
const BLKFLSBUF = 0x1261;
const BLKSSZGET = 0x1268;
const BLKPBSZGET = 0x127b;
const BLKGETSIZE64 = 0x80081272;
const BLKDISCARD = 0x1277;
const BLKZEROOUT = 0x127f;

export interface BlockGeometry {
  readonly size: number;
  readonly sectorSize: number;
  readonly physicalSectorSize: number;
}

/** Size and sector sizes in bytes of an open block device. */
export function blockGeometry(fd: number): BlockGeometry {
  const word = new Uint8Array(8);
  const view = new DataView(word.buffer);
  callSync('ioctl', fd, BLKGETSIZE64, word);
  const size = Number(view.getBigUint64(0, true));
  callSync('ioctl', fd, BLKSSZGET, word);
  const sectorSize = view.getUint32(0, true);
  callSync('ioctl', fd, BLKPBSZGET, word);
  return { size, sectorSize, physicalSectorSize: view.getUint32(0, true) };
}

/** Whether an open block device refuses writes, however it was opened. */
export function isReadOnlyDevice(fd: number): boolean {
  const word = new Uint8Array(8);
  callSync('ioctl', fd, BLKROGET, word);
  return word[0] !== 0;
}

/** Zeroes a sector-aligned range of a block device, by the device itself where it can. */
export async function zeroBlocks(fd: number, offset: number, length: number): Promise<void> {
  await call('ioctl', fd, BLKZEROOUT, rangeArgument(offset, length));
}

/** Gives a sector-aligned range back to the device. EOPNOTSUPP where it cannot. */
export async function discardBlocks(fd: number, offset: number, length: number): Promise<void> {
  await call('ioctl', fd, BLKDISCARD, rangeArgument(offset, length));
}

/** Writes back and forgets what the page cache holds of a block device (BLKFLSBUF); takes CAP_SYS_ADMIN. @throws SystemCallError */
export async function flushBuffers(fd: number): Promise<void> {
  await call('ioctl', fd, BLKFLSBUF, new Uint8Array(8));
}

/** Asks the kernel to read the partition table again. EBUSY when a partition is in use, EINVAL when it has no partitions. */
export async function rereadPartitions(fd: number): Promise<void> {
  await call('ioctl', fd, BLKRRPART, new Uint8Array(8));
}
