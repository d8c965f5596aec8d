/** Which devices the kernel takes for a btrfs: it knows them by their UUID. Numbers and structures from linux/btrfs.h. */
import { callSync, SystemCallError } from './libc.ts';

const BTRFS_IOC_FORGET_DEV = 0x50009405;
const BTRFS_IOC_DEV_INFO = 0xd000941e;
const BTRFS_IOC_FS_INFO = 0x8400941f;
const FS_INFO_SIZE = 1024;
const ARGUMENT_SIZE = 4096;
const DEV_INFO_PATH = 3072;
const VOLUME_NAME = 8;

/** Of the mounted file system that a file or directory is open in, as the kernel names them. @throws SystemCallError */
export function btrfsDevices(fd: number): string[] {
  const info = new Uint8Array(FS_INFO_SIZE);
  callSync('ioctl', fd, BTRFS_IOC_FS_INFO, info);
  const highest = new DataView(info.buffer).getBigUint64(0, true);
  const devices: string[] = [];
  for (let id = 1n; id <= highest; id++) {
    const device = new Uint8Array(ARGUMENT_SIZE);
    new DataView(device.buffer).setBigUint64(0, id, true);
    try {
      callSync('ioctl', fd, BTRFS_IOC_DEV_INFO, device);
    } catch (error) {
      // Ids of devices that were removed.
      if (error instanceof SystemCallError && error.errnoName === 'ENODEV') continue;
      throw error;
    }
    const path = Buffer.from(device.subarray(DEV_INFO_PATH));
    devices.push(path.toString('utf8', 0, path.indexOf(0)));
  }
  return devices;
}

/** Makes the kernel forget a device that is not mounted. `controlFd` is an open /dev/btrfs-control. @throws SystemCallError */
export function forgetBtrfs(controlFd: number, device: string): void {
  const argument = new Uint8Array(ARGUMENT_SIZE);
  Buffer.from(argument.buffer).write(device, VOLUME_NAME);
  callSync('ioctl', controlFd, BTRFS_IOC_FORGET_DEV, argument);
}
