/**
 * Logical partitions of an MBR disk: a chain of extended boot records (EBR), each one sector like sector 0. The first stands at the
 * start of the extended partition. Of its four entries the first describes one logical partition, relative to the record, and
 * the second leads to the next record, relative to the start of the extended partition.
 * Source: what Linux' block/partitions/msdos.c accepts and what util-linux' fdisk writes.
 */
import type { ImageSource } from '../image/contract.ts';
import type { ExtendedPartition, PartitionTable, TableEntry } from './contract.ts';
import { overlapping } from './gpt-entries.ts';
import { extendedTypes, firstLogical, maxMbrSector, mbrEntryOffset, mbrEntrySize, mbrPartUuid, mbrSlots } from './mbr.ts';
import { entryLabel, sectorRange } from './table-text.ts';

export interface LogicalPartitions {
  readonly extended: ExtendedPartition;
  /** In the order of the chain, which numbers them. */
  readonly entries: readonly TableEntry[];
  /** Sectors of all records, also of those without a partition. */
  readonly records: readonly number[];
  /** Why the chain cannot be used. */
  readonly problems: readonly string[];
  /** Odd, but usable. */
  readonly notes: readonly string[];
}

/** Linux numbers no more partitions than fit into 256 minor numbers, fdisk 60. */
export const maxRecords = 124;
/** As much as a loader can take of a record. */
const recordCodeSize = mbrEntryOffset;

/** Follows the chain; at most `maxRecords` sectors are read, none twice. @throws ImageIoError */
export async function readLogicalPartitions(
  image: ImageSource,
  container: TableEntry,
  diskId: string,
): Promise<LogicalPartitions> {
  const entries: TableEntry[] = [];
  const records: number[] = [];
  const problems: string[] = [];
  const notes: string[] = [];
  let bootCode: Uint8Array | undefined;
  for (let next: number | undefined = container.firstSector; next !== undefined; ) {
    const record: number = next;
    next = undefined;
    if (records.includes(record)) problems.push(`the chain of logical partitions comes back to sector ${record}`);
    else if (records.length === maxRecords) problems.push(`the chain of logical partitions has more than ${maxRecords} records`);
    else {
      const sector = new Uint8Array(Math.max(512, image.sectorSize));
      await image.read(sector, record * image.sectorSize);
      if (sector[510] !== 0x55 || sector[511] !== 0xaa) {
        if (records.length > 0) problems.push(`the boot record of a logical partition at sector ${record} has no signature`);
        else if (sector.some((byte) => byte !== 0)) {
          notes.push(`${entryLabel(container)} is extended, but holds no boot record of a logical partition`);
        }
        records.push(record);
        break;
      }
      records.push(record);
      const code = sector.slice(0, recordCodeSize);
      if (records.length === 1 && code.some((byte) => byte !== 0)) bootCode = code;
      const found = parseRecord(sector, record, container);
      problems.push(...found.problems);
      if (found.entry) {
        const number = firstLogical + entries.length;
        entries.push({ ...found.entry, number, guid: mbrPartUuid(diskId, number) });
      }
      next = found.next;
    }
  }
  const { number, firstSector, lastSector, type, attributes } = container;
  const extended = { number, firstSector, lastSector, type, attributes, ...(bootCode === undefined ? {} : { bootCode }) };
  return { extended, entries, records, problems: [...problems, ...overlapping(entries), ...covered(entries, records)], notes };
}

interface ParsedRecord {
  readonly entry?: TableEntry;
  readonly next?: number;
  readonly problems: readonly string[];
}

function parseRecord(sector: Uint8Array, record: number, container: TableEntry): ParsedRecord {
  const view = new DataView(sector.buffer, sector.byteOffset, sector.byteLength);
  const problems: string[] = [];
  const parts: TableEntry[] = [];
  const links: number[] = [];
  const where = `the boot record at sector ${record}`;
  for (let slot = 0; slot < mbrSlots; slot++) {
    const at = mbrEntryOffset + slot * mbrEntrySize;
    const status = view.getUint8(at);
    const type = view
      .getUint8(at + 4)
      .toString(16)
      .padStart(2, '0')
      .toUpperCase();
    const start = view.getUint32(at + 8, true);
    const count = view.getUint32(at + 12, true);
    if (count === 0) continue;
    if (extendedTypes.has(type)) {
      const next = container.firstSector + start;
      if (next > container.lastSector) problems.push(`${where} leads to sector ${next}, outside ${entryLabel(container)}`);
      else links.push(next);
      continue;
    }
    const firstSector = record + start;
    const entry = { number: 0, firstSector, lastSector: firstSector + count - 1, type, guid: '', name: '' };
    if (type === '00' || (status !== 0 && status !== 0x80)) {
      problems.push(`${where} has an entry of type ${type} and status ${status.toString(16).padStart(2, '0')}`);
    } else if (start === 0 || entry.lastSector > container.lastSector) {
      problems.push(`${where} describes ${sectorRange(entry)}, outside ${entryLabel(container)}, ${sectorRange(container)}`);
    } else parts.push({ ...entry, attributes: BigInt(status), recordSector: record });
  }
  if (parts.length > 1) problems.push(`${where} describes ${parts.length} partitions instead of one`);
  if (links.length > 1) problems.push(`${where} leads to ${links.length} further records instead of one`);
  if (problems.length > 0) return { problems };
  const [entry] = parts;
  const [next] = links;
  return { problems, ...(entry === undefined ? {} : { entry }), ...(next === undefined ? {} : { next }) };
}

