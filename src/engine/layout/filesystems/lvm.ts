/**
 * Which bytes an LVM2 physical volume uses: label, metadata and whatever else stands outside its extents, and the extents that
 * the metadata of its volume group gives to logical volumes.
 */
import type { ImageSource } from '../../image/contract.ts';
import { IntervalSet } from '../../protect/intervals.ts';
import type { FileSystemInfo, FileSystemReader, UsedBlocks } from '../contract.ts';
import { insist, mapped } from './bytes.ts';
import { readLabelSector, uuidOf } from './lvm/label.ts';
import { type PhysicalVolume, readPhysicalVolume } from './lvm/physical-volume.ts';

export const lvm: FileSystemReader = {
  types: ['LVM2_member'],

  async probe(part: ImageSource): Promise<FileSystemInfo | undefined> {
    const sector = await readLabelSector(part);
    return sector && { type: 'LVM2_member', uuid: uuidOf(sector), label: '', size: 0, state: 'unknown' };
  },

  usedBlocks(part: ImageSource): Promise<UsedBlocks> {
    return mapped(async () => {
      const sector = await readLabelSector(part);
      insist(sector !== undefined, 'there is no LVM label');
      return used(part, await readPhysicalVolume(part, sector));
    });
  },
};

function used(part: ImageSource, { group, extents }: PhysicalVolume): IntervalSet {
  const outside = IntervalSet.of({ offset: 0, length: part.size }).subtract(IntervalSet.of(extents));
  if (group === undefined) return outside;
  const areas = group.volumes.flatMap((volume) => volume.segments.flatMap((segment) => segment.areas));
  const taken = IntervalSet.of(
    ...areas.map(({ firstExtent, extents: count }) => ({
      offset: extents.offset + firstExtent * group.extentBytes,
      length: count * group.extentBytes,
    })),
  );
  const sum = areas.reduce((bytes, area) => bytes + area.extents * group.extentBytes, 0);
  insist(taken.bytes === sum, 'the LVM metadata gives extents to two logical volumes');
  return outside.union(taken);
}
