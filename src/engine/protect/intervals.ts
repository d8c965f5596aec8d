/** Sets of byte ranges, kept sorted, disjoint and merged. Compact: two doubles a range, so that millions fit. */
import type { ByteRange } from '../image/contract.ts';

export class IntervalSet {
  /** start, end, start, end, ... strictly increasing. */
  readonly #edges: Float64Array;

  private constructor(edges: Float64Array) {
    this.#edges = edges;
  }

  static readonly empty = new IntervalSet(new Float64Array(0));

  static of(...ranges: readonly ByteRange[]): IntervalSet {
    const sorted = ranges.filter((r) => r.length > 0).sort((a, b) => a.offset - b.offset);
    const builder = new IntervalBuilder();
    for (const range of sorted) builder.add(range.offset, range.length);
    return builder.build();
  }

  /** @internal */
  static fromEdges(edges: Float64Array): IntervalSet {
    return new IntervalSet(edges);
  }

  /** Number of ranges. */
  get count(): number {
    return this.#edges.length / 2;
  }

  /** Sum of the lengths in bytes. */
  get bytes(): number {
    let sum = 0;
    for (let i = 0; i < this.#edges.length; i += 2) sum += this.#at(i + 1) - this.#at(i);
    return sum;
  }

  *[Symbol.iterator](): IterableIterator<ByteRange> {
    for (let i = 0; i < this.#edges.length; i += 2) {
      const offset = this.#at(i);
      yield { offset, length: this.#at(i + 1) - offset };
    }
  }

  /** Whether any byte of the range is in the set. */
  touches(range: ByteRange): boolean {
    return this.firstTouched(range) !== undefined;
  }

  /** The first range of the set that shares a byte with `range`. O(log n). */
  firstTouched(range: ByteRange): ByteRange | undefined {
    if (range.length <= 0) return undefined;
    const i = this.#firstEndingAfter(range.offset);
    if (i >= this.#edges.length || this.#at(i) >= range.offset + range.length) return undefined;
    return { offset: this.#at(i), length: this.#at(i + 1) - this.#at(i) };
  }

  /** Whether every byte of the range is in the set. */
  covers(range: ByteRange): boolean {
    if (range.length <= 0) return true;
    const i = this.#firstEndingAfter(range.offset);
    return i < this.#edges.length && this.#at(i) <= range.offset && this.#at(i + 1) >= range.offset + range.length;
  }

  union(other: IntervalSet): IntervalSet {
    return combine(this.#edges, other.#edges, (a, b) => a || b);
  }

  intersect(other: IntervalSet): IntervalSet {
    return combine(this.#edges, other.#edges, (a, b) => a && b);
  }

  subtract(other: IntervalSet): IntervalSet {
    return combine(this.#edges, other.#edges, (a, b) => a && !b);
  }

  /** The same ranges moved by `delta` bytes. */
  shift(delta: number): IntervalSet {
    return new IntervalSet(this.#edges.map((edge) => edge + delta));
  }

  /** Every range widened outwards to multiples of `unit`. */
  align(unit: number): IntervalSet {
    const builder = new IntervalBuilder();
    for (const range of this) {
      const start = Math.floor(range.offset / unit) * unit;
      builder.add(start, Math.ceil((range.offset + range.length) / unit) * unit - start);
    }
    return builder.build();
  }

  /** Even index of the first range whose end lies behind `offset`. */
  #firstEndingAfter(offset: number): number {
    let low = 0;
    let high = this.#edges.length / 2;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#at(middle * 2 + 1) > offset) high = middle;
      else low = middle + 1;
    }
    return low * 2;
  }

  #at(index: number): number {
    return this.#edges[index] as number;
  }
}

/** Collects ranges in ascending order of offset; touching and overlapping ones are merged. */
export class IntervalBuilder {
  #edges = new Float64Array(64);
  #length = 0;

  /** @throws RangeError when `offset` lies before the last range's start. */
  add(offset: number, length: number): this {
    if (length <= 0) return this;
    const last = this.#length;
    if (last > 0 && offset <= (this.#edges[last - 1] as number)) {
      if (offset < (this.#edges[last - 2] as number)) throw new RangeError('ranges must be added in ascending order');
      if (offset + length > (this.#edges[last - 1] as number)) this.#edges[last - 1] = offset + length;
      return this;
    }
    if (last + 2 > this.#edges.length) {
      const grown = new Float64Array(this.#edges.length * 2);
      grown.set(this.#edges);
      this.#edges = grown;
    }
    this.#edges[last] = offset;
    this.#edges[last + 1] = offset + length;
    this.#length = last + 2;
    return this;
  }

  build(): IntervalSet {
    return IntervalSet.fromEdges(this.#edges.slice(0, this.#length));
  }
}

/** Sweeps over the edges of both sets and keeps what `keep` says of being inside a and inside b. */
function combine(a: Float64Array, b: Float64Array, keep: (inA: boolean, inB: boolean) => boolean): IntervalSet {
  const builder = new IntervalBuilder();
  let i = 0;
  let j = 0;
  let start = -1;
  while (i < a.length || j < b.length) {
    const edgeA = i < a.length ? (a[i] as number) : Number.POSITIVE_INFINITY;
    const edgeB = j < b.length ? (b[j] as number) : Number.POSITIVE_INFINITY;
    const edge = Math.min(edgeA, edgeB);
    if (edgeA === edge) i++;
    if (edgeB === edge) j++;
    const inside = keep(i % 2 === 1, j % 2 === 1);
    if (inside && start < 0) start = edge;
    else if (!inside && start >= 0) {
      builder.add(start, edge - start);
      start = -1;
    }
  }
  return builder.build();
}
