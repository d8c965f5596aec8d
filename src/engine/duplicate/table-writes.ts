/** Puts a partition table, or the absence of one, on a target; every step durable before the next. */
import type { ByteRange, GuardedTarget } from '../image/contract.ts';
import { end } from '../image/contract.ts';
import { bootCodeSize } from '../layout/mbr.ts';
import type { TableWrites, Write } from '../layout/table-encode.ts';
import { encodeTable } from '../layout/table-encode.ts';
import { entryRange } from '../layout/table-space.ts';
import { IntervalSet } from '../protect/intervals.ts';
import { TargetDiffersError } from './errors.ts';
import type { ClonePlan } from './plan.ts';

/**
 * The first write of a run: from here to the commit nothing boots from the target, and any host sees what is going on.
 * The backup comes first, so that at every instant the old table or the fence is whole.
 */
export async function raiseFence(target: GuardedTarget, plan: ClonePlan): Promise<void> {
  const before = IntervalSet.of(...(plan.before?.ownRanges ?? []).filter((range) => end(range) <= target.size));
  const stays = IntervalSet.of(...plan.regions).union(plan.kept);
  if (plan.fence === undefined) {
    // No table: the old backup must not bring the old disk back, and no file system may be found at the start.
    await eraseDurably(target, before.subtract(stays).subtract(IntervalSet.of({ offset: 0, length: plan.withheld })));
    await eraseDurably(target, IntervalSet.of({ offset: 0, length: plan.withheld }));
    return;
  }
  await writeTable(target, encodeTable(plan.fence, target.size));
  const own = IntervalSet.of({ offset: 0, length: plan.fence.sectorSize }, ...plan.fence.ownRanges);
  await eraseDurably(target, before.subtract(own).subtract(stays));
}

/** The last write of a run: the real table, backup first, then primary, then the boot code; read back. */
export async function commitTable(target: GuardedTarget, plan: ClonePlan): Promise<void> {
  if (plan.table === undefined) return;
  const { table, fence, regions, copy, zero } = plan;
  await writeTable(target, encodeTable(table, target.size, { bootCode: table.mbr.subarray(0, bootCodeSize) }));
  // Boot records of the fence stand in no place of the final table; nothing leads to them any more.
  const owned = table.entries.map((entry) => entryRange(entry, table.sectorSize));
  const left = IntervalSet.of(...(fence?.ownRanges ?? [])).subtract(IntervalSet.of(...table.ownRanges, ...owned, ...regions));
  await eraseDurably(target, left.subtract(copy).subtract(zero));
}

/** Backup, primary, sector 0, each durable before the next; then read back. @throws TargetDiffersError */
export async function writeTable(target: GuardedTarget, { backup, primary, mbr }: TableWrites): Promise<void> {
  for (const group of [backup, primary, mbr]) await writeDurably(target, group);
  await confirm(target, [...backup, ...primary, ...mbr]);
}

/**
 * Each write by itself: a GPT header must not stand before the entries that it vouches for. On a disk that had no table, it would be
 * a table that nobody can use.
 */
async function writeDurably(target: GuardedTarget, writes: readonly Write[]): Promise<void> {
  for (const { offset, bytes } of writes) {
    await target.write(bytes, offset);
    await target.flush();
  }
}

async function eraseDurably(target: GuardedTarget, ranges: Iterable<ByteRange>): Promise<void> {
  for (const { offset, length } of ranges) await target.zero(offset, length);
  await target.flush();
}

/** @throws TargetDiffersError */
export async function confirm(target: GuardedTarget, writes: readonly Write[]): Promise<void> {
  const medium = await target.readBack(writes.map(({ offset, bytes }) => ({ offset, length: bytes.length })));
  try {
    for (const { offset, bytes } of writes) {
      const found = new Uint8Array(bytes.length);
      await medium.read(found, offset);
      if (Buffer.compare(found, bytes) === 0) continue;
      const range = { offset, length: bytes.length };
      throw new TargetDiffersError(
        `${target.name} does not hold what was written at byte ${offset} (${bytes.length} bytes)`,
        'The medium is failing. Use another target.',
        { range },
      );
    }
  } finally {
    await medium.close();
  }
}
