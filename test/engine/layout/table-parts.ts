/** Entries and tables for tests, in MiB. */
import type { PartitionTable, TableEntry } from '../../../src/engine/layout/contract.ts';
import { mbrPartUuid } from '../../../src/engine/layout/mbr.ts';
import { readTable } from '../../../src/engine/layout/table.ts';
import { addEntry } from '../../../src/engine/layout/table-check.ts';
import { encodeTable } from '../../../src/engine/layout/table-encode.ts';
import { blankTable, placeInGap } from '../../../src/engine/layout/table-space.ts';
import { profilePartitionName, profilePartitionType } from '../../../src/engine/layout/types.ts';
import { diskSize, MemoryDisk, MiB } from './table-disk.ts';

export const linux = '0FC63DAF-8483-4772-8E79-3D69D8477DE4';

export function part(
  number: number,
  firstMiB: number,
  sizeMiB: number,
  more: Partial<TableEntry> = {},
  sectorSize = 512,
): TableEntry {
  return {
    number,
    firstSector: (firstMiB * MiB) / sectorSize,
    lastSector: ((firstMiB + sizeMiB) * MiB) / sectorSize - 1,
    type: linux,
    guid: `5EED0000-0000-4000-8000-${String(number).padStart(12, '0')}`,
    name: `part ${number}`,
    attributes: 0n,
    ...more,
  };
}

export function gpt(entries: readonly TableEntry[], size = diskSize, sectorSize = 512, count = 128): PartitionTable {
  const blank = { ...blankTable(size, sectorSize), array: { count, size: 128 } };
  return entries.reduce<PartitionTable>((table, entry) => addEntry(table, entry, size), blank);
}

/** The table with a profile partition in the gap. */
export function withProfile(table: PartitionTable, size = diskSize, number = 128): PartitionTable {
  const place = placeInGap(table, size);
  if (!place) throw new Error('no place for the profile');
  const guid = '5EED0000-0000-4000-8000-00000000FFFF';
  const entry = { ...place, number, guid, type: profilePartitionType, name: profilePartitionName, attributes: 0n };
  return addEntry(table, entry, size);
}

export function mbr(entries: readonly TableEntry[], diskId = '5eed0001'): PartitionTable {
  return {
    kind: 'mbr',
    sectorSize: 512,
    diskId,
    firstUsable: 1,
    lastUsable: diskSize / 512 - 1,
    entries: entries.map((entry) => ({
      ...entry,
      type: entry.type === linux ? '83' : entry.type,
      guid: mbrPartUuid(diskId, entry.number),
      name: '',
    })),
    repairs: [],
    ownRanges: [{ offset: 0, length: 512 }],
    mbr: new Uint8Array(512),
  };
}

export function written(table: PartitionTable, size = diskSize): MemoryDisk {
  return new MemoryDisk(new Uint8Array(size), table.sectorSize).apply(encodeTable(table, size));
}

export async function read(disk: MemoryDisk): Promise<PartitionTable> {
  const table = await readTable(disk);
  if (!table) throw new Error('no table was found');
  return table;
}
