/** An LVM2 physical volume as a whole: its label, and the newest description of the group that it belongs to. */
import type { ByteRange, ImageSource } from '../../../image/contract.ts';
import { IntervalSet } from '../../../protect/intervals.ts';
import { insist } from '../bytes.ts';
import { parseConfig } from './config.ts';
import { type PvLabel, parseLabel } from './label.ts';
import { readMetadataArea } from './metadata-area.ts';
import { describeGroup, type VolumeGroup } from './volume-group.ts';

export interface PhysicalVolume {
  readonly label: PvLabel;
  /** Undefined when it belongs to no group. */
  readonly group: VolumeGroup | undefined;
  /** Bytes that may hold extents: everything else of the part belongs to LVM itself, or to nobody that is known. */
  readonly extents: ByteRange;
}

/** LVM itself makes none, one or two (pvcreate(8), "--pvmetadatacopies"). */
const mostAreas = 2;

/** @throws NotMappableError when the metadata is damaged, elsewhere, being changed, or does not fit this part. */
export async function readPhysicalVolume(part: ImageSource, sector: Buffer): Promise<PhysicalVolume> {
  const label = parseLabel(sector);
  insist(label.data.length === 1, `the LVM label names ${label.data.length} data areas`);
  insist(label.metadata.length <= mostAreas, `the LVM label names ${label.metadata.length} metadata areas`);
  insist(label.size <= part.size, `the physical volume has ${label.size} bytes, more than the part (${part.size} bytes)`);
  const group = await readGroup(part, label);
  const start = (label.data[0] as ByteRange).offset;
  const extents =
    group === undefined
      ? { offset: start, length: endOfData(part, label) - start }
      : { offset: group.extentsAt, length: group.extents * group.extentBytes };
  insist(extents.offset === start, 'label and metadata of LVM disagree where the extents begin');
  insist(extents.length >= 0 && start + extents.length <= part.size, 'the extents of the physical volume do not fit the part');
  const areas = [...label.metadata, ...label.bootLoader];
  insist(
    areas.every((area) => area.offset + area.length <= part.size),
    'areas of the physical volume lie outside the part',
  );
  const own = IntervalSet.of({ offset: 0, length: sector.length }, ...areas);
  insist(!own.touches(extents), 'areas of the physical volume overlap');
  return { label, group, extents };
}

/** Where metadata stands at the end, the data area ends before it. */
function endOfData(part: ImageSource, label: PvLabel): number {
  const start = (label.data[0] as ByteRange).offset;
  const behind = [...label.metadata, ...label.bootLoader].filter((area) => area.offset >= start);
  return Math.min(part.size, ...behind.map((area) => area.offset));
}

async function readGroup(part: ImageSource, label: PvLabel): Promise<VolumeGroup | undefined> {
  const groups: VolumeGroup[] = [];
  let empty = 0;
  let before: string | undefined;
  for (const area of label.metadata) {
    const metadata = await readMetadataArea(part, area);
    if (metadata.kind === 'empty') empty++;
    // Mostly the copies are alike.
    if (metadata.kind !== 'text' || metadata.text === before) continue;
    before = metadata.text;
    groups.push(describeGroup(parseConfig(metadata.text), label.uuid));
  }
  insist(groups.length + empty > 0, 'the LVM metadata of its volume group lies on other physical volumes only');
  insist(groups.length > 0 || !label.inUse, 'the physical volume belongs to a volume group that it does not describe');
  const newest = groups.reduce<VolumeGroup | undefined>(
    (best, one) => (best && best.sequence >= one.sequence ? best : one),
    undefined,
  );
  insist(
    groups.every((one) => one.id === newest?.id),
    'the copies of the LVM metadata describe different volume groups',
  );
  return newest;
}
