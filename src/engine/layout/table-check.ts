/** What must hold for every table that we write, and adding an entry to one. */
import type { PartitionTable, TableEntry } from './contract.ts';
import { maxNameUnits } from './gpt-entries.ts';
import { isGuid, nilGuid } from './gpt-guid.ts';
import { maxMbrSector } from './mbr.ts';
import { DuplicateGuidError, InvalidEntryError, PartsCollideError } from './table-errors.ts';
import { checkBounds, firstUsableSector, tableSlots, usableSectors } from './table-space.ts';
import { entryLabel } from './table-text.ts';

/**
 * Checks every entry of a table that is about to be written to a disk of `diskSize` bytes: bounds, overlaps, numbers, GUIDs, names.
 *
 * @throws InvalidEntryError, PartsCollideError, TableDoesNotFitError
 */
export function checkTable(table: PartitionTable, diskSize: number): void {
  const bounds = usableSectors(table, diskSize);
  const slots = tableSlots(table);
  const numbers = new Set<number>();
  for (const entry of table.entries) {
    checkBounds(entry, bounds);
    if (!Number.isInteger(entry.number) || entry.number < 1 || entry.number > slots) {
      throw new InvalidEntryError(entry, `its number is not one of 1 to ${slots}`);
    }
    if (numbers.has(entry.number)) throw new InvalidEntryError(entry, 'its number is taken');
    numbers.add(entry.number);
    if (table.kind === 'gpt') checkGptEntry(entry);
    else checkMbrEntry(entry);
  }
  const sorted = [...table.entries].sort((a, b) => a.firstSector - b.firstSector);
  for (const [index, entry] of sorted.entries()) {
    const before = sorted[index - 1];
    if (before && entry.firstSector <= before.lastSector) throw new PartsCollideError(claim(before), claim(entry));
  }
}

/**
 * The table with one entry more. FirstUsable is lowered to the end of the entry array when the entry begins before it.
 *
 * @throws InvalidEntryError, PartsCollideError, DuplicateGuidError, TableDoesNotFitError
 */
export function addEntry(table: PartitionTable, entry: TableEntry, diskSize: number): PartitionTable {
  const twin = table.entries.find((other) => other.guid === entry.guid);
  if (table.kind === 'gpt' && twin) throw new DuplicateGuidError(entryLabel(twin), entryLabel(entry), entry.guid);
  const grown = { ...table, entries: [...table.entries, entry].sort((a, b) => a.number - b.number) };
  checkTable(grown, diskSize);
  const lastUsable = usableSectors(grown, diskSize).lastSector;
  return { ...grown, firstUsable: firstUsableSector(grown, diskSize), lastUsable };
}

function claim(entry: TableEntry): { what: string; firstSector: number; lastSector: number } {
  return { what: entryLabel(entry), firstSector: entry.firstSector, lastSector: entry.lastSector };
}

function checkGptEntry(entry: TableEntry): void {
  if (!isGuid(entry.type) || entry.type === nilGuid) throw new InvalidEntryError(entry, `its type "${entry.type}" is no GUID`);
  if (!isGuid(entry.guid)) throw new InvalidEntryError(entry, `its unique GUID "${entry.guid}" is no GUID`);
  if (entry.name.length > maxNameUnits) throw new InvalidEntryError(entry, `its name has more than ${maxNameUnits} characters`);
  if (entry.attributes < 0n || entry.attributes >= 1n << 64n)
    throw new InvalidEntryError(entry, 'its attributes have more than 64 bits');
}

function checkMbrEntry(entry: TableEntry): void {
  if (!/^[0-9A-F]{2}$/.test(entry.type) || entry.type === '00')
    throw new InvalidEntryError(entry, `its type "${entry.type}" is no type`);
  if (entry.attributes !== 0n && entry.attributes !== 0x80n)
    throw new InvalidEntryError(entry, 'its status is neither 00 nor 80');
  if (entry.firstSector > maxMbrSector || entry.lastSector - entry.firstSector + 1 > maxMbrSector) {
    throw new InvalidEntryError(entry, 'an MBR entry holds 32 bits of start and of length');
  }
}
