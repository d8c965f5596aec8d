/** A block device: a disk, a partition, a loop device. Targets are opened exclusively, so that nobody mounts them meanwhile. */
import { constants, type FileHandle, open } from 'node:fs/promises';
import { blockGeometry, discardBlocks, rereadPartitions, SystemCallError, zeroBlocks } from '../native/libc.ts';
import type { Extent } from './contract.ts';
import { OpenImage, type OpenMode, openFailed } from './open-image.ts';
import { type RawIo, rawIo } from './raw-io.ts';

export class BlockImage extends OpenImage {
  static async open(path: string, mode: OpenMode, io: (file: FileHandle) => RawIo = rawIo): Promise<BlockImage> {
    const flags = mode === 'read' ? constants.O_RDONLY : constants.O_RDWR | constants.O_EXCL;
    const file = await open(path, flags).catch(openFailed(path));
    const geometry = blockGeometry(file.fd);
    return new BlockImage({ name: path, path, ...geometry, file, io: io(file) });
  }

  /** A device cannot tell what it holds: everything may be data. */
  override async *extents(): AsyncIterable<Extent> {
    if (this.size > 0) yield { offset: 0, length: this.size, state: 'data' };
  }

  /** Asks the kernel to read the partition table again. False when a partition is in use. */
  async rereadTable(): Promise<boolean> {
    try {
      await rereadPartitions(this.fd);
      return true;
    } catch (error) {
      // EINVAL: a device without partitions, such as most loop devices.
      if (error instanceof SystemCallError && (error.errnoName === 'EBUSY' || error.errnoName === 'EINVAL'))
        return error.errnoName === 'EINVAL';
      throw error;
    }
  }

  protected override async deallocate(offset: number, length: number): Promise<boolean> {
    if (offset % this.sectorSize !== 0 || length % this.sectorSize !== 0) return false;
    try {
      await zeroBlocks(this.fd, offset, length);
      return true;
    } catch (error) {
      if (error instanceof SystemCallError && (error.errnoName === 'EOPNOTSUPP' || error.errnoName === 'EINVAL')) return false;
      throw error;
    }
  }

  protected override async giveBack(offset: number, length: number): Promise<void> {
    const start = Math.ceil(offset / this.sectorSize) * this.sectorSize;
    const end = Math.floor((offset + length) / this.sectorSize) * this.sectorSize;
    if (end <= start) return;
    try {
      await discardBlocks(this.fd, start, end - start);
    } catch (error) {
      if (!(error instanceof SystemCallError && error.errnoName === 'EOPNOTSUPP')) throw error;
    }
  }
}
