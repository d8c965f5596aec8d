/** How messages name entries and ranges. Names come from the disk: what does not print is replaced. */
import type { TableEntry } from './contract.ts';

/** `text` with control, format and unpaired surrogate characters replaced, quotes escaped. */
export function printable(text: string): string {
  return text.replace(/\p{C}/gu, '\uFFFD').replace(/["\\]/g, '\\$&');
}

/** `partition 3 ("data")`, or `partition 3` when it has no name. */
export function entryLabel(entry: { readonly number: number; readonly name: string }): string {
  return entry.name === '' ? `partition ${entry.number}` : `partition ${entry.number} ("${printable(entry.name)}")`;
}

/** `sectors 2048 to 4095`. */
export function sectorRange(range: Pick<TableEntry, 'firstSector' | 'lastSector'>): string {
  return `sectors ${range.firstSector} to ${range.lastSector}`;
}
