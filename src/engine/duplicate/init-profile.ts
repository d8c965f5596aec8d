/** Makes a profile region on a target: a partition in the alignment gap, and the table on a blank disk. */
import { ignoreEvents, type RunOptions } from '../events.ts';
import { end } from '../image/contract.ts';
import { type ImageIdentity, imageIdentity } from '../image/identity.ts';
import type { OpenImage } from '../image/open-image.ts';
import type { PartitionTable } from '../layout/contract.ts';
import { bootCodeSize, protectiveType, readBootSector } from '../layout/mbr.ts';
import { openTarget } from '../layout/part-of-disk.ts';
import { encodeTable } from '../layout/table-encode.ts';
import { blankTable, entryRange, unpartitionedRanges } from '../layout/table-space.ts';
import { guard } from '../protect/guard.ts';
import { IntervalSet } from '../protect/intervals.ts';
import type { Region } from '../protect/region.ts';
import { allocationOf, dataIn } from './contents.ts';
import { type Disk, surveyDisk } from './disk.ts';
import { CloneRefusedError } from './errors.ts';
import { placeRegion } from './plan-table.ts';
import { recheckOne, type Sighting, sighting } from './preconditions.ts';
import { readOnlyWindows } from './system.ts';
import { writeTable } from './table-writes.ts';

export interface InitPlan {
  readonly target: ImageIdentity;
  readonly disk: Disk;
  readonly region: Region;
  readonly table: PartitionTable;
  /** The disk has no table yet and gets one. */
  readonly newTable: boolean;
  readonly notes: readonly string[];
  readonly precondition: Sighting;
}

/** Writes nothing. @throws CloneRefusedError and the errors of what is looked at */
export async function planInit(path: string): Promise<InitPlan> {
  const target = await openTarget(path);
  try {
    const openWindow = readOnlyWindows(target);
    const disk = await surveyDisk(target, process.getuid?.() === 0 ? { openWindow } : {});
    refuse(disk);
    const table = disk.table ?? blankTable(target.size, disk.sectorSize);
    const gap = gapOf(table, disk);
    const occupied = disk.table === undefined ? IntervalSet.empty : await dataIn(target, gap, await allocationOf(target));
    const placed = placeRegion(table, target.size, occupied, path);
    refuseUncovered(disk, placed.region);
    if (disk.table === undefined && (await holdsData(target))) throw notBlank(path);
    return {
      target: await imageIdentity(path, target.size, disk.sectorSize),
      disk,
      ...placed,
      newTable: disk.table === undefined,
      notes: disk.notes,
      precondition: await sighting(target, disk.table, []),
    };
  } finally {
    await target.close();
  }
}

/** Writes the table, and blanks the region when the table is new. */
export async function executeInit(plan: InitPlan, { onEvent = ignoreEvents }: RunOptions = {}): Promise<void> {
  const { path } = plan.target;
  const target = await openTarget(path);
  try {
    await recheckOne('target', plan.precondition, target);
    const guarded = guard(target, []);
    // Old bytes there must not be taken for a profile.
    await guarded.zero(plan.region.offset, plan.region.length);
    await guarded.flush();
    const bootCode = plan.table.mbr.subarray(0, bootCodeSize);
    await writeTable(guarded, encodeTable(plan.table, target.size, plan.newTable ? {} : { bootCode }));
    onEvent({ type: 'target', name: path, state: 'committed' });
  } finally {
    await target.close();
  }
}

function refuse(disk: Disk): void {
  const [region] = disk.regions;
  if (region !== undefined) {
    throw new CloneRefusedError(
      'REGION_EXISTS',
      `${disk.name} already has a profile region: ${region.name}`,
      `Write a profile into it: doppel profile write ${disk.name} FILE.yaml`,
      { region },
    );
  }
  if (disk.incomplete !== undefined) {
    throw new CloneRefusedError(
      'TARGET_INCOMPLETE',
      `${disk.name} is the unfinished target of a duplication (run ${disk.incomplete})`,
      'Finish that one first: run its command again.',
      { runId: disk.incomplete },
    );
  }
  const [whole] = disk.table === undefined ? disk.parts : [];
  if (whole !== undefined) {
    throw new CloneRefusedError(
      'NO_TABLE',
      `${disk.name} has no partition table, but the file system ${whole.fs?.type} on the whole disk, which a table would destroy`,
      `If it may be lost, wipe it first: wipefs -a ${disk.name}`,
      { fs: whole.fs },
    );
  }
  if (disk.table?.kind === 'mbr') {
    throw new CloneRefusedError(
      'MBR_TARGET',
      `${disk.name} has an MBR partition table, which has no room for a profile partition`,
      `On such a disk the profile stands in a raw range, which exists only with a profile in it: doppel profile write ${disk.name} FILE.yaml`,
    );
  }
}

/** What a tool that knows only MBR sees of a GPT disk with a hybrid MBR: what no entry covers it takes for free. */
function refuseUncovered(disk: Disk, region: Region): void {
  const { table } = disk;
  if (table === undefined) return;
  const lists = readBootSector(table.mbr, Math.floor(disk.size / disk.sectorSize)).entries.length > 0;
  if (!lists) return;
  const first = region.offset / table.sectorSize;
  const last = end(region) / table.sectorSize - 1;
  const covers = table.hybrid?.some(
    ({ type, firstSector, lastSector }) => type === protectiveType && firstSector <= first && last <= lastSector,
  );
  if (covers === true) return;
  throw new CloneRefusedError(
    'HYBRID_MBR',
    `${disk.name} has a hybrid MBR, none of whose protective entries covers the place for the profile region: a tool that knows only MBR would take it for free space`,
    'Make the hybrid MBR again with a protective entry before the first partition (gdisk, recovery command h), or a plain GPT (expert command n).',
    { region },
  );
}

function gapOf(table: PartitionTable, disk: Disk): IntervalSet {
  return unpartitionedRanges(table, disk.size).intersect(
    IntervalSet.of({
      offset: 0,
      length: Math.min(disk.size, ...table.entries.map((entry) => entryRange(entry, table.sectorSize).offset)),
    }),
  );
}

function notBlank(path: string): CloneRefusedError {
  return new CloneRefusedError(
    'NOT_BLANK',
    `${path} has no partition table and no file system that is known, but it is not blank: its first or last MiB holds data`,
    `If that may be lost, clear it first: blkdiscard -z ${path}, or for a file truncate -s 0 ${path} and truncate to its size again.`,
    { target: path },
  );
}

/** Whether the first or the last MiB is not all zeros. */
async function holdsData(target: OpenImage): Promise<boolean> {
  const mebibyte = Math.min(1 << 20, target.size);
  for (const offset of [0, target.size - mebibyte]) {
    const bytes = new Uint8Array(mebibyte);
    await target.read(bytes, offset);
    if (bytes.some((byte) => byte !== 0)) return true;
  }
  return false;
}
