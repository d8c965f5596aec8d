/**
 * Where the profile regions of a disk are: partitions of our type, whatever they hold, and raw ranges at fixed offsets.
 *
 * A raw range counts when the magic stands at the place of one of its slots. Where the range touches an ordinary partition,
 * the bytes may belong to that partition's data, and the magic alone is not enough: the header's CRC must be right too. A
 * valid header inside of a partition is protected all the same - losing a profile is worse than refusing a copy, and the
 * way out is to wipe the range.
 */
import { type ByteRange, end, type ImageSource, overlaps } from '../../image/contract.ts';
import type { PartitionTable, TableEntry } from '../../layout/contract.ts';
import { profilePartitionType } from '../../layout/types.ts';
import type { Region } from '../../protect/region.ts';
import { geometryOf } from '../container.ts';
import { decodeHeader, hasMagic, headerBytes } from '../header.ts';

/** Bytes of the default region, and of a raw one that is not in the gap: 992 KiB. */
export const regionBytes = 1_015_808;
/** Start of the default profile partition, in the gap before the first partition at 1 MiB: LBA 64 of 512 bytes. */
export const gapOffset = 32_768;
const mebibyte = 1_048_576;

/**
 * The raw ranges that are looked at, in the order of preference: 512 KiB up to the usual start of the first partition, the
 * 992 KiB from 1 MiB on, and 992 KiB in the last MiB of the disk, 32 KiB before its end (a backup GPT stands behind it).
 */
export function rawRegionOffsets(diskSize: number): ByteRange[] {
  const last = Math.floor((diskSize - mebibyte) / 4096) * 4096;
  const ranges = [
    { offset: mebibyte / 2, length: mebibyte / 2 },
    { offset: mebibyte, length: regionBytes },
    { offset: last, length: regionBytes },
  ];
  return ranges.filter((range, index) => {
    const earlier = ranges.slice(0, index).some((other) => overlaps(range, other));
    return range.offset >= 0 && end(range) <= diskSize && !earlier;
  });
}

/**
 * Where profile partitions are made: in the alignment gap, and at the last 1 MiB boundary from which the disk's end is free. When
 * a table is lost or written anew by another tool, the profile is still there and must not be overwritten.
 */
function partitionPlaces(diskSize: number): ByteRange[] {
  // A backup GPT takes 33 sectors of 512 bytes or 5 of 4096.
  const tails = [33 * 512, 5 * 4096].map((backup) => Math.floor((diskSize - backup - regionBytes) / mebibyte) * mebibyte);
  return [gapOffset, ...new Set(tails)]
    .map((offset) => ({ offset, length: regionBytes }))
    .filter((range) => range.offset >= 0 && end(range) <= diskSize);
}

/** In the order of their offsets. @throws what the image's `read` throws */
export async function findRegions(image: ImageSource, table: PartitionTable | undefined): Promise<Region[]> {
  const parts = (table?.entries ?? []).map((entry) => ({ entry, range: rangeOf(entry, table as PartitionTable, image.size) }));
  const isProfile = ({ entry }: { entry: TableEntry }) =>
    table?.kind === 'gpt' && entry.type.toUpperCase() === profilePartitionType;
  const regions: Region[] = parts
    .filter((part) => isProfile(part) && part.range.length > 0)
    .map(({ entry, range }) => ({ ...range, carrier: 'partition', name: `profile partition ${entry.number}` }));
  const ordinary = parts.filter((part) => !isProfile(part)).map((part) => part.range);
  // Of a partition's place its table is the witness; without that only a right header is.
  const places = [
    ...partitionPlaces(image.size).map((range) => ({ range, strict: true })),
    ...rawRegionOffsets(image.size).map((range) => ({ range, strict: ordinary.some((part) => overlaps(part, range)) })),
  ];
  for (const { range, strict } of places) {
    if (regions.some((region) => overlaps(region, range))) continue;
    const region: Region = { ...range, carrier: 'raw', name: `raw range at ${range.offset}` };
    if (await holdsContainer(image, region, strict)) regions.push(region);
  }
  return regions.sort((a, b) => a.offset - b.offset);
}

/** Cut off at the end of the image: what does not exist cannot be protected. */
function rangeOf(entry: TableEntry, table: PartitionTable, size: number): ByteRange {
  const offset = Math.min(entry.firstSector * table.sectorSize, size);
  const stop = Math.min((entry.lastSector + 1) * table.sectorSize, size);
  return { offset, length: Math.max(0, stop - offset) };
}

/** Whether a slot of the region begins with our magic; `strict`: with a right header that says so itself. */
async function holdsContainer(image: ImageSource, region: Region, strict: boolean): Promise<boolean> {
  const bytes = new Uint8Array(headerBytes);
  for (let alignment = 4096; alignment <= 65_536; alignment *= 2) {
    for (const offset of geometryOf(region, alignment)?.slots ?? []) {
      await image.read(bytes, offset);
      if (!hasMagic(bytes)) continue;
      const reading = decodeHeader(bytes);
      // Slots of one region may stand where another region would have one of another alignment.
      if (reading.state === 'header' ? reading.header.alignment === alignment : !strict || reading.state === 'newer') return true;
    }
  }
  return false;
}

/** `profile partition 128 (992 KiB at 32 KiB)`. */
export function describeRegion(region: Region): string {
  return `${region.name} (${size(region.length)} at ${size(region.offset)})`;
}

/** Exact, in the largest unit that leaves no remainder. */
function size(bytes: number): string {
  const units = [
    [1_073_741_824, 'GiB'],
    [1_048_576, 'MiB'],
    [1024, 'KiB'],
  ] as const;
  const unit = units.find(([one]) => bytes >= one && bytes % one === 0);
  return unit === undefined ? `${bytes} bytes` : `${bytes / unit[0]} ${unit[1]}`;
}
