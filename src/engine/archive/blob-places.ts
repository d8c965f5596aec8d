/** Where the blobs of a tar stand, by their digests. Compact: 52 bytes each, so that those of many terabytes fit. */

export interface Place {
  readonly offset: number;
  readonly size: number;
}

/** Bytes. */
const DIGEST = 32;

export class BlobPlaces {
  #digests = Buffer.alloc(64 * DIGEST);
  #offsets = new Float64Array(64);
  #sizes = new Float64Array(64);
  #count = 0;
  /** Their numbers in the order of the digests; made when one is looked for. */
  #sorted: Uint32Array | undefined;

  /** `digest` in hexadecimal. */
  add(digest: string, { offset, size }: Place): void {
    if (this.#count === this.#offsets.length) this.#grow();
    this.#digests.write(digest, this.#count * DIGEST, DIGEST, 'hex');
    this.#offsets[this.#count] = offset;
    this.#sizes[this.#count] = size;
    this.#count++;
    this.#sorted = undefined;
  }

  /** Of several with one digest the one that was added first. */
  get(digest: string): Place | undefined {
    this.#sorted ??= Uint32Array.from({ length: this.#count }, (_, number) => number).sort(
      (one, other) => this.#compare(this.#digests, one, other) || one - other,
    );
    const wanted = Buffer.from(digest, 'hex');
    let [low, high] = [0, this.#count];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#compare(wanted, 0, this.#sorted[middle] as number) > 0) low = middle + 1;
      else high = middle;
    }
    const found = this.#sorted[low];
    if (found === undefined || this.#compare(wanted, 0, found) !== 0) return undefined;
    return { offset: this.#offsets[found] as number, size: this.#sizes[found] as number };
  }

  /** Digest number `one` of `digests` beside number `other` of this. */
  #compare(digests: Buffer, one: number, other: number): number {
    const [start, otherStart] = [one * DIGEST, other * DIGEST];
    return digests.compare(this.#digests, otherStart, otherStart + DIGEST, start, start + DIGEST);
  }

  #grow(): void {
    const [digests, offsets, sizes] = [this.#digests, this.#offsets, this.#sizes];
    this.#digests = Buffer.alloc(digests.length * 2);
    this.#offsets = new Float64Array(offsets.length * 2);
    this.#sizes = new Float64Array(sizes.length * 2);
    this.#digests.set(digests);
    this.#offsets.set(offsets);
    this.#sizes.set(sizes);
  }
}
