/** A part of a disk as an image of its own, for reading and writing. Nothing outside the part can be reached through it. */
import { type ByteRange, type Extent, end, type ImageSource, type ReadBack, type Window } from './contract.ts';
import { ImageIoError, type ImageOperation } from './errors.ts';
import type { OpenImage } from './open-image.ts';
import { checkRange } from './raw-io.ts';
import { slice } from './slice.ts';
import type { PartSelector } from './spec.ts';

/** Where a part stands, in bytes; and the logical sector size that its disk's table was written for, where a table says that. */
export interface PartRange extends ByteRange {
  readonly sectorSize?: number;
}

/**
 * Finds a part in the table of a disk. `forWriting`: a part that must not be written is refused.
 * @throws NoSuchPartError, CorruptInputError, RefusedError, ImageIoError
 */
export type PartFinder = (
  image: ImageSource,
  part: PartSelector,
  options: { readonly forWriting: boolean },
) => Promise<PartRange>;

export class PartImage implements OpenImage {
  readonly name: string;
  readonly size: number;
  readonly sectorSize: number;
  readonly sectorSizeAssumed: boolean;
  readonly physicalSectorSize: number;
  readonly notes: readonly string[];
  readonly #disk: OpenImage;
  readonly #range: ByteRange;
  readonly #view: ImageSource;
  #closed = false;

  /** Closing it closes the disk. */
  constructor(disk: OpenImage, range: PartRange, name: string) {
    this.name = name;
    this.size = range.length;
    this.sectorSize = range.sectorSize ?? disk.sectorSize;
    this.sectorSizeAssumed = range.sectorSize === undefined && disk.sectorSizeAssumed === true;
    this.physicalSectorSize = disk.physicalSectorSize;
    this.notes = disk.notes;
    this.#disk = disk;
    this.#range = range;
    this.#view = slice(disk, range, name);
  }

  extents(): AsyncIterable<Extent> {
    return this.#view.extents();
  }

  read(into: Uint8Array, offset: number): Promise<void> {
    return this.#view.read(into, offset);
  }

  async write(from: Uint8Array, offset: number): Promise<void> {
    this.#check('write', offset, from.length);
    await this.#disk.write(from, this.#range.offset + offset);
  }

  async zero(offset: number, length: number): Promise<void> {
    this.#check('zero', offset, length);
    await this.#disk.zero(this.#range.offset + offset, length);
  }

  async discard(offset: number, length: number): Promise<void> {
    this.#check('discard', offset, length);
    await this.#disk.discard(this.#range.offset + offset, length);
  }

  async startWriteback(offset: number, length: number): Promise<void> {
    this.#check('write', offset, length);
    await this.#disk.startWriteback(this.#range.offset + offset, length);
  }

  async reserve(offset: number, length: number): Promise<void> {
    this.#check('reserve', offset, length);
    await this.#disk.reserve?.(this.#range.offset + offset, length);
  }

  async flush(): Promise<void> {
    this.#check('flush', 0, 0);
    await this.#disk.flush();
  }

  async readBack(only?: readonly ByteRange[]): Promise<ReadBack> {
    this.#check('read', 0, 0);
    const { offset: begin } = this.#range;
    const medium = await this.#disk.readBack(only?.map(({ offset, length }) => ({ offset: begin + offset, length })));
    return {
      bypass: medium.bypass,
      read: async (into, offset) => {
        checkRange(this.name, 'read', offset, into.length, this.size);
        await medium.read(into, this.#range.offset + offset);
      },
      close: () => medium.close(),
    };
  }

  async openWindow(range: ByteRange, options: { readonly readOnly: boolean }): Promise<Window> {
    this.#check('open', range.offset, range.length);
    return this.#disk.openWindow({ offset: this.#range.offset + range.offset, length: range.length }, options);
  }

  lock(mode: 'exclusive' | 'shared' = 'exclusive'): Promise<boolean> {
    return this.#disk.lock(mode);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#view.close();
    await this.#disk.close();
  }

  #check(operation: ImageOperation, offset: number, length: number): void {
    if (this.#closed) throw new ImageIoError(this.name, operation, { offset, length, detail: 'the image was closed' });
    checkRange(this.name, operation, offset, length, this.size);
  }
}

/** @throws ImageIoError when the table says that the part reaches past the end of the disk */
export function partOf(disk: OpenImage, range: PartRange, name: string): PartImage {
  if (range.offset < 0 || range.length <= 0 || end(range) > disk.size) {
    throw new ImageIoError(name, 'open', { ...range, detail: `the part does not lie inside the disk (${disk.size} bytes)` });
  }
  return new PartImage(disk, range, name);
}
