/** The segments of one image, by the offsets of their cells. Compact: 80 bytes each, so that those of many terabytes fit. */

/** Where the content of a cell is, and what it is. */
export interface Segment {
  readonly digest: string;
  /** Bytes of the frame. */
  readonly size: number;
  /** BLAKE3 of the content, hexadecimal. */
  readonly content: string;
  /** As of unreadable.ts. */
  readonly unreadable?: string;
}

const PREFIX = 'sha256:';
/** Bytes of each of the two digests. */
const DIGEST = 32;

export class SegmentTable {
  #offsets = new Float64Array(64);
  #sizes = new Float64Array(64);
  /** SHA-256 of the blob, then that of the content. */
  #digests = Buffer.alloc(64 * 2 * DIGEST);
  #count = 0;
  /** Of few segments, by the offsets of their cells. */
  readonly #unreadable = new Map<number, string>();

  get count(): number {
    return this.#count;
  }

  /** In ascending order of offsets. @throws RangeError when it is not */
  add(offset: number, { digest, size, content, unreadable }: Segment): void {
    const at = this.#count;
    if (at > 0 && offset <= (this.#offsets[at - 1] as number)) throw new RangeError(`a segment at ${offset} comes too late`);
    if (at === this.#offsets.length) this.#grow();
    this.#offsets[at] = offset;
    this.#sizes[at] = size;
    this.#digests.write(digest.slice(PREFIX.length), at * 2 * DIGEST, DIGEST, 'hex');
    this.#digests.write(content, (at * 2 + 1) * DIGEST, DIGEST, 'hex');
    if (unreadable !== undefined) this.#unreadable.set(offset, unreadable);
    this.#count++;
  }

  /** What could not be read, by the offsets of the cells, as of unreadable.ts. */
  get unreadable(): ReadonlyMap<number, string> {
    return this.#unreadable;
  }

  /** That of the cell at `offset`. O(log n). */
  get(offset: number): Segment | undefined {
    let [low, high] = [0, this.#count];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#offsets[middle] as number) < offset) low = middle + 1;
      else high = middle;
    }
    return low < this.#count && this.#offsets[low] === offset ? this.#at(low) : undefined;
  }

  /** In ascending order of offsets. */
  *[Symbol.iterator](): Generator<Segment & { readonly offset: number }, void, void> {
    for (let at = 0; at < this.#count; at++) yield { offset: this.#offsets[at] as number, ...this.#at(at) };
  }

  #at(at: number): Segment {
    const hex = (start: number): string => this.#digests.toString('hex', start, start + DIGEST);
    const start = at * 2 * DIGEST;
    const unreadable = this.#unreadable.get(this.#offsets[at] as number);
    return {
      digest: PREFIX + hex(start),
      size: this.#sizes[at] as number,
      content: hex(start + DIGEST),
      ...(unreadable === undefined ? {} : { unreadable }),
    };
  }

  #grow(): void {
    const [offsets, sizes, digests] = [this.#offsets, this.#sizes, this.#digests];
    this.#offsets = new Float64Array(offsets.length * 2);
    this.#sizes = new Float64Array(sizes.length * 2);
    this.#digests = Buffer.alloc(digests.length * 2);
    this.#offsets.set(offsets);
    this.#sizes.set(sizes);
    this.#digests.set(digests);
  }
}
