/** An image of an archive as a source. What belongs to nobody reads as zeros. */
import { type ByteRange, type Extent, end, type ImageSource, overlaps, type ReadBack, type Window } from '../image/contract.ts';
import { ImageIoError } from '../image/errors.ts';
import type { SourceImage } from '../image/open-image.ts';
import { allSettled } from '../lanes/settled.ts';
import { IntervalBuilder, IntervalSet } from '../protect/intervals.ts';
import { Archive, type OpenArchive } from './archive.ts';
import { CellCache } from './cell-cache.ts';
import { cellsOf, unpacked } from './cells.ts';
import type { ArchivedImage } from './layout.ts';

/** A part of an image, which is shown as an image of its own. */
export interface ArchivedPart {
  readonly name: string;
  readonly range: ByteRange;
  readonly sectorSize: number;
}

export class ArchivedDisk implements SourceImage {
  readonly notes: readonly string[] = [];
  readonly name: string;
  readonly size: number;
  readonly sectorSize: number;
  readonly physicalSectorSize: number;
  readonly #archive: OpenArchive;
  readonly #image: ArchivedImage;
  /** What of the image is shown. */
  readonly #range: ByteRange;
  readonly #cells: CellCache;

  constructor(archive: OpenArchive, image: ArchivedImage, part?: ArchivedPart) {
    const { name, range, sectorSize } = part ?? { ...image, name: archive.name, range: { offset: 0, length: image.size } };
    this.name = name;
    this.size = range.length;
    this.sectorSize = sectorSize;
    this.physicalSectorSize = sectorSize;
    this.#archive = archive;
    this.#image = image;
    this.#range = range;
    this.#cells = new CellCache(archive, image);
  }

  async *extents(): AsyncGenerator<Extent, void, void> {
    let at = 0;
    for (const extent of inOrder(rebased(this.#image, this.#range))) {
      if (extent.offset > at) yield { offset: at, length: extent.offset - at, state: 'unused' };
      yield extent;
      at = end(extent);
    }
    if (at < this.size) yield { offset: at, length: this.size - at, state: 'unused' };
  }

  async read(into: Uint8Array, place: number): Promise<void> {
    if (place < 0 || place + into.length > this.size) {
      const detail = `the image has ${this.size} bytes`;
      throw new ImageIoError(this.name, 'read', { offset: place, length: into.length, detail });
    }
    const offset = this.#range.offset + place;
    const wanted = { offset, length: into.length };
    if (!this.#image.data.covers(wanted)) into.fill(0);
    const { segmentSize } = this.#archive.layout;
    for (let at = Math.floor(offset / segmentSize) * segmentSize; at < end(wanted); at += segmentSize) {
      if (!this.#image.data.touches(clipped(wanted, at, segmentSize))) continue;
      await this.#cells.use(at, (cell, content) => {
        for (const { range, bytes } of unpacked(cell, content)) {
          if (!overlaps(range, wanted)) continue;
          const start = Math.max(range.offset, offset);
          const stop = Math.min(end(range), end(wanted));
          into.set(bytes.subarray(start - range.offset, stop - range.offset), start - offset);
        }
      });
    }
  }

  /** What will be read of its data, about in this order: it is fetched ahead. */
  expect(data: IntervalSet): void {
    this.#cells.expect(data.shift(this.#range.offset));
  }

  /**
   * Its data that stands in the same place of another disk, by the digests of whole cells: nothing is fetched for that. `read` reads the
   * other disk; only cells that touch `wanted` are looked at, and of a part those that lie in it. Who sends an archive through a pipe
   * knows already what it need not send.
   */
  async heldBy(read: ImageSource['read'], wanted: IntervalSet, signal?: AbortSignal): Promise<IntervalSet> {
    const archive = this.#archive;
    if (!(archive instanceof Archive)) {
      archive.readHeld(read);
      return IntervalSet.empty;
    }
    const { segmentSize } = archive.layout;
    const { offset: begin } = this.#range;
    const cells = cellsOf(this.#image, segmentSize)[Symbol.iterator]();
    const held = new Set<number>();
    const lane = async (): Promise<void> => {
      for (let next = cells.next(); next.done !== true; next = cells.next()) {
        const cell = next.value;
        signal?.throwIfAborted();
        if (!cell.ranges.some(({ offset, length }) => wanted.touches({ offset: offset - begin, length }))) continue;
        if (!cell.ranges.every((range) => range.offset >= begin && end(range) <= end(this.#range))) continue;
        const content = new Uint8Array(cell.length);
        for (const { range, bytes } of unpacked(cell, content)) await read(bytes, range.offset - begin);
        if (archive.digestOf(content) === archive.segment(cell).content) held.add(cell.offset);
      }
    };
    await allSettled([lane(), lane()]);
    const found = new IntervalBuilder();
    for (const { offset, ranges } of cellsOf(this.#image, segmentSize)) {
      if (held.has(offset)) for (const range of ranges) found.add(range.offset - begin, range.length);
    }
    return found.build();
  }

  /** What is in an archive has been checked already. */
  async readBack(): Promise<ReadBack> {
    return { bypass: 'none', read: (into, offset) => this.read(into, offset), close: async () => {} };
  }

  openWindow(range: ByteRange, { readOnly }: { readonly readOnly: boolean }): Promise<Window> {
    if (!readOnly) return Promise.reject(new TypeError('nothing is written to an archive'));
    const archive = this.#archive;
    if (!(archive instanceof Archive)) return Promise.reject(new TypeError('its files cannot be looked at while it arrives'));
    const { offset, length } = range;
    return archive.openWindow(this.#image.name, { offset: this.#range.offset + offset, length });
  }

  /** False when it comes but once, from the front to the end: its files can be looked at on the target only. */
  get seekable(): boolean {
    return this.#archive instanceof Archive;
  }

  /** What could not be read when it was captured, and is zeros. While it arrives, of what has come. */
  get unreadable(): IntervalSet {
    return this.#archive.unreadable(this.#image).intersect(IntervalSet.of(this.#range)).shift(-this.#range.offset);
  }

  /** As of `OpenArchive`. */
  settle(): Promise<void> {
    return this.#archive.settle();
  }

  async close(): Promise<void> {
    await this.#archive.close();
  }
}

/** What of an image is data and zeros in a range of it, counted from the beginning of that. */
export function rebased(
  { data, zero }: Pick<ArchivedImage, 'data' | 'zero'>,
  range: ByteRange,
): Pick<ArchivedImage, 'data' | 'zero'> {
  const place = IntervalSet.of(range);
  return { data: data.intersect(place).shift(-range.offset), zero: zero.intersect(place).shift(-range.offset) };
}

function clipped({ offset, length }: ByteRange, cell: number, segmentSize: number): ByteRange {
  const start = Math.max(offset, cell);
  return { offset: start, length: Math.min(offset + length, cell + segmentSize) - start };
}

function* inOrder({ data, zero }: Pick<ArchivedImage, 'data' | 'zero'>): Generator<Extent, void, void> {
  const zeros = zero[Symbol.iterator]();
  let next = zeros.next();
  for (const range of data) {
    for (; next.done !== true && next.value.offset < range.offset; next = zeros.next()) yield { ...next.value, state: 'zero' };
    yield { ...range, state: 'data' };
  }
  for (; next.done !== true; next = zeros.next()) yield { ...next.value, state: 'zero' };
}
