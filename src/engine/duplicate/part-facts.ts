/**
 * What has to be known of a source's parts before they go onto a disk that is smaller or has other sectors: in which units their file
 * systems count, and whether the end that a smaller disk has no room for holds anything.
 * Offsets and lengths are bytes. Fields: Linux' fs/ext4/ext4.h, fs/xfs/libxfs/xfs_format.h, btrfs' on-disk format, Microsoft's FAT and
 * exFAT specifications.
 */
import { end, type ImageSource } from '../image/contract.ts';
import { slice } from '../image/slice.ts';
import { isZero } from '../lanes/zeros.ts';
import { usableSectors } from '../layout/table-space.ts';
import { IntervalSet } from '../protect/intervals.ts';
import type { Allocation } from './contents.ts';
import type { Disk, Part } from './disk.ts';

/** How a file system depends on the logical sector size of its disk. */
export type SectorNeed =
  /** Any sector size that divides so many bytes. */
  | { readonly unit: number }
  /** This very sector size. */
  | { readonly exact: number }
  /** It cannot be judged; a clause. */
  | { readonly unknown: string };

export interface PartFacts {
  /** Known when the target has other sectors; of a disk without a table, when it has larger ones. */
  readonly sectors?: SectorNeed;
  /** Known when the part ends behind the target's end. `unused`: everything behind the file system reads as zeros. */
  readonly tail?: 'unused' | 'data' | 'too long to look at';
}

export interface FactsTarget {
  readonly size: number;
  /** Logical sector size that the table on the target will have. */
  readonly sectorSize: number;
}

const microsoftReserved = 'E3C9E316-0B5C-4DB8-817D-F92DF00215AE';
/** Reading more than this just to find zeros takes longer than anybody waits for a plan. */
const longestTail = 64 * 2 ** 30;
const step = 1 << 20;

/** By part number; only what this target makes necessary is looked at. @throws ImageIoError; TableDoesNotFitError when the target has no room for any table */
export async function partFacts(
  image: ImageSource,
  disk: Disk,
  allocation: Allocation,
  target: FactsTarget,
): Promise<ReadonlyMap<number, PartFacts>> {
  const facts = new Map<number, PartFacts>();
  if (disk.table === undefined) {
    if (target.sectorSize <= disk.sectorSize) return facts;
    for (const part of disk.parts) facts.set(part.number, { sectors: await sectorNeed(image, part) });
    return facts;
  }
  const limit = (usableSectors({ ...disk.table, sectorSize: target.sectorSize }, target.size).lastSector + 1) * target.sectorSize;
  for (const part of disk.parts) {
    const sectors = disk.sectorSize === target.sectorSize ? undefined : await sectorNeed(image, part);
    const tail = end(part.range) <= limit ? undefined : await tailOf(image, part, allocation);
    facts.set(part.number, { ...(sectors === undefined ? {} : { sectors }), ...(tail === undefined ? {} : { tail }) });
  }
  return facts;
}

async function sectorNeed(image: ImageSource, part: Part): Promise<SectorNeed> {
  const inside = slice(image, part.range);
  const bytes = async (offset: number, length: number): Promise<DataView> => {
    const into = new Uint8Array(length);
    await inside.read(into, offset);
    return new DataView(into.buffer);
  };
  switch (part.fs?.type) {
    case 'ext2':
    case 'ext3':
    case 'ext4':
      return { unit: 1024 * 2 ** Math.min((await bytes(1024 + 24, 4)).getUint32(0, true), 16) };
    case 'xfs':
      return { unit: (await bytes(102, 2)).getUint16(0, false) };
    case 'btrfs':
      return { unit: (await bytes(65_536 + 0x90, 4)).getUint32(0, true) };
    case 'swap':
      return { unit: 4096 };
    case 'vfat':
    case 'ntfs':
      return { exact: (await bytes(11, 2)).getUint16(0, true) };
    case 'exfat':
      return { exact: 2 ** (await bytes(108, 1)).getUint8(0) };
    case undefined:
      return part.entry?.type === microsoftReserved ? { unit: 1 << 20 } : { unknown: 'what it holds is not known' };
    default:
      return { unknown: `whether ${part.fs?.type} bears other sectors cannot be judged` };
  }
}

async function tailOf(image: ImageSource, part: Part, allocation: Allocation): Promise<PartFacts['tail']> {
  const size = part.fs?.size ?? 0;
  if (size === 0 || size >= part.range.length) return 'data';
  const tail = IntervalSet.of({ offset: part.range.offset + size, length: part.range.length - size });
  const toRead = tail.intersect(allocation.data);
  if (toRead.bytes > longestTail) return 'too long to look at';
  const buffer = new Uint8Array(step);
  for (const range of toRead) {
    for (let at = range.offset; at < end(range); at += step) {
      const piece = buffer.subarray(0, Math.min(step, end(range) - at));
      await image.read(piece, at);
      if (!isZero(piece)) return 'data';
    }
  }
  return 'unused';
}

/** Why a part cannot stand on a disk with sectors of `size` bytes, as a clause; undefined when it can. */
export function sectorObstacle(need: SectorNeed | undefined, size: number): string | undefined {
  if (need === undefined) return 'in which units its file system counts was not looked at';
  if ('unknown' in need) return need.unknown;
  if ('exact' in need) return need.exact === size ? undefined : `its file system is made for sectors of ${need.exact} bytes`;
  return need.unit >= size && need.unit % size === 0 ? undefined : `its file system counts in units of ${need.unit} bytes`;
}
