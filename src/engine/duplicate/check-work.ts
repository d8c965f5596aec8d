/** Where a plan writes, checked against where nothing may be written, before anything is. */
import { ProtectedRegionError } from '../protect/errors.ts';
import { IntervalSet } from '../protect/intervals.ts';
import type { Region } from '../protect/region.ts';
import type { ClonePlan } from './plan.ts';

/** The guard stops what would be written wrongly; a plan that asks for it is not even begun. @throws ProtectedRegionError */
export function checkWork(target: string, plan: ClonePlan): void {
  const work = plan.copy.union(plan.zero).union(plan.discard);
  for (const region of [...plan.regions, ...keptRegions(plan)]) {
    const [range] = work.intersect(IntervalSet.of(region));
    if (range !== undefined) throw new ProtectedRegionError(target, 'the plan', range, region);
  }
}

/** The parts that stay, as regions that the copy may not write to. */
export function keptRegions({ kept }: Pick<ClonePlan, 'kept'>): Region[] {
  return [...kept].map((range) => ({
    ...range,
    carrier: 'partition',
    name: `the part at byte ${range.offset}, which stays`,
  }));
}