/** Records that stand inside of a partition, as sentences. */
function covered(entries: readonly TableEntry[], records: readonly number[]): string[] {
  return records.flatMap((record) => {
    const over = entries.find((entry) => entry.firstSector <= record && record <= entry.lastSector);
    return over === undefined
      ? []
      : [`the boot record at sector ${record} lies inside ${entryLabel(over)}, ${sectorRange(over)}`];
  });
}

/** Bytes of one entry of an MBR or EBR; `base` is what its start counts from. */
export function encodeMbrEntry(
  sector: Uint8Array,
  slot: number,
  entry: Pick<TableEntry, 'firstSector' | 'lastSector' | 'type'> & { readonly active: boolean },
  base = 0,
): void {
  const view = new DataView(sector.buffer, sector.byteOffset, sector.byteLength);
  const at = mbrEntryOffset + slot * mbrEntrySize;
  sector[at] = entry.active ? 0x80 : 0;
  sector.set(cylinderHeadSector(entry.firstSector), at + 1);
  sector[at + 4] = Number.parseInt(entry.type, 16);
  sector.set(cylinderHeadSector(entry.lastSector), at + 5);
  view.setUint32(at + 8, entry.firstSector - base, true);
  view.setUint32(at + 12, Math.min(entry.lastSector - entry.firstSector + 1, maxMbrSector), true);
}

/** The old address of a sector on the usual geometry of 255 heads and 63 sectors; FE FF FF where it does not reach. */
function cylinderHeadSector(lba: number): readonly number[] {
  const cylinder = Math.floor(lba / (255 * 63));
  if (cylinder > 1023) return [0xfe, 0xff, 0xff];
  return [Math.floor(lba / 63) % 255, (lba % 63) + 1 + ((cylinder >> 8) << 6), cylinder & 0xff];
}

/** Logical partitions of a table in the order of their chain. */
export function logicalEntries(table: Pick<PartitionTable, 'entries' | 'kind'>): readonly TableEntry[] {
  if (table.kind !== 'mbr') return [];
  return table.entries.filter(({ number }) => number >= firstLogical).sort((a, b) => a.number - b.number);
}

/**
 * The boot records of a table that was checked, the last of the chain first, so that the chain is whole when its start is written.
 * `withCode`: the loader that stands in the first one too.
 */
export function encodeRecords(
  table: PartitionTable,
  withCode: boolean,
): { readonly offset: number; readonly bytes: Uint8Array }[] {
  const { extended, sectorSize } = table;
  if (extended === undefined) return [];
  const chain = logicalEntries(table);
  const recordOf = (entry: TableEntry) => entry.recordSector ?? extended.firstSector;
  const bare = () => {
    const sector = new Uint8Array(sectorSize);
    sector.set([0x55, 0xaa], 510);
    return sector;
  };
  const writes = chain.map((entry, index) => {
    const sector = bare();
    encodeMbrEntry(sector, 0, { ...entry, active: entry.attributes !== 0n }, recordOf(entry));
    const next = chain[index + 1];
    if (next) {
      const link = { firstSector: recordOf(next), lastSector: next.lastSector, type: '05', active: false };
      encodeMbrEntry(sector, 1, link, extended.firstSector);
    }
    return { offset: recordOf(entry) * sectorSize, bytes: sector };
  });
  const [first] = writes;
  if (first === undefined) writes.push({ offset: extended.firstSector * sectorSize, bytes: bare() });
  if (withCode && extended.bootCode) writes[0]?.bytes.set(extended.bootCode.subarray(0, recordCodeSize));
  return writes.reverse();
}

/** Looked for in the MiB before a partition at most. */
const recordArea = 2048;

/** The last free sector before `sector`, not before `lowest`. */
export function lastFreeBefore(sector: number, lowest: number, isFree: (sector: number) => boolean): number | undefined {
  for (let at = sector - 1; at >= Math.max(lowest, sector - recordArea); at--) if (isFree(at)) return at;
  return undefined;
}
