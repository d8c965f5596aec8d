/** The source as it fits the target: its table in the target's sectors, its last part cut where nothing is lost, new GUIDs. Pure but for chance. */
import { randomBytes, randomUUID } from 'node:crypto';
import type { PartitionTable, TableEntry } from '../layout/contract.ts';
import { isMarker } from '../layout/fence-table.ts';
import { mbrDiskIdOffset, mbrPartUuid } from '../layout/mbr.ts';
import { SectorSizeMismatchError } from '../layout/table-errors.ts';
import { entryRange, usableSectors } from '../layout/table-space.ts';
import { entryLabel } from '../layout/table-text.ts';
import { canTranslate, translateTable } from '../layout/table-translate.ts';
import { profilePartitionType } from '../layout/types.ts';
import type { Disk, Part } from './disk.ts';
import { CloneRefusedError } from './errors.ts';
import { type PartFacts, sectorObstacle } from './part-facts.ts';
import { isChosen, type KindChoice } from './plan-table.ts';

export type PartitionedDisk = Disk & { readonly table: PartitionTable };

export interface AdaptRequest {
  readonly source: PartitionedDisk;
  readonly target: Disk;
  readonly kinds: KindChoice;
  /** Of the table that the target will have. */
  readonly sectorSize: number;
  readonly newGuids: boolean;
  /** By part number of the source; see partFacts. */
  readonly facts: ReadonlyMap<number, PartFacts>;
}

export interface Adapted {
  readonly source: PartitionedDisk;
  readonly notes: readonly string[];
  readonly warnings: readonly string[];
}

/**
 * The logical sector size of the target after the run: the device's; of a file, what a table on it says that stays or is merged; else the
 * source's.
 */
export function sectorSizeAfter(source: Disk, target: Disk, sectorSizeKnown: boolean): number {
  if (sectorSizeKnown) return target.sectorSize;
  return (source.table && target.table?.sectorSize) ?? source.sectorSize;
}

/** @throws SectorSizeMismatchError, CloneRefusedError */
export function adaptSource(request: AdaptRequest): Adapted {
  const translated = translate(request);
  const cut = cutToSize({ ...request, source: translated.source });
  const source = request.newGuids ? withNewGuids(cut.source, request) : cut.source;
  return { source, notes: [...translated.notes, ...cut.notes], warnings: translated.warnings };
}

/** Entries that a clone with these kinds brings in. */
function comesIn({ table, parts }: PartitionedDisk, entry: TableEntry, kinds: KindChoice): boolean {
  if (entry.type === profilePartitionType || isMarker(table, entry)) return false;
  return isChosen(parts.find(({ number }) => number === entry.number)?.kind ?? 'application', kinds);
}

/** The disk with another table; its parts follow their entries. */
function withTable(disk: PartitionedDisk, table: PartitionTable): PartitionedDisk {
  const parts = disk.parts.map((part): Part => {
    const entry = table.entries.find(({ number }) => number === part.number);
    return entry === undefined ? part : { ...part, entry, range: entryRange(entry, table.sectorSize) };
  });
  return { ...disk, sectorSize: table.sectorSize, table, parts };
}

function translate({ source, kinds, sectorSize, facts }: AdaptRequest): Adapted {
  const { table } = source;
  if (table.sectorSize === sectorSize) return { source, notes: [], warnings: [] };
  const obstacles =
    table.kind === 'mbr'
      ? ['an MBR table says nowhere how large its sectors are']
      : table.entries
          .filter((entry) => comesIn(source, entry, kinds))
          .flatMap((entry) => {
            const why = canTranslate(entry, table.sectorSize, sectorSize)
              ? sectorObstacle(facts.get(entry.number)?.sectors, sectorSize)
              : `it does not begin and end at a multiple of ${sectorSize} bytes`;
            return why === undefined ? [] : [`${entryLabel(entry)}: ${why}`];
          });
  if (obstacles.length > 0) throw new SectorSizeMismatchError(table.sectorSize, sectorSize, obstacles);
  const hybrid = table.hybrid ? ['the hybrid MBR of the source becomes a plain protective one, because the sectors differ'] : [];
  const code = table.mbr.subarray(0, mbrDiskIdOffset).some((byte) => byte !== 0);
  return {
    source: withTable(source, translateTable(table, sectorSize)),
    notes: [`the table is translated from sectors of ${table.sectorSize} bytes to sectors of ${sectorSize} bytes`],
    warnings: [
      ...hybrid,
      ...(code
        ? [`the boot code of the source counts sectors of ${table.sectorSize} bytes: a BIOS will not start it from the target`]
        : []),
    ],
  };
}

/** File systems that say how large they are and use nothing behind that. */
const selfContained: ReadonlySet<string> = new Set(['ext2', 'ext3', 'ext4', 'xfs', 'btrfs']);

