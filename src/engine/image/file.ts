/** A raw disk image in a regular file. Holes are zeros and stay holes. */
import { constants, type FileHandle, open } from 'node:fs/promises';
import { punchHole, reserveSpace, SystemCallError, seekData, seekHole } from '../native/libc.ts';
import { PAGE } from './aligned.ts';
import type { Extent } from './contract.ts';
import { DescriptorImage } from './descriptor-image.ts';
import { openDirect } from './direct.ts';
import { ImageIoError, openFailed } from './errors.ts';
import type { OpenMode } from './open-image.ts';
import { type RawIo, rawIo } from './raw-io.ts';

const SECTOR = 512;

export class FileImage extends DescriptorImage {
  override readonly sectorSizeAssumed = true;

  static async open(path: string, mode: OpenMode, io: (file: FileHandle) => RawIo = rawIo): Promise<FileImage> {
    const file = await open(path, mode === 'read' ? constants.O_RDONLY : constants.O_RDWR).catch(openFailed(path));
    const { size } = await file.stat();
    const direct = mode === 'read' ? undefined : await openDirect(path, constants.O_RDWR);
    return new FileImage({ name: path, path, size, sectorSize: SECTOR, physicalSectorSize: PAGE, file, direct, io });
  }

  async reserve(offset: number, length: number): Promise<void> {
    this.check('reserve', offset, length);
    await this.call('reserve', offset, length, async () => {
      try {
        await reserveSpace(this.fd, offset, length);
      } catch (error) {
        if (!(error instanceof SystemCallError) || !['EOPNOTSUPP', 'ENOSYS'].includes(error.errnoName)) throw error;
      }
    });
  }

  /** Whoever cuts a file off takes what was written there, and the next write hides it. */
  protected override async checkWhole(file: FileHandle): Promise<void> {
    const { size } = await file.stat();
    if (size >= this.size) return;
    const detail = `it was cut off meanwhile, to ${size} of its ${this.size} bytes`;
    throw new ImageIoError(this.name, 'flush', { offset: size, length: this.size - size, detail });
  }

  override async *extents(): AsyncIterable<Extent> {
    for (let offset = 0; offset < this.size; ) {
      const { data, hole } = this.#nextData(offset);
      if (data > offset) yield { offset, length: data - offset, state: 'zero' };
      if (hole > data) yield { offset: data, length: hole - data, state: 'data' };
      offset = hole;
    }
  }

  /** The next run of data, an empty one at the end when there is none. */
  #nextData(offset: number): { data: number; hole: number } {
    this.check('examine', offset, this.size - offset);
    try {
      const data = Math.min(seekData(this.fd, offset) ?? this.size, this.size);
      const hole = data === this.size ? data : Math.min(seekHole(this.fd, data), this.size);
      return { data, hole };
    } catch (cause) {
      throw new ImageIoError(this.name, 'examine', { offset, length: this.size - offset, cause });
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
