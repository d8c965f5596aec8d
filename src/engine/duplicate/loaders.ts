/** Boot loaders that stand outside every partition. */
import type { ImageSource } from '../image/contract.ts';
import type { PartitionTable } from '../layout/contract.ts';
import { entryRange, unpartitionedRanges } from '../layout/table-space.ts';
import { IntervalSet } from '../protect/intervals.ts';
import { type Allocation, dataIn } from './contents.ts';
import type { Disk } from './disk.ts';

/** What holds data before the first partition, neither table nor profile region. Bytes of the disk. */
export async function loadersOn(
  image: ImageSource,
  disk: Disk & { readonly table: PartitionTable },
  allocation: Allocation,
  tolerant = false,
): Promise<IntervalSet> {
  const { entries, extended } = disk.table;
  const parts = extended === undefined ? entries : [...entries, extended];
  const first = Math.min(disk.size, ...parts.map((entry) => entryRange(entry, disk.sectorSize).offset));
  const before = unpartitionedRanges(disk.table, disk.size)
    .intersect(IntervalSet.of({ offset: 0, length: first }))
    .subtract(IntervalSet.of(...disk.regions));
  return dataIn(image, before, allocation, tolerant);
}
