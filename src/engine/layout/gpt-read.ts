/** Finds both copies of a GPT on a disk and makes one table of them: the primary when it is good, else the backup. */
import { crc32 } from 'node:zlib';
import type { ByteRange, ImageSource } from '../image/contract.ts';
import type { PartitionTable, TableEntry } from './contract.ts';
import { parseEntries } from './gpt-entries.ts';
import { arraySectors, type GptHeader, type ParsedHeader, parseHeader } from './gpt-header.ts';
import { entryLabel } from './table-text.ts';

export interface GptCopy {
  readonly header: GptHeader;
  readonly entries: readonly TableEntry[];
  readonly notes: readonly string[];
}

/** What stands at one end of the disk. `copy` is there only when nothing at all is wrong with it. */
export interface GptSide {
  readonly lba: number;
  readonly parsed: ParsedHeader;
  readonly copy?: GptCopy;
  readonly problems: readonly string[];
}

export interface GptFindings {
  readonly sectorSize: number;
  /** Whole sectors of the disk. */
  readonly sectors: number;
  readonly primary: GptSide;
  readonly backup: GptSide;
}

/** LBA 0, two headers, two arrays of a sector, one usable sector. */
const smallestDisk = 6;

/**
 * Looks for a GPT made for sectors of `sectorSize` bytes: the primary at sector 1, the backup where the primary says and at the
 * last sector. Undefined when the image is too small to hold one. At most four headers and arrays are read.
 *
 * @throws ImageIoError when the image cannot be read; damage is in the findings.
 */
export async function findGpt(image: ImageSource, sectorSize: number): Promise<GptFindings | undefined> {
  const sectors = Math.floor(image.size / sectorSize);
  if (sectors < smallestDisk) return undefined;
  const primary = await readSide(image, sectorSize, 1, sectors);

  const last = sectors - 1;
  const hint = primary.parsed.alternateHint;
  const hinted = hint !== undefined && hint > 1 && hint < last ? [hint] : [];
  const sides: GptSide[] = [];
  for (const lba of primary.parsed.header ? [...hinted, last] : [last, ...hinted]) {
    sides.push(await readSide(image, sectorSize, lba, sectors));
  }
  const backup = sides.find((side) => side.copy) ?? sides.find((side) => side.parsed.present) ?? (sides[0] as GptSide);
  return { sectorSize, sectors, primary, backup };
}

/** The table of findings of which one side at least is good. `mbr` is sector 0. */
export function gptTable(found: GptFindings, mbr: Uint8Array, notes: readonly string[]): PartitionTable {
  const chosen = found.primary.copy ?? found.backup.copy;
  if (!chosen) throw new RangeError('neither copy of the GPT is good');
  const { header } = chosen;
  return {
    kind: 'gpt',
    sectorSize: found.sectorSize,
    diskId: header.diskGuid,
    firstUsable: header.firstUsable,
    lastUsable: header.lastUsable,
    entries: chosen.entries,
    repairs: [...notes, ...repairsOf(found), ...chosen.notes],
    ownRanges: ownRanges(found, chosen),
    mbr,
    array: { count: header.entryCount, size: header.entrySize },
  };
}

/** Everything wrong with both sides, as sentences. */
export function gptProblems(found: GptFindings): string[] {
  return [
    `primary at sector ${found.primary.lba}: ${found.primary.problems.join(', ')}`,
    `backup at sector ${found.backup.lba}: ${found.backup.problems.join(', ')}`,
  ];
}

async function readSide(image: ImageSource, sectorSize: number, lba: number, sectors: number): Promise<GptSide> {
  const sector = new Uint8Array(sectorSize);
  await image.read(sector, lba * sectorSize);
  const parsed = parseHeader(sector, lba, sectors);
  const { header } = parsed;
  if (!header) return { lba, parsed, problems: parsed.problems };

  const array = new Uint8Array(arraySectors(header.entryCount, header.entrySize, sectorSize) * sectorSize);
  await image.read(array, header.arrayLba * sectorSize);
  const bytes = array.subarray(0, header.entryCount * header.entrySize);
  if (crc32(bytes) !== header.arrayCrc) return { lba, parsed, problems: ['bad CRC of the entry array'] };
  const { entries, problems, notes } = parseEntries(bytes, {
    count: header.entryCount,
    size: header.entrySize,
    firstUsable: header.firstUsable,
    lastUsable: header.lastUsable,
  });
  return { lba, parsed, problems, ...(problems.length === 0 ? { copy: { header, entries, notes } } : {}) };
}

