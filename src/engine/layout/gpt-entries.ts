/**
 * The GPT entry array (UEFI specification 2.10, section 5.3.3). An entry: 0 type GUID (nil: unused), 16 unique GUID, 32 first and
 * 40 last LBA (inclusive), 48 attributes, 56 name of 36 UTF-16LE units. Longer entries have reserved bytes behind.
 */
import type { TableEntry } from './contract.ts';
import { nilGuid, readGuid, writeGuid } from './gpt-guid.ts';
import { entryLabel, sectorRange } from './table-text.ts';

export const maxNameUnits = 36;
/** A hostile table could produce a sentence for each pair; a handful says enough. */
const maxProblems = 8;

export interface EntryArray {
  readonly entries: readonly TableEntry[];
  /** Why the array cannot be used. */
  readonly problems: readonly string[];
  /** Odd, but usable. */
  readonly notes: readonly string[];
}

/** Reads `count` entries of `size` bytes and checks them against the usable range. Never throws. */
export function parseEntries(
  bytes: Uint8Array,
  { count, size, firstUsable, lastUsable }: { count: number; size: number; firstUsable: number; lastUsable: number },
): EntryArray {
  const entries: TableEntry[] = [];
  for (let index = 0; index < count; index++) {
    const entry = parseEntry(bytes.subarray(index * size, (index + 1) * size), index + 1);
    if (entry) entries.push(entry);
  }
  const problems = [...outOfBounds(entries, firstUsable, lastUsable), ...overlapping(entries)];
  return { entries, problems: atMost(problems), notes: atMost(guidNotes(entries)) };
}

/** The array as it stands on disk, `count * size` bytes. Entries must have been checked. */
export function encodeEntries(entries: readonly TableEntry[], count: number, size: number): Uint8Array {
  const bytes = new Uint8Array(count * size);
  const view = new DataView(bytes.buffer);
  for (const entry of entries) {
    const at = (entry.number - 1) * size;
    writeGuid(bytes, at, entry.type);
    writeGuid(bytes, at + 16, entry.guid);
    view.setBigUint64(at + 32, BigInt(entry.firstSector), true);
    view.setBigUint64(at + 40, BigInt(entry.lastSector), true);
    view.setBigUint64(at + 48, entry.attributes, true);
    for (let unit = 0; unit < entry.name.length; unit++) view.setUint16(at + 56 + unit * 2, entry.name.charCodeAt(unit), true);
  }
  return bytes;
}

/** Pairs of entries that share sectors, as sentences; at most one a pair of neighbours. */
export function overlapping(entries: readonly TableEntry[]): string[] {
  const problems: string[] = [];
  const sorted = [...entries].sort((a, b) => a.firstSector - b.firstSector || a.number - b.number);
  let reaching: TableEntry | undefined;
  for (const entry of sorted) {
    if (reaching && entry.firstSector <= reaching.lastSector) {
      problems.push(`${entryLabel(reaching)}, ${sectorRange(reaching)}, overlaps ${entryLabel(entry)}, ${sectorRange(entry)}`);
    }
    if (!reaching || entry.lastSector > reaching.lastSector) reaching = entry;
  }
  return problems;
}

function parseEntry(bytes: Uint8Array, number: number): TableEntry | undefined {
  const type = readGuid(bytes, 0);
  if (type === nilGuid) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const units: number[] = [];
  for (let unit = 0; unit < maxNameUnits; unit++) {
    const code = view.getUint16(56 + unit * 2, true);
    if (code === 0) break;
    units.push(code);
  }
  return {
    number,
    firstSector: Number(view.getBigUint64(32, true)),
    lastSector: Number(view.getBigUint64(40, true)),
    type,
    guid: readGuid(bytes, 16),
    name: String.fromCharCode(...units),
    attributes: view.getBigUint64(48, true),
  };
}

function outOfBounds(entries: readonly TableEntry[], firstUsable: number, lastUsable: number): string[] {
  const problems: string[] = [];
  for (const entry of entries) {
    if (entry.lastSector < entry.firstSector) problems.push(`${entryLabel(entry)} ends before it begins (${sectorRange(entry)})`);
    else if (entry.firstSector < firstUsable || entry.lastSector > lastUsable) {
      problems.push(`${entryLabel(entry)}, ${sectorRange(entry)}, leaves the usable sectors ${firstUsable} to ${lastUsable}`);
    }
  }
  return problems;
}

function guidNotes(entries: readonly TableEntry[]): string[] {
  const seen = new Map<string, TableEntry>();
  const notes: string[] = [];
  for (const entry of entries) {
    const earlier = seen.get(entry.guid);
    if (entry.guid === nilGuid) notes.push(`${entryLabel(entry)} has no unique GUID`);
    else if (earlier) notes.push(`${entryLabel(earlier)} and ${entryLabel(entry)} have the same unique GUID ${entry.guid}`);
    else seen.set(entry.guid, entry);
  }
  return notes;
}

function atMost(sentences: readonly string[]): string[] {
  if (sentences.length <= maxProblems) return [...sentences];
  return [...sentences.slice(0, maxProblems), `${sentences.length - maxProblems} more of this kind`];
}
