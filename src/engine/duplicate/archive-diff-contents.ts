/**
 * What the parts of two archives hold, compared. Where segments are of the same ranges their digests tell; what they cannot tell is
 * read: segments of other sizes or ranges, and differing ones in which several parts meet. Offsets and lengths are bytes.
 */
import type { Archive } from '../archive/archive.ts';
import { ArchivedDisk } from '../archive/archived-disk.ts';
import { type Cell, cellAt, cellsOf, unpacked } from '../archive/cells.ts';
import type { RunOptions } from '../events.ts';
import { type ByteRange, end } from '../image/contract.ts';
import { isZero } from '../lanes/zeros.ts';
import { IntervalSet } from '../protect/intervals.ts';
import type { Part } from './disk.ts';
import type { ArchivedMachine } from './machine.ts';

export interface PartDiff {
  /** Absent for what lies outside every part. */
  readonly number?: number;
  readonly label: string;
  readonly kind?: string;
  readonly holds?: string;
  readonly mountPoint?: string;
  /** Bytes of its data, in the new archive where it is in that. */
  readonly data: number;
  readonly what: 'equal' | 'differs' | 'only in old' | 'only in new';
  /** Data of the new one in segments where the part differs. */
  readonly changed: number;
  readonly segments: number;
  /** Reads as zeros in the new one, and did not in the old one. */
  readonly zeroed: number;
  /** Belongs to nobody in the new one, and did in the old one. */
  readonly freed: number;
}

export interface ContentsDiff {
  readonly parts: readonly PartDiff[];
  /** What of the new archive a disk lacks that holds the old one; and all of it. Bytes as they are stored. */
  readonly fetch: { readonly segments: number; readonly bytes: number; readonly ofSegments: number; readonly ofBytes: number };
  /** Bytes of content that had to be read to tell. */
  readonly read: number;
}

export interface Side {
  readonly archive: Archive;
  readonly machine: ArchivedMachine;
}

/** A part, or what lies outside all of them, on both disks. */
interface Place {
  readonly part?: Part;
  readonly old: IntervalSet;
  readonly new: IntervalSet;
  /** How far it moved from the old disk to the new one. */
  readonly shift: number;
}

/** Bytes that are compared at a time. */
const PIECE = 1 << 20;

/** @throws ArchiveCorruptError, ArchiveIoError, the signal's reason */
export async function compareContents(
  sides: { readonly old: Side; readonly new: Side },
  run: Required<Pick<RunOptions, 'onEvent'>> & RunOptions,
): Promise<ContentsDiff> {
  const comparison = new Comparison(sides.old, sides.new, run);
  const fetch = await comparison.findHeld();
  const parts: PartDiff[] = [];
  const { parts: before } = sides.old.machine.disk;
  for (const part of sides.new.machine.disk.parts) {
    const was = before.find(({ number }) => number === part.number);
    parts.push(was === undefined ? alone(part, sides.new, 'only in new') : await comparison.part(part, was));
  }
  for (const part of before)
    if (!sides.new.machine.disk.parts.some(({ number }) => number === part.number))
      parts.push(alone(part, sides.old, 'only in old'));
  const outside = await comparison.outside();
  if (outside.data > 0 || outside.what !== 'equal') parts.push(outside);
  return { parts, fetch, read: comparison.read };
}

function alone(part: Part, { machine }: Side, what: 'only in old' | 'only in new'): PartDiff {
  const data = machine.image.data.intersect(IntervalSet.of(part.range)).bytes;
  return { ...described(part), data, what, changed: 0, segments: 0, zeroed: 0, freed: 0 };
}

function described({ number, label, kind, fs, mountPoint }: Part) {
  return {
    number,
    label,
    kind,
    ...(fs === undefined ? {} : { holds: fs.type }),
    ...(mountPoint === undefined ? {} : { mountPoint }),
  };
}

class Comparison {
  read = 0;
  readonly #old: Side;
  readonly #new: Side;
  readonly #run: Required<Pick<RunOptions, 'onEvent'>> & RunOptions;
  readonly #disks: { readonly old: ArchivedDisk; readonly new: ArchivedDisk };
  /** What the old archive says something of. */
  readonly #known: IntervalSet;
  /** Offsets of the cells of the new archive whose data stands in the old one, in the same place. */
  readonly #held = new Set<number>();

