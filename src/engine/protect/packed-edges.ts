/**
 * How sets of ranges are kept in memory: the edges of ascending, disjoint ranges as differences in numbers of seven bits, which
 * in a file system are small multiples of a sector. Every so many ranges the difference is replaced by an absolute offset, so that
 * a search need not begin at the front and moving a whole set touches only those.
 */

/** Ranges from one absolute offset to the next. */
const perBlock = 64;
const unit = 512;
/** Bytes that one difference takes at most. */
const longest = 9;

export interface PackedRanges {
  /** Ranges. */
  readonly count: number;
  /** Sum of the lengths. */
  readonly sum: number;
  /** Per block: where its first range starts. */
  readonly starts: Float64Array;
  /** Per block: where in `differences` it goes on: length, gap, length, gap, ... length. */
  readonly places: Uint32Array;
  readonly differences: Uint8Array;
}

/** Walks over the edges: start, end, start, end, ... strictly ascending. */
export class PackedEdges {
  /** The edge that comes next, infinity when there is none. */
  edge = Number.POSITIVE_INFINITY;
  /** Whether the edge passed last was the start of a range. */
  inside = false;
  readonly #packed: PackedRanges;
  readonly #bytes: Uint8Array;
  readonly #count: number;
  #range: number;
  #at = 0;

  constructor(packed: PackedRanges, block = 0) {
    this.#packed = packed;
    this.#bytes = packed.differences;
    this.#count = packed.count;
    this.#range = block * perBlock;
    this.#enter();
  }

  /** Begins at most a block before the first range that ends behind `offset`. O(log n). */
  static near(packed: PackedRanges, offset: number): PackedEdges {
    let low = 0;
    let high = packed.starts.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((packed.starts[middle] as number) <= offset) low = middle + 1;
      else high = middle;
    }
    return new PackedEdges(packed, Math.max(0, low - 1));
  }

  advance(): void {
    if (!this.inside) {
      this.inside = true;
      this.edge += this.#difference();
      return;
    }
    this.inside = false;
    this.#range++;
    if (this.#range % perBlock === 0 || this.#range >= this.#count) this.#enter();
    else this.edge += this.#difference();
  }

  #enter(): void {
    const block = Math.floor(this.#range / perBlock);
    const exists = this.#range < this.#count;
    this.edge = exists ? (this.#packed.starts[block] as number) : Number.POSITIVE_INFINITY;
    this.#at = exists ? (this.#packed.places[block] as number) : 0;
  }

  #difference(): number {
    const bytes = this.#bytes;
    let at = this.#at;
    const first = bytes[at++] as number;
    let value = (first >>> 1) & 0x3f;
    if (first & 0x80) {
      let byte = bytes[at++] as number;
      value |= (byte & 0x7f) << 6;
      for (let scale = 1 << 13; byte & 0x80; scale *= 128) {
        byte = bytes[at++] as number;
        value += (byte & 0x7f) * scale;
      }
    }
    this.#at = at;
    return (first & 1) === 0 ? value * unit : value;
  }
}

/** Takes ranges in ascending order, each starting behind the end of the one before. */
export class PackedEdgesWriter {
  #count = 0;
  #sum = 0;
  #end = 0;
  #starts = new Float64Array(1);
  #places = new Uint32Array(1);
  #bytes = new Uint8Array(32);
  #length = 0;

  add(start: number, end: number): void {
    if (this.#length + 2 * longest > this.#bytes.length) {
      const grown = new Uint8Array(this.#bytes.length * 2);
      grown.set(this.#bytes);
      this.#bytes = grown;
    }
    if (this.#count % perBlock === 0) this.#beginBlock(start);
    else this.#write(start - this.#end);
    this.#write(end - start);
    this.#count++;
    this.#sum += end - start;
    this.#end = end;
  }

  /** What was added, and `last` behind it. The writer can go on as if `last` had not been added. */
  finish(last?: readonly [start: number, end: number]): PackedRanges {
    const before = [this.#count, this.#sum, this.#end, this.#length] as const;
    if (last !== undefined) this.add(...last);
    const blocks = Math.ceil(this.#count / perBlock);
    const packed = {
      count: this.#count,
      sum: this.#sum,
      starts: this.#starts.slice(0, blocks),
      places: this.#places.slice(0, blocks),
      differences: this.#bytes.slice(0, this.#length),
    };
    [this.#count, this.#sum, this.#end, this.#length] = before;
    return packed;
  }

  #beginBlock(start: number): void {
    const block = this.#count / perBlock;
    if (block >= this.#starts.length) {
      const starts = new Float64Array(this.#starts.length * 2);
      starts.set(this.#starts);
      this.#starts = starts;
      const places = new Uint32Array(this.#places.length * 2);
      places.set(this.#places);
      this.#places = places;
    }
    this.#starts[block] = start;
    this.#places[block] = this.#length;
  }

  /** Lowest bit: whether it counts bytes instead of units; highest bit of a byte: whether another one follows. */
  #write(difference: number): void {
    const bytes = this.#bytes;
    let at = this.#length;
    // Nearly all are small, and whole-number arithmetic is several times as fast.
    if (difference < 2 ** 31) {
      const inUnits = (difference & (unit - 1)) === 0;
      let value = inUnits ? difference / unit : difference;
      let byte = ((value & 63) << 1) | (inUnits ? 0 : 1);
      for (value >>>= 6; value > 0; value >>>= 7) {
        bytes[at++] = byte | 0x80;
        byte = value & 127;
      }
      bytes[at++] = byte;
    } else {
      const inUnits = difference % unit === 0;
      let value = inUnits ? difference / unit : difference;
      let byte = (value % 64) * 2 + (inUnits ? 0 : 1);
      for (value = Math.floor(value / 64); value > 0; value = Math.floor(value / 128)) {
        bytes[at++] = byte | 0x80;
        byte = value % 128;
      }
      bytes[at++] = byte;
    }
    this.#length = at;
  }
}
