/** Which bytes of the target are copied, zeroed and discarded. Pure; offsets are bytes. */
import type { ByteRange } from '../image/contract.ts';
import { entryRange, unpartitionedRanges } from '../layout/table-space.ts';
import { IntervalSet } from '../protect/intervals.ts';
import type { Allocation, Contents } from './contents.ts';
import type { Disk } from './disk.ts';
import type { ClonePlan } from './plan.ts';
import type { Layout } from './plan-layout.ts';
import type { CopyRequest } from './request.ts';

export interface WorkFacts {
  readonly source: Disk;
  readonly targetSize: number;
  readonly layout: Layout;
  readonly allocation: Allocation;
  /** Of the parts that are copied. */
  readonly contents: Iterable<Contents>;
}

/** What happens to which bytes; the three sets are disjoint. */
export function workOf(
  { unused, exact }: Pick<CopyRequest, 'unused' | 'exact'>,
  { source, targetSize, layout, contents, allocation }: WorkFacts,
): Pick<ClonePlan, 'copy' | 'zero' | 'discard'> {
  const parts = [...contents];
  const unite = (pick: (each: Contents) => IntervalSet) => parts.reduce((sum, each) => sum.union(pick(each)), IntervalSet.empty);
  const free = unite((each) => each.unused);
  const gaps = exact ? gapsOf(source, layout, targetSize) : IntervalSet.empty;
  const withheld = IntervalSet.of({ offset: 0, length: layout.withheld });
  // What another file system left there would be taken for this part's: blkid looks at both ends, and so do we.
  const stale = free.intersect(IntervalSet.of(...layout.copied.flatMap(({ range }) => edgesOf(range))));
  const copy = unite((each) => each.data)
    .union(layout.loaders)
    .union(gaps.intersect(allocation.data))
    .subtract(withheld);
  const zero = unite((each) => each.zero)
    .union(gaps.intersect(allocation.zero))
    .union(unused === 'zero' ? free : stale)
    .subtract(withheld)
    .subtract(copy);
  return { copy, zero, discard: unused === 'discard' ? free.subtract(zero) : IntervalSet.empty };
}

/** Where file systems and containers have their signatures. */
const EDGE = 1 << 20;

function edgesOf({ offset, length }: ByteRange): ByteRange[] {
  const size = Math.min(EDGE, length);
  return [
    { offset, length: size },
    { offset: offset + length - size, length: size },
  ];
}

/** The space between partitions that belongs to nobody on either disk. */
export function gapsOf(
  source: Disk,
  { table, regions }: Partial<Pick<Layout, 'table'>> & Pick<Layout, 'regions'>,
  targetSize: number,
): IntervalSet {
  if (source.table === undefined || table === undefined) return IntervalSet.empty;
  const owned = IntervalSet.of(
    { offset: 0, length: table.sectorSize },
    ...table.ownRanges,
    ...table.entries.map((entry) => entryRange(entry, table.sectorSize)),
    ...regions,
    ...source.regions,
  );
  return unpartitionedRanges(source.table, source.size)
    .intersect(IntervalSet.of({ offset: 0, length: targetSize }))
    .subtract(owned);
}
