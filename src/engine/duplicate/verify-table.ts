/** Whether a target's table is the one that a clone writes. Pure. */
import { RefusedError } from '../errors.ts';
import type { ExtendedPartition, PartitionTable, TableEntry } from '../layout/contract.ts';
import { bootCodeSize, mbrDiskIdOffset, mbrEntryOffset, mbrEntrySize, mbrSlots } from '../layout/mbr.ts';
import { encodeTable } from '../layout/table-encode.ts';
import { entryRange } from '../layout/table-space.ts';
import { entryLabel } from '../layout/table-text.ts';
import { profilePartitionType } from '../layout/types.ts';
import type { Disk } from './disk.ts';
import { isChosen, type KindChoice } from './plan-table.ts';
import type { DiskDifference } from './verify-result.ts';

export interface TableComparison {
  readonly source: PartitionTable;
  /** As a clone would write it. */
  readonly expected: PartitionTable;
  /** Numbers of its entries that come from the source. */
  readonly copied: ReadonlySet<number>;
  readonly target: Disk;
  readonly kinds: KindChoice;
  /** The source's cannot be read, and the target was to keep its own: whatever that is. */
  readonly ownBootCode: boolean;
}

export interface ComparedTables {
  readonly differences: readonly DiskDifference[];
  /** Numbers of the parts that stand on the target where they shall. */
  readonly comparable: ReadonlySet<number>;
}

/** The differences of the table and of what starts from sector 0. */
export function compareTables(comparison: TableComparison): ComparedTables {
  const { source, expected, target, copied } = comparison;
  const { table } = target;
  const differences: DiskDifference[] = [];
  const differ = (message: string, what: DiskDifference['what'] = 'table'): void => void differences.push({ what, message });
  if (table === undefined) {
    differ(`${target.name} has no partition table`);
    return { differences, comparable: new Set() };
  }
  if (table.kind !== expected.kind) differ(`the table is ${table.kind.toUpperCase()}, not ${expected.kind.toUpperCase()}`);
  if (table.sectorSize !== expected.sectorSize)
    differ(`the table counts sectors of ${table.sectorSize} bytes, not ${expected.sectorSize}`);
  if (table.diskId !== expected.diskId) differ(`the disk's id is ${table.diskId}, not ${wantedId(comparison)}`);
  for (const repair of table.repairs.filter((each) => !source.repairs.includes(each))) differ(`the table is damaged: ${repair}`);

  const comparable = new Set<number>();
  for (const entry of expected.entries.filter(({ number }) => copied.has(number))) {
    const found = table.entries.find(({ number }) => number === entry.number);
    if (found === undefined) {
      differ(`${entryLabel(entry)} is missing`);
      continue;
    }
    const aspects = differingAspects(entry, expected, found, table);
    if (aspects.length > 0) differ(`${entryLabel(entry)} differs in the table: ${aspects.join(', ')}`);
    if (sameRange(entry, expected, found, table)) comparable.add(entry.number);
  }
  for (const entry of table.entries) {
    if (entry.type === profilePartitionType || expected.entries.some(({ number }) => number === entry.number)) continue;
    if (isChosen(target.parts.find(({ number }) => number === entry.number)?.kind ?? 'application', comparison.kinds))
      differ(`${entryLabel(entry)} of the target is not in the source's table`);
  }
  if (!sameContainer(expected.extended, table.extended)) differ('the extended partition differs');
  for (const hint of hints(comparison, table)) differ(hint);
  differences.push(...compareSectorZero(comparison, table));
  return { differences, comparable };
}

/** Of an id that is to be drawn only so much is known. */
function wantedId({ source, expected, target }: TableComparison): string {
  return expected.diskId === source.diskId || target.table?.diskId !== source.diskId
    ? expected.diskId
    : 'a new one, as --new-guids draws it';
}

function sameRange(a: TableEntry, inA: PartitionTable, b: TableEntry, inB: PartitionTable): boolean {
  const [wanted, found] = [entryRange(a, inA.sectorSize), entryRange(b, inB.sectorSize)];
  return wanted.offset === found.offset && wanted.length === found.length;
}

function differingAspects(a: TableEntry, inA: PartitionTable, b: TableEntry, inB: PartitionTable): string[] {
  return [
    ...(sameRange(a, inA, b, inB) ? [] : ['place']),
    ...(['type', 'guid', 'name', 'attributes'] as const).filter((aspect) => a[aspect] !== b[aspect]),
  ];
}