  constructor(old: Side, changed: Side, run: Required<Pick<RunOptions, 'onEvent'>> & RunOptions) {
    this.#old = old;
    this.#new = changed;
    this.#run = run;
    this.#disks = {
      old: new ArchivedDisk(old.archive, old.machine.image),
      new: new ArchivedDisk(changed.archive, changed.machine.image),
    };
    this.#known = old.machine.image.data.union(old.machine.image.zero);
  }

  /** Has to come first. */
  async findHeld(): Promise<ContentsDiff['fetch']> {
    const fetch = { segments: 0, bytes: 0, ofSegments: 0, ofBytes: 0 };
    const { data } = this.#new.machine.image;
    let done = 0;
    for (const cell of this.#cells()) {
      this.#run.signal?.throwIfAborted();
      const { size } = this.#new.archive.segment(cell);
      fetch.ofSegments++;
      fetch.ofBytes += size;
      if (await this.#isHeld(cell)) this.#held.add(cell.offset);
      else {
        fetch.segments++;
        fetch.bytes += size;
      }
      done += cell.length;
      this.#run.onEvent({ type: 'progress', phase: 'compare', done, total: data.bytes });
    }
    return fetch;
  }

  part(part: Part, was: Part): Promise<PartDiff> {
    const [old, changed] = [IntervalSet.of(was.range), IntervalSet.of(part.range)];
    return this.#compare({ part, old, new: changed, shift: part.range.offset - was.range.offset });
  }

  outside(): Promise<PartDiff> {
    const outsideOf = ({ machine: { image, disk } }: Side): IntervalSet =>
      IntervalSet.of({ offset: 0, length: image.size }).subtract(IntervalSet.of(...disk.parts.map(({ range }) => range)));
    return this.#compare({ old: outsideOf(this.#old), new: outsideOf(this.#new), shift: 0 });
  }

  async #compare({ part, old: before, new: place, shift }: Place): Promise<PartDiff> {
    const [old, image] = [this.#old.machine.image, this.#new.machine.image];
    let [changed, segments] = [0, 0];
    const [data, zero] = [image.data.intersect(place), image.zero.intersect(place)];
    for (const { offset, ranges, length } of this.#cells({ ...image, data })) {
      if (await this.#isSame(offset, ranges, shift)) continue;
      segments++;
      changed += length;
    }
    const notZeroBefore = zero.subtract(old.zero.shift(shift));
    const wasData = notZeroBefore.intersect(old.data.shift(shift));
    const zeroed = notZeroBefore.bytes - wasData.bytes + (await this.#bytesOtherThanZero(wasData, shift));
    const freed = this.#known.intersect(before).shift(shift).subtract(data).subtract(zero).bytes;
    return {
      ...(part === undefined ? { label: 'outside every part' } : described(part)),
      data: data.bytes,
      what: changed + zeroed + freed === 0 ? 'equal' : 'differs',
      changed,
      segments,
      zeroed,
      freed,
    };
  }

  async #isHeld(cell: Cell): Promise<boolean> {
    const { archive, machine } = this.#old;
    const { segmentSize } = this.#new.archive.layout;
    const wanted = this.#new.archive.segment(cell).content;
    if (archive.layout.segmentSize === segmentSize && sameSalt(archive, this.#new.archive)) {
      const old = { ...cellAt(machine.image, segmentSize, cell.offset), image: machine.image.name };
      if (sameRanges(old, cell)) return archive.segment(old).content === wanted;
    }
    if (!cell.ranges.every((range) => this.#known.covers(range))) return false;
    const content = new Uint8Array(cell.length);
    for (const { range, bytes } of unpacked(cell, content)) await this.#disks.old.read(bytes, range.offset);
    this.read += cell.length;
    return this.#new.archive.digestOf(content) === wanted;
  }

  /** `ranges` are some of those of the cell that begins at `cell`. */
  async #isSame(cell: number, ranges: readonly ByteRange[], shift: number): Promise<boolean> {
    this.#run.signal?.throwIfAborted();
    if (shift === 0 && this.#held.has(cell)) return true;
    const whole = cellAt(this.#new.machine.image, this.#new.archive.layout.segmentSize, cell);
    if (shift === 0 && ranges.reduce((sum, { length }) => sum + length, 0) === whole.length) return false;
    const known = ranges.every(({ offset, length }) => this.#known.covers({ offset: offset - shift, length }));
    if (!known) return false;
    for (const { offset, length } of piecesOf(ranges)) {
      const [is, was] = [new Uint8Array(length), new Uint8Array(length)];
      await this.#disks.new.read(is, offset);
      await this.#disks.old.read(was, offset - shift);
      this.read += 2 * length;
      if (Buffer.compare(is, was) !== 0) return false;
    }
    return true;
  }

  /** Of what is zeros in the new archive, and data in the old one. */
  async #bytesOtherThanZero(ranges: Iterable<ByteRange>, shift: number): Promise<number> {
    let found = 0;
    for (const { offset, length } of piecesOf(ranges)) {
      this.#run.signal?.throwIfAborted();
      const bytes = new Uint8Array(length);
      await this.#disks.old.read(bytes, offset - shift);
      this.read += length;
      if (!isZero(bytes)) found += length;
    }
    return found;
  }

  #cells(image = this.#new.machine.image): Iterable<Cell> {
    return cellsOf(image, this.#new.archive.layout.segmentSize);
  }
}

/** Then digests of contents can be compared. */
function sameSalt({ layout: a }: Archive, { layout: b }: Archive): boolean {
  return Buffer.compare(a.salt ?? new Uint8Array(0), b.salt ?? new Uint8Array(0)) === 0;
}

function sameRanges(a: Cell, b: Cell): boolean {
  return (
    a.ranges.length === b.ranges.length &&
    a.ranges.every(({ offset, length }, index) => b.ranges[index]?.offset === offset && b.ranges[index].length === length)
  );
}

function* piecesOf(ranges: Iterable<ByteRange>): Generator<ByteRange, void, void> {
  for (const range of ranges)
    for (let offset = range.offset; offset < end(range); offset += PIECE)
      yield { offset, length: Math.min(PIECE, end(range) - offset) };
}
