/** What must hold for every table that we write, and adding an entry to one. */
import type { ExtendedPartition, PartitionTable, TableEntry } from './contract.ts';
import { maxNameUnits } from './gpt-entries.ts';
import { isGuid, nilGuid } from './gpt-guid.ts';
import { extendedTypes, firstLogical, maxMbrSector } from './mbr.ts';
import { logicalEntries } from './mbr-extended.ts';
import { type Claim, DuplicateGuidError, InvalidEntryError, PartsCollideError } from './table-errors.ts';
import { checkBounds, firstUsableSector, type Place, tableSlots, usableSectors } from './table-space.ts';
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
    const logical = table.kind === 'mbr' && entry.number >= firstLogical;
    if (!Number.isInteger(entry.number) || entry.number < 1 || (entry.number > slots && !logical)) {
      throw new InvalidEntryError(entry, `its number is not one of 1 to ${slots}`);
    }
    if (numbers.has(entry.number) || entry.number === table.extended?.number)
      throw new InvalidEntryError(entry, 'its number is taken');
    numbers.add(entry.number);
    if (table.kind === 'gpt') checkGptEntry(entry);
    else checkMbrEntry(entry);
  }
  const sorted = [...table.entries].sort((a, b) => a.firstSector - b.firstSector);
  for (const [index, entry] of sorted.entries()) {
    const before = sorted[index - 1];
    if (before && entry.firstSector <= before.lastSector) throw new PartsCollideError(claim(before), claim(entry));
  }
  if (table.kind === 'mbr') checkLogical(table, bounds);
}

/** The extended partition, the logical ones inside, and their boot records. */
function checkLogical(table: PartitionTable, bounds: Place): void {
  const { extended } = table;
  const chain = logicalEntries(table);
  const [first] = chain;
  if (extended === undefined) {
    if (first) throw new InvalidEntryError(first, 'it is logical, and there is no extended partition');
    return;
  }
  const container = { ...extended, guid: '', name: '' };
  checkBounds(container, bounds);
  checkMbrEntry(container);
  if (!extendedTypes.has(extended.type)) throw new InvalidEntryError(container, `type ${extended.type} is not extended`);
  for (const entry of table.entries.filter(({ number }) => number < firstLogical)) {
    if (entry.firstSector <= extended.lastSector && extended.firstSector <= entry.lastSector) {
      throw new PartsCollideError(claim(entry), extendedClaim(extended));
    }
  }
  const records = new Set<number>();
  for (const [index, entry] of chain.entries()) {
    const record = entry.recordSector;
    if (entry.number !== firstLogical + index) throw new InvalidEntryError(entry, 'logical partitions are numbered without gaps');
    if (record === undefined || record >= entry.firstSector || record < extended.firstSector || records.has(record)) {
      throw new InvalidEntryError(entry, 'it has no boot record of its own before it');
    }
    if (index === 0 && record !== extended.firstSector) {
      throw new InvalidEntryError(entry, 'its boot record does not stand at the start of the extended partition');
    }
    if (entry.lastSector > extended.lastSector) throw new InvalidEntryError(entry, 'it leaves the extended partition');
    const over = chain.find((other) => other.firstSector <= record && record <= other.lastSector);
    if (over) throw new PartsCollideError(recordClaim(entry, record), claim(over));
    records.add(record);
  }
}

/** What the extended partition is called where it collides. */
export function extendedClaim(extended: ExtendedPartition): Claim {
  const { number, firstSector, lastSector } = extended;
  return { what: `the extended partition ${number}`, firstSector, lastSector };
}

function recordClaim(entry: TableEntry, record: number): Claim {
  return { what: `the boot record of ${entryLabel(entry)}`, firstSector: record, lastSector: record };
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