function sameContainer(a: ExtendedPartition | undefined, b: ExtendedPartition | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  const plain = ({ bootCode, attributes, ...rest }: ExtendedPartition) =>
    JSON.stringify([
      rest.number,
      rest.firstSector,
      rest.lastSector,
      rest.type,
      String(attributes),
      Buffer.from(bootCode ?? []).toString('hex'),
    ]);
  return plain(a) === plain(b);
}

/** What looks as if it came from a flag of `clone` that is not given here. */
function hints({ source, expected, copied }: TableComparison, table: PartitionTable): string[] {
  const found: string[] = [];
  const brought = expected.entries.filter(({ number }) => copied.has(number));
  const on = ({ number }: TableEntry) => table.entries.find((entry) => entry.number === number);
  const asOnSource = expected.diskId === source.diskId;
  const renamed = asOnSource && table.diskId !== source.diskId && brought.every((entry) => on(entry)?.guid !== entry.guid);
  if (renamed && brought.length > 0)
    found.push(
      'all ids are others than on the source, as --new-guids draws them: if it was cloned with that, verify with it too',
    );
  for (const entry of brought) {
    const there = on(entry);
    if (there === undefined || table.sectorSize !== expected.sectorSize || there.firstSector !== entry.firstSector) continue;
    if (there.lastSector > entry.lastSector)
      found.push(
        `${entryLabel(entry)} is larger than on the source, as --grow ${entry.number} makes it: if it was cloned with that, verify with it too`,
      );
  }
  return found;
}

/**
 * What sector 0 holds beside the entries that were compared. A clone encodes it afresh; a copy byte for byte has the source's: what
 * nothing depends on may be either.
 */
function compareSectorZero(comparison: TableComparison, table: PartitionTable): DiskDifference[] {
  const { source, expected, target, ownBootCode } = comparison;
  const differences: DiskDifference[] = [];
  const wanted = sectorZero(expected, target.size);
  if (!ownBootCode && Buffer.compare(wanted.subarray(0, bootCodeSize), table.mbr.subarray(0, bootCodeSize)) !== 0)
    differences.push({ what: 'boot code', message: `the boot code in the first ${bootCodeSize} bytes differs` });
  const differ = (message: string): void => void differences.push({ what: 'table', message });
  const same = (start: number, stop: number): boolean => {
    const found = table.mbr.subarray(start, stop);
    return [wanted, source.mbr].some((sector) => Buffer.compare(sector.subarray(start, stop), found) === 0);
  };
  if (table.kind === 'gpt' && expected.kind === 'gpt') {
    if (!same(mbrDiskIdOffset, mbrEntryOffset)) differ('the disk signature in the MBR differs');
    for (let slot = 0; slot < mbrSlots; slot++) {
      const found = mbrEntry(table.mbr, slot);
      // A copy byte for byte has the source's protective entry, which ends where the source ends.
      if (found === mbrEntry(wanted, slot) || (source.hybrid === undefined && found === mbrEntry(source.mbr, slot))) continue;
      differ(`entry ${slot + 1} of the MBR differs`);
    }
  } else if (!same(mbrDiskIdOffset + 4, mbrEntryOffset)) differ('the two bytes behind the disk signature differ');
  if (!same(512, table.mbr.length)) differ('sector 0 differs behind its first 512 bytes');
  return differences;
}

/** As the clone writes it; of a table that cannot stand on this disk the source's. */
function sectorZero(table: PartitionTable, diskSize: number): Uint8Array {
  try {
    const { mbr } = encodeTable(table, diskSize, { bootCode: table.mbr.subarray(0, bootCodeSize) });
    return mbr[0]?.bytes ?? table.mbr;
  } catch (error) {
    if (!(error instanceof RefusedError)) throw error;
    return table.mbr;
  }
}

/** What counts of an entry: status, type, first sector, length; the CHS addresses are nobody's. */
function mbrEntry(sector: Uint8Array, slot: number): string {
  const at = mbrEntryOffset + slot * mbrEntrySize;
  const bytes = sector.subarray(at, at + mbrEntrySize);
  return Buffer.concat([bytes.subarray(0, 1), bytes.subarray(4, 5), bytes.subarray(8)]).toString('hex');
}
