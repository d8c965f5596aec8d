/** A GPT for disks of another logical sector size: every partition keeps its bytes. Source: UEFI specification 2.10, section 5.3. */
import type { PartitionTable, TableEntry } from './contract.ts';
import { entryRange, usableSectors } from './table-space.ts';

/** Whether both ends of the entry are sector boundaries of the other size too. */
export function canTranslate(entry: TableEntry, from: number, to: number): boolean {
  const { offset, length } = entryRange(entry, from);
  return offset % to === 0 && length % to === 0;
}

/**
 * The table with sectors of `sectorSize` bytes. Entries that are no whole sectors are widened: only such that nobody copies may be.
 * It describes a table to be merged, not one on a disk: its own ranges are those of the source. A hybrid MBR is left out.
 */
export function translateTable(table: PartitionTable, sectorSize: number): PartitionTable {
  const from = table.sectorSize;
  const { hybrid: _, ...rest } = table;
  const entries = table.entries.map((entry) => {
    const { offset, length } = entryRange(entry, from);
    const firstSector = Math.floor(offset / sectorSize);
    return { ...entry, firstSector, lastSector: Math.ceil((offset + length) / sectorSize) - 1 };
  });
  const translated = { ...rest, sectorSize, entries, firstUsable: Math.ceil((table.firstUsable * from) / sectorSize) };
  const mbr = new Uint8Array(sectorSize);
  mbr.set(table.mbr.subarray(0, Math.min(sectorSize, table.mbr.length)));
  const diskSize = (table.lastUsable + 1) * from + 64 * sectorSize;
  return { ...translated, mbr, lastUsable: usableSectors(translated, diskSize).lastSector };
}
