/** A raw disk image in a regular file. Holes are zeros and stay holes. */
import { constants, type FileHandle, open } from 'node:fs/promises';
import { punchHole, SystemCallError, seekData, seekHole } from '../native/libc.ts';
import type { Extent } from './contract.ts';
import { OpenImage, type OpenMode, openFailed } from './open-image.ts';
import type { RawIo } from './raw-io.ts';
import { rawIo } from './raw-io.ts';

const SECTOR = 512;
const PAGE = 4096;

export class FileImage extends OpenImage {
  static async open(path: string, mode: OpenMode, io: (file: FileHandle) => RawIo = rawIo): Promise<FileImage> {
    const file = await open(path, mode === 'read' ? constants.O_RDONLY : constants.O_RDWR).catch(openFailed(path));
    const size = (await file.stat()).size;
    return new FileImage({ name: path, path, size, sectorSize: SECTOR, physicalSectorSize: PAGE, file, io: io(file) });
  }

  override async *extents(): AsyncIterable<Extent> {
    for (let offset = 0; offset < this.size; ) {
      const data = Math.min(seekData(this.fd, offset) ?? this.size, this.size);
      if (data > offset) yield { offset, length: data - offset, state: 'zero' };
      if (data >= this.size) return;
      const hole = Math.min(seekHole(this.fd, data), this.size);
      yield { offset: data, length: hole - data, state: 'data' };
      offset = hole;
    }
  }

  protected override async deallocate(offset: number, length: number): Promise<boolean> {
    try {
      await punchHole(this.fd, offset, length);
      return true;
    } catch (error) {
      if (error instanceof SystemCallError && (error.errnoName === 'EOPNOTSUPP' || error.errnoName === 'ENOSYS')) return false;
      throw error;
    }
  }

  protected override async giveBack(offset: number, length: number): Promise<void> {
    await this.deallocate(offset, length);
  }
}
