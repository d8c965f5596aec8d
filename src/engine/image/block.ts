/**
 * A block device: a disk, a partition, a loop device. Targets are opened exclusively, so that nobody mounts them meanwhile.
 *
 * What the page cache holds of a disk is not what file systems and partitions on it hold: each writes past the others. It stays
 * as long as anybody has the disk open, so it is dropped before anything is read.
 */
import { constants, type FileHandle, open } from 'node:fs/promises';
import {
  blockGeometry,
  discardBlocks,
  flushBuffers,
  isReadOnlyDevice,
  rereadPartitions,
  zeroBlocks,
} from '../native/block-device.ts';
import { dropCache, punchHole, SystemCallError } from '../native/libc.ts';
import type { Extent } from './contract.ts';
import { DescriptorImage } from './descriptor-image.ts';
import { openDirect } from './direct.ts';
import { ImageIoError, openFailed, ReadOnlyImageError } from './errors.ts';
import { openBackingFile } from './loop-backing.ts';
import type { OpenMode } from './open-image.ts';
import { type RawIo, rawIo } from './raw-io.ts';

export class BlockImage extends DescriptorImage {
  /** @throws ReadOnlyImageError, ImageIoError */
  static async open(path: string, mode: OpenMode, io: (file: FileHandle) => RawIo = rawIo): Promise<BlockImage> {
    const flags = mode === 'read' ? constants.O_RDONLY : constants.O_RDWR | constants.O_EXCL;
    const file = await open(path, flags).catch(openFailed(path));
    try {
      if (mode === 'write' && isReadOnlyDevice(file.fd)) throw new ReadOnlyImageError(path);
      const geometry = blockGeometry(file.fd);
      await forgetCached(file);
      const direct = mode === 'read' ? undefined : await openDirect(path, constants.O_RDWR);
      const below = direct === undefined ? undefined : await openBackingFile(path, file);
      return new BlockImage({ name: path, path, ...geometry, file, direct, below, io });
    } catch (cause) {
      await file.close();
      throw cause instanceof ReadOnlyImageError ? cause : new ImageIoError(path, 'examine', { cause });
    }
  }

  /** A device cannot tell what it holds: everything may be data. */
  override async *extents(): AsyncIterable<Extent> {
    this.check('read', 0, this.size);
    if (this.size > 0) yield { offset: 0, length: this.size, state: 'data' };
  }

  /** Asks the kernel to read the partition table again. False when a partition is in use. @throws ImageIoError */
  async rereadTable(): Promise<boolean> {
    return this.call('examine', 0, this.size, async () => {
      try {
        await rereadPartitions(this.fd);
        return true;
      } catch (error) {
        if (failedWith(error, 'EBUSY')) return false;
        // A device without partitions, such as most loop devices.
        if (failedWith(error, 'EINVAL')) return true;
        throw error;
      }
    });
  }

  protected override async deallocate(offset: number, length: number): Promise<boolean> {
    if (offset % this.sectorSize !== 0 || length % this.sectorSize !== 0) return false;
    // Punching promises zeros and lets the device deallocate; where it cannot do both, it may still zero by itself.
    for (const step of [punchHole, zeroBlocks]) {
      try {
        await step(this.fd, offset, length);
        return true;
      } catch (error) {
        if (!failedWith(error, 'EOPNOTSUPP', 'EINVAL')) throw error;
      }
    }
    return false;
  }

  protected override async giveBack(offset: number, length: number): Promise<void> {
    const start = Math.ceil(offset / this.sectorSize) * this.sectorSize;
    const end = Math.floor((offset + length) / this.sectorSize) * this.sectorSize;
    if (end <= start) return;
    try {
      await discardBlocks(this.fd, start, end - start);
    } catch (error) {
      if (!failedWith(error, 'EOPNOTSUPP')) throw error;
    }
  }
}

async function forgetCached(file: FileHandle): Promise<void> {
  try {
    await flushBuffers(file.fd);
  } catch (error) {
    if (!failedWith(error, 'EACCES')) throw error;
    await dropCache(file.fd, 0, 0);
  }
}

function failedWith(error: unknown, ...names: readonly string[]): boolean {
  return error instanceof SystemCallError && names.includes(error.errnoName);
}