function repairsOf({ primary, backup, sectors }: GptFindings): string[] {
  const repairs: string[] = [];
  const last = sectors - 1;
  if (!primary.copy) {
    repairs.push(`primary GPT: ${primary.problems.join(', ')}; the backup at sector ${backup.lba} was used`);
  } else if (!backup.copy) {
    repairs.push(`backup GPT at sector ${backup.lba}: ${backup.problems.join(', ')}; the primary was used`);
  }
  const claimed = primary.copy?.header.alternateLba;
  if (claimed !== undefined && claimed > last) {
    repairs.push(`the primary GPT names a backup at sector ${claimed}, but the disk ends at sector ${last}: its end was cut off`);
  } else if (claimed !== undefined && claimed !== backup.lba) {
    repairs.push(`the primary GPT names a backup at sector ${claimed}, but a good one stands at sector ${backup.lba} only`);
  }
  if (backup.lba !== last && (backup.copy || claimed === backup.lba)) {
    repairs.push(`the backup GPT stands at sector ${backup.lba}, but the disk ends at sector ${last}`);
  }
  if (backup.copy && backup.copy.header.alternateLba !== 1) {
    repairs.push(`the backup GPT looks for the primary at sector ${backup.copy.header.alternateLba}`);
  }
  if (primary.copy && backup.copy) {
    const differences = copyDifferences(primary.copy, backup.copy);
    if (differences.length > 0) repairs.push(`primary and backup GPT differ (${differences.join(', ')}); the primary was used`);
  }
  return repairs;
}

function copyDifferences(a: GptCopy, b: GptCopy): string[] {
  const differences: string[] = [];
  if (a.header.diskGuid !== b.header.diskGuid) differences.push('disk GUID');
  if (a.header.firstUsable !== b.header.firstUsable || a.header.lastUsable !== b.header.lastUsable) {
    differences.push('usable range');
  }
  if (a.header.entryCount !== b.header.entryCount || a.header.entrySize !== b.header.entrySize) differences.push('array size');
  const inBackup = new Map(b.entries.map((entry) => [entry.number, entry]));
  for (const entry of a.entries) {
    const other = inBackup.get(entry.number);
    inBackup.delete(entry.number);
    if (!other) differences.push(`${entryLabel(entry)} only in the primary`);
    else if (!sameEntry(entry, other)) differences.push(entryLabel(entry));
  }
  for (const entry of inBackup.values()) differences.push(`${entryLabel(entry)} only in the backup`);
  return differences.length > 8 ? [...differences.slice(0, 8), `${differences.length - 8} more`] : differences;
}

function sameEntry(a: TableEntry, b: TableEntry): boolean {
  return (
    a.firstSector === b.firstSector &&
    a.lastSector === b.lastSector &&
    a.type === b.type &&
    a.guid === b.guid &&
    a.name === b.name &&
    a.attributes === b.attributes
  );
}

/**
 * Sector 0 and, for each side, its header and array. Where a side is damaged, the header stands where the good one says, and its
 * array is taken to be as long as the good one, next to it.
 */
function ownRanges(found: GptFindings, chosen: GptCopy): ByteRange[] {
  const { sectorSize, sectors, primary, backup } = found;
  const { header } = chosen;
  const length = arraySectors(header.entryCount, header.entrySize, sectorSize);
  const ranges = new Map<number, ByteRange>();
  const add = (first: number, count: number): void => {
    const from = Math.max(0, first);
    const to = Math.min(sectors, first + count);
    if (to > from) ranges.set(from, { offset: from * sectorSize, length: (to - from) * sectorSize });
  };
  add(0, 1);
  add(1, 1);
  add(primary.parsed.header?.arrayLba ?? 2, primary.copy ? length : Math.min(length, Math.max(0, header.firstUsable - 2)));
  const backupLba = backup.copy || backup.parsed.present ? backup.lba : Math.min(header.alternateLba, sectors - 1);
  const backupHeader = backup.parsed.header;
  const backupArray = backupHeader?.arrayLba ?? Math.max(backupLba - length, header.lastUsable + 1);
  const backupLength = backupHeader
    ? arraySectors(backupHeader.entryCount, backupHeader.entrySize, sectorSize)
    : backupLba - backupArray;
  if (backupLba > header.lastUsable) add(backupLba, 1);
  if (backupArray > header.lastUsable) add(backupArray, backupLength);
  return [...ranges.values()].sort((a, b) => a.offset - b.offset);
}
