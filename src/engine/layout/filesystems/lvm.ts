/**
 * Which bytes an LVM2 physical volume uses: label, metadata and whatever else stands outside its extents, and the extents that
 * the metadata of its volume group gives to logical volumes. Of plain logical volumes only what their file systems use.
 */
import type { ImageSource } from '../../image/contract.ts';
import { IntervalSet } from '../../protect/intervals.ts';
import type { FileSystemInfo, FileSystemReader, FileSystemState, UsedBlocks } from '../contract.ts';
import { insist, mapped, NotMappableError } from './bytes.ts';
import { readLabelSector, uuidOf } from './lvm/label.ts';
import { linearVolumes } from './lvm/linear-volumes.ts';
import { readPhysicalVolume } from './lvm/physical-volume.ts';
import { takenBytes } from './lvm/taken.ts';

/** How to tell what a logical volume holds. */
export interface Inside {
  identify(image: ImageSource): Promise<FileSystemInfo | undefined>;
  usedBlocks(image: ImageSource): Promise<UsedBlocks>;
}

/** More volumes than this are not asked whether a hibernated system lies in them. */
const mostVolumes = 1024;

/** Without `inside` logical volumes count whole. */
export function lvm(inside?: Inside): FileSystemReader {
  return {
    types: ['LVM2_member'],

    async probe(part: ImageSource): Promise<FileSystemInfo | undefined> {
      const sector = await readLabelSector(part);
      if (sector === undefined) return undefined;
      const state = inside === undefined ? 'unknown' : await stateOf(part, sector, inside);
      return { type: 'LVM2_member', uuid: uuidOf(sector), label: '', size: 0, state };
    },

    usedBlocks(part: ImageSource): Promise<UsedBlocks> {
      return mapped(async () => {
        const sector = await readLabelSector(part);
        insist(sector !== undefined, 'there is no LVM label');
        const volume = await readPhysicalVolume(part, sector);
        const outside = IntervalSet.of({ offset: 0, length: part.size }).subtract(IntervalSet.of(volume.extents));
        const nobodyKnows: UsedBlocks = { known: false, reason: 'nobody looks into logical volumes' };
        return outside.union(await takenBytes(part, volume, inside?.usedBlocks ?? (async () => nobodyKnows)));
      });
    },
  };
}

/** A group has no state of its own, but a system may sleep in one of its volumes. */
async function stateOf(part: ImageSource, sector: Buffer, inside: Inside): Promise<FileSystemState> {
  try {
    for (const { image } of linearVolumes(part, await readPhysicalVolume(part, sector)).slice(0, mostVolumes)) {
      if ((await inside.identify(image))?.state === 'hibernated') return 'hibernated';
    }
    return 'unknown';
  } catch (error) {
    if (error instanceof NotMappableError) return 'unknown';
    throw error;
  }
}
