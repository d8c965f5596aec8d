/** Which bytes of a physical volume its logical volumes take, as sparingly as the file systems in them allow. */
import type { ImageSource } from '../../../image/contract.ts';
import { IntervalSet } from '../../../protect/intervals.ts';
import type { UsedBlocks } from '../../contract.ts';
import { insist } from '../bytes.ts';
import { UsedCollector } from '../collect.ts';
import { linearVolumes, placed } from './linear-volumes.ts';
import type { PhysicalVolume } from './physical-volume.ts';

/** Smaller volumes are not looked into, and not more of them than this. */
const smallest = 1 << 20;
const mostVolumes = 1024;
/** Ranges that are kept before the rest is counted whole. */
const mostRanges = 1 << 22;

/** `usedInside` tells what the file system of a logical volume uses. @throws NotMappableError for extents with two owners. */
export async function takenBytes(
  part: ImageSource,
  volume: PhysicalVolume,
  usedInside: (image: ImageSource) => Promise<UsedBlocks>,
): Promise<IntervalSet> {
  const { group, extents } = volume;
  if (group === undefined) return IntervalSet.empty;
  const areas = group.volumes.flatMap((lv) => lv.segments.flatMap((segment) => segment.areas));
  const whole = new Map<number, IntervalSet>();
  let sum = 0;
  for (const area of areas) {
    const range = { offset: extents.offset + area.firstExtent * group.extentBytes, length: area.extents * group.extentBytes };
    whole.set(range.offset, IntervalSet.of(range));
    sum += range.length;
  }
  const bytes = collect(whole).bytes;
  insist(whole.size === areas.length && bytes === sum, 'the LVM metadata gives extents to two logical volumes');

  let ranges = 0;
  const volumes = linearVolumes(part, volume).filter(({ image }) => image.size >= smallest);
  for (const { image, pieces } of volumes.slice(0, mostVolumes)) {
    const map = await usedInside(image);
    if (!map.known || ranges + map.used.count > mostRanges) continue;
    ranges += map.used.count;
    placed(pieces, map.used).forEach((set, i) => {
      whole.set(pieces[i]?.offset as number, set);
    });
  }
  return collect(whole);
}

/** Sets that do not overlap, each known by where its area begins, as one. */
function collect(sets: ReadonlyMap<number, IntervalSet>): IntervalSet {
  const collector = new UsedCollector();
  for (const start of [...sets.keys()].sort((a, b) => a - b)) {
    for (const range of sets.get(start) ?? []) collector.add(range.offset, range.length);
  }
  return collector.build();
}