/** A part that ends behind the target's end becomes as small as its file system, when nothing is behind that. */
function cutToSize({ source, target, kinds, facts }: AdaptRequest): Omit<Adapted, 'warnings'> {
  const { table } = source;
  const { lastSector } = usableSectors(table, target.size);
  const notes: string[] = [];
  const entries = table.entries.map((entry): TableEntry => {
    if (entry.lastSector <= lastSector || !comesIn(source, entry, kinds)) return entry;
    const fs = source.parts.find(({ number }) => number === entry.number)?.fs;
    if (fs === undefined || !selfContained.has(fs.type) || fs.state !== 'clean' || facts.get(entry.number)?.tail !== 'unused')
      return entry;
    const unit = Math.max(table.sectorSize, 4096);
    const size = Math.ceil(fs.size / unit) * unit;
    const cut = { ...entry, lastSector: entry.firstSector + size / table.sectorSize - 1 };
    if (size === 0 || cut.lastSector > lastSector || cut.lastSector >= entry.lastSector) return entry;
    const before = entryRange(entry, table.sectorSize);
    notes.push(
      `${entryLabel(entry)} ends behind the end of the target: it is cut from ${before.length} to ${size} bytes, the size of its ${fs.type}; what is behind that is empty`,
    );
    return cut;
  });
  return { source: notes.length === 0 ? source : withTable(source, { ...table, entries }), notes };
}

const microsoftReserved = 'E3C9E316-0B5C-4DB8-817D-F92DF00215AE';

/** The parts keep their old ids: by these the files of the source name them. */
function withNewGuids(source: PartitionedDisk, { kinds }: AdaptRequest): PartitionedDisk {
  const { table } = source;
  const coming = table.entries.filter((entry) => comesIn(source, entry, kinds));
  refuseWindows(source, coming);
  const draw = () => randomUUID().toUpperCase();
  if (table.kind === 'gpt') {
    const entries = table.entries.map((entry) => (coming.includes(entry) ? { ...entry, guid: draw() } : entry));
    const mbr = table.mbr.slice();
    if (table.hybrid) mbr.set(randomBytes(4), mbrDiskIdOffset);
    return { ...source, table: { ...table, diskId: draw(), entries, mbr } };
  }
  const diskId = (randomBytes(4).readUInt32LE() || 1).toString(16).padStart(8, '0');
  const entries = table.entries.map((entry) => ({ ...entry, guid: mbrPartUuid(diskId, entry.number) }));
  return { ...source, table: { ...table, diskId, entries } };
}

/** Windows' boot configuration names disk and partition in a database that we do not write. */
function refuseWindows({ name, table, parts }: PartitionedDisk, coming: readonly TableEntry[]): void {
  const found = coming.find((entry) => {
    const ntfs = parts.find(({ number }) => number === entry.number)?.fs?.type === 'ntfs';
    return entry.type === microsoftReserved || (table.kind === 'mbr' && ntfs && entry.attributes !== 0n);
  });
  if (found === undefined) return;
  throw new CloneRefusedError(
    'NEW_GUIDS_WINDOWS',
    `${entryLabel(found)} of ${name} belongs to Windows, whose boot configuration (BCD) finds disk and partitions by the ids that --new-guids replaces`,
    'Leave --new-guids away, and do not attach both disks to one computer at the same time.',
    { partition: found.number },
  );
}

/** An id that is another one on the target. */
export interface IdRename {
  readonly what: 'disk' | 'part';
  readonly from: string;
  readonly to: string;
}

/** Ids of the source that the copied parts no longer have, in the order of the table. */
export function renamesOf(before: PartitionedDisk, after: PartitionTable, copied: readonly Part[]): readonly IdRename[] {
  const renames: IdRename[] = [];
  if (before.table.kind === 'gpt' && before.table.diskId !== after.diskId)
    renames.push({ what: 'disk', from: before.table.diskId, to: after.diskId });
  for (const part of copied) {
    const from = before.parts.find(({ range }) => range.offset === part.range.offset)?.entry?.guid;
    const to = after.entries.find(({ number }) => number === part.number)?.guid;
    if (from !== undefined && to !== undefined && from !== to) renames.push({ what: 'part', from, to });
  }
  return renames;
}

/** Whether both disks will carry the same ids, as a note; undefined when they will not. */
export function twinNote(source: PartitionedDisk, table: PartitionTable, copied: readonly Part[]): string | undefined {
  if (source.table.diskId !== table.diskId) return undefined;
  const same = copied.filter(({ entry }) => entry !== undefined && source.table.entries.some(({ guid }) => guid === entry.guid));
  if (same.length === 0) return undefined;
  return (
    `source and target will have the same disk id ${table.diskId} and the same PARTUUIDs (${same.map(({ label }) => label).join(', ')}): ` +
    'while both are attached to one computer, what looks for them may find either; --new-guids draws new ones'
  );
}
