/**
 * Sets of byte ranges, kept sorted, disjoint and merged. Compact: two to six bytes a range where file systems are fragmented, so
 * that tens of millions fit. Offsets and lengths are whole numbers of bytes below 2^53.
 */
import type { ByteRange } from '../image/contract.ts';
import { PackedEdges, PackedEdgesWriter, type PackedRanges } from './packed-edges.ts';

export class IntervalSet {
  readonly #packed: PackedRanges;

  private constructor(packed: PackedRanges) {
    this.#packed = packed;
  }

  static readonly empty = new IntervalSet(new PackedEdgesWriter().finish());

  static of(...ranges: readonly ByteRange[]): IntervalSet {
    const sorted = ranges.filter((r) => r.length > 0).sort((a, b) => a.offset - b.offset);
    const builder = new IntervalBuilder();
    for (const range of sorted) builder.add(range.offset, range.length);
    return builder.build();
  }

  /** @internal */
  static fromPacked(packed: PackedRanges): IntervalSet {
    return new IntervalSet(packed);
  }

  /** Number of ranges. */
  get count(): number {
    return this.#packed.count;
  }

  /** Sum of the lengths in bytes. */
  get bytes(): number {
    return this.#packed.sum;
  }

  *[Symbol.iterator](): IterableIterator<ByteRange> {
    const edges = new PackedEdges(this.#packed);
    while (edges.edge !== Number.POSITIVE_INFINITY) {
      const offset = edges.edge;
      edges.advance();
      yield { offset, length: edges.edge - offset };
      edges.advance();
    }
  }

  /** Whether any byte of the range is in the set. */
  touches(range: ByteRange): boolean {
    return this.firstTouched(range) !== undefined;
  }

  /** The first range of the set that shares a byte with `range`. O(log n). */
  firstTouched(range: ByteRange): ByteRange | undefined {
    if (range.length <= 0) return undefined;
    const first = this.#firstEndingAfter(range.offset);
    return first === undefined || first.offset >= range.offset + range.length ? undefined : first;
  }

  /** Whether every byte of the range is in the set. */
  covers(range: ByteRange): boolean {
    if (range.length <= 0) return true;
    const first = this.#firstEndingAfter(range.offset);
    return first !== undefined && first.offset <= range.offset && first.offset + first.length >= range.offset + range.length;
  }

  /** What of each range lies in `range`, in ascending order. Begins after O(log n). */
  *within(range: ByteRange): IterableIterator<ByteRange> {
    const stop = range.offset + range.length;
    const edges = PackedEdges.near(this.#packed, range.offset);
    while (edges.edge < stop) {
      const start = Math.max(edges.edge, range.offset);
      edges.advance();
      const length = Math.min(edges.edge, stop) - start;
      if (length > 0) yield { offset: start, length };
      edges.advance();
    }
  }

  union(other: IntervalSet): IntervalSet {
    return combine(this.#packed, other.#packed, (a, b) => a || b);
  }

  intersect(other: IntervalSet): IntervalSet {
    return combine(this.#packed, other.#packed, (a, b) => a && b);
  }

  subtract(other: IntervalSet): IntervalSet {
    return combine(this.#packed, other.#packed, (a, b) => a && !b);
  }

  /** The same ranges moved by `delta` bytes. */
  shift(delta: number): IntervalSet {
    const { starts, ...rest } = this.#packed;
    return new IntervalSet({ ...rest, starts: starts.map((start) => start + delta) });
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

  #firstEndingAfter(offset: number): ByteRange | undefined {
    const edges = PackedEdges.near(this.#packed, offset);
    while (edges.edge !== Number.POSITIVE_INFINITY) {
      const start = edges.edge;
      edges.advance();
      if (edges.edge > offset) return { offset: start, length: edges.edge - start };
      edges.advance();
    }
    return undefined;
  }
}

/** Collects ranges in ascending order of offset; touching and overlapping ones are merged. */
export class IntervalBuilder {
  readonly #writer = new PackedEdgesWriter();
  /** The last range, which the next one may still lengthen. */
  #start = Number.NaN;
  #end = Number.NEGATIVE_INFINITY;

  /** @throws RangeError when `offset` lies before the last range's start, or for what is no whole number of bytes. */
  add(offset: number, length: number): this {
    if (length <= 0) return this;
    const end = offset + length;
    if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(end)) {
      throw new RangeError(`a range of ${length} bytes at ${offset} cannot be kept`);
    }
    if (offset <= this.#end) {
      if (offset < this.#start) throw new RangeError('ranges must be added in ascending order');
      if (end > this.#end) this.#end = end;
      return this;
    }
    if (!Number.isNaN(this.#start)) this.#writer.add(this.#start, this.#end);
    this.#start = offset;
    this.#end = end;
    return this;
  }

  build(): IntervalSet {
    const last = Number.isNaN(this.#start) ? undefined : ([this.#start, this.#end] as const);
    return IntervalSet.fromPacked(this.#writer.finish(last));
  }
}

/** Sweeps over the edges of both sets and keeps what `keep` says of being inside a and inside b. */
function combine(a: PackedRanges, b: PackedRanges, keep: (inA: boolean, inB: boolean) => boolean): IntervalSet {
  const builder = new IntervalBuilder();
  const edgesA = new PackedEdges(a);
  const edgesB = new PackedEdges(b);
  let start = Number.NaN;
  for (;;) {
    const edge = Math.min(edgesA.edge, edgesB.edge);
    if (edge === Number.POSITIVE_INFINITY) return builder.build();
    if (edgesA.edge === edge) edgesA.advance();
    if (edgesB.edge === edge) edgesB.advance();
    const inside = keep(edgesA.inside, edgesB.inside);
    if (inside && Number.isNaN(start)) start = edge;
    else if (!inside && !Number.isNaN(start)) {
      builder.add(start, edge - start);
      start = Number.NaN;
    }
  }
}
