/**
 * Logical volumes that are nothing but extents of one physical volume, as images: what a file system in them leaves unused need
 * not be copied. Whatever is part of something else (snapshots, pools, caches, RAID, mirrors, moves) is not among them.
 */
import type { ByteRange, Extent, ImageSource } from '../../../image/contract.ts';
import { IntervalBuilder, type IntervalSet } from '../../../protect/intervals.ts';
import type { PhysicalVolume } from './physical-volume.ts';
import type { LogicalVolume } from './volume-group.ts';

/** A volume in any other state is left alone. */
const plainStatus = ['READ', 'WRITE', 'VISIBLE'];

/** Bytes `[from, from + length)` of the logical volume stand at `offset` of the physical one. */
export interface Piece extends ByteRange {
  readonly from: number;
}

export interface LinearVolume {
  /** In the order of the logical volume, without gaps. */
  readonly pieces: readonly Piece[];
  readonly image: ImageSource;
}

/** All of them, in the order of the metadata. Closing their images leaves `part` open. */
export function linearVolumes(part: ImageSource, { group, extents }: PhysicalVolume): LinearVolume[] {
  if (group === undefined) return [];
  const found: LinearVolume[] = [];
  for (const volume of group.volumes) {
    const plain = volume.status.includes('VISIBLE') && volume.status.every((word) => plainStatus.includes(word));
    if (!plain || group.named.has(volume.name)) continue;
    const pieces = piecesOf(volume, extents.offset, group.extentBytes);
    if (pieces !== undefined) found.push({ pieces, image: imageOf(part, pieces, volume.name) });
  }
  return found;
}

function piecesOf(volume: LogicalVolume, extentsAt: number, extentBytes: number): Piece[] | undefined {
  const pieces: Piece[] = [];
  let next = 0;
  for (const { linear, start, extents, areas } of volume.segments) {
    const [area] = areas;
    if (!linear || area === undefined || start !== next) return undefined;
    const offset = extentsAt + area.firstExtent * extentBytes;
    pieces.push({ from: start * extentBytes, length: extents * extentBytes, offset });
    next = start + extents;
  }
  return pieces.length === 0 ? undefined : pieces;
}

function imageOf(part: ImageSource, pieces: readonly Piece[], name: string): ImageSource {
  const last = pieces.at(-1) as Piece;
  const size = last.from + last.length;
  return {
    name: `${part.name}, logical volume ${name}`,
    size,
    sectorSize: part.sectorSize,
    physicalSectorSize: part.physicalSectorSize,
    async *extents(): AsyncIterable<Extent> {
      yield { offset: 0, length: size, state: 'data' };
    },
    async read(into, offset) {
      if (offset < 0 || offset + into.length > size) throw new RangeError(`a read at ${offset} runs over the end of ${name}`);
      for (let done = 0, i = pieceAt(pieces, offset); done < into.length; i++) {
        const piece = pieces[i] as Piece;
        const inPiece = offset + done - piece.from;
        const step = Math.min(into.length - done, piece.length - inPiece);
        await part.read(into.subarray(done, done + step), piece.offset + inPiece);
        done += step;
      }
    },
    async close() {},
  };
}

function pieceAt(pieces: readonly Piece[], offset: number): number {
  let low = 0;
  let high = pieces.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if ((pieces[middle] as Piece).from <= offset) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Where bytes of the logical volume stand on the physical one: a set for each piece, in the same order. */
export function placed(pieces: readonly Piece[], used: IntervalSet): IntervalSet[] {
  const builders = pieces.map(() => new IntervalBuilder());
  let i = 0;
  for (const range of used) {
    const rangeEnd = range.offset + range.length;
    for (let at = range.offset; at < rangeEnd; ) {
      while (i + 1 < pieces.length && (pieces[i + 1] as Piece).from <= at) i++;
      const piece = pieces[i] as Piece;
      const stop = Math.min(rangeEnd, piece.from + piece.length);
      if (stop <= at) break;
      builders[i]?.add(piece.offset + at - piece.from, stop - at);
      at = stop;
    }
  }
  return builders.map((builder) => builder.build());
}
