/** An earlier archive whose segments go into a new one where they hold the same: they need not be compressed, nor stored twice. */
import type { Archive } from './archive.ts';
import { cellAt, cellsOf } from './cells.ts';
import { ArchiveCorruptError, ArchiveIoError } from './errors.ts';
import type { ArchivedImage } from './layout.ts';

export interface ReusedSegment {
  readonly digest: string;
  readonly frame: Uint8Array;
  /** Where its blob is a file of its own. */
  readonly file: string | undefined;
}

export class BaseSegments {
  readonly #archive: Archive;
  readonly #onDamaged: (message: string) => void;
  /** By the digest of the content; the first of those that hold the same. */
  readonly #places = new Map<string, { readonly image: ArchivedImage; readonly offset: number }>();
  #damaged = false;

  /** `onDamaged` is told once. */
  constructor(archive: Archive, onDamaged: (message: string) => void) {
    this.#archive = archive;
    this.#onDamaged = onDamaged;
    for (const image of archive.layout.images) {
      for (const cell of cellsOf(image, archive.layout.segmentSize)) {
        const { content } = archive.segment(cell);
        if (!this.#places.has(content)) this.#places.set(content, { image, offset: cell.offset });
      }
    }
  }

  /** The segment that holds the content with this digest. What cannot be read, or holds something else, is none. */
  async find(content: string): Promise<ReusedSegment | undefined> {
    const place = this.#places.get(content);
    if (place === undefined) return undefined;
    const cell = cellAt(place.image, this.#archive.layout.segmentSize, place.offset);
    const segment = this.#archive.segment(cell);
    try {
      return { digest: segment.digest, frame: await this.#archive.stored(cell), file: this.#archive.fileOf(segment) };
    } catch (error) {
      if (!(error instanceof ArchiveCorruptError || error instanceof ArchiveIoError)) throw error;
      this.#places.delete(content);
      if (!this.#damaged) this.#onDamaged(`${error.message}; what it cannot give is compressed anew`);
      this.#damaged = true;
      return undefined;
    }
  }
}
