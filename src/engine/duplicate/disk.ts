/** What is on a disk: its table, its parts with their file systems and kinds, and whose system it is. Reads only. */
import { type ByteRange, end, type ImageSource } from '../image/contract.ts';
import { isMediumError } from '../image/errors.ts';
import { slice } from '../image/slice.ts';
import type { SourceReaderOptions } from '../lanes/source-reader.ts';
import { zeroFilled } from '../lanes/zero-filled.ts';
import type { FileSystemInfo, PartitionTable, PartKind, TableEntry } from '../layout/contract.ts';
import { findIncomplete, isMarker } from '../layout/fence-table.ts';
import { holdsRoot } from '../layout/filesystems/btrfs-root.ts';
import { identifyFileSystem } from '../layout/filesystems.ts';
import { mountPointOf, parseFstab } from '../layout/fstab.ts';
import { kindOf } from '../layout/kinds.ts';
import { readTable } from '../layout/table.ts';
import { TableCorruptError } from '../layout/table-errors.ts';
import { entryRange } from '../layout/table-space.ts';
import { entryLabel } from '../layout/table-text.ts';
import type { SystemInfo } from '../persona/system.ts';
import { findRegions } from '../profile/carriers/find.ts';
import { IntervalSet } from '../protect/intervals.ts';
import type { Region } from '../protect/region.ts';
import { findSystem, type OpenWindow, systemParts } from './system.ts';

/** Where a part stands and what is in it. */
export type PartPlace = Pick<Part, 'range' | 'label' | 'fs'>;

/** A partition, or the whole of a disk without a table (number 0). */
export interface Part {
  readonly number: number;
  /** Absent for the whole of a disk without a table. */
  readonly entry?: TableEntry;
  readonly range: ByteRange;
  /** For messages: `partition 2 ("root")`. */
  readonly label: string;
  readonly fs?: FileSystemInfo;
  readonly kind: PartKind;
  /** Where the disk's own fstab mounts it. */
  readonly mountPoint?: string;
}

export interface Disk {
  readonly name: string;
  readonly size: number;
  /** As the table says where it says so, else the medium's. */
  readonly sectorSize: number;
  readonly table?: PartitionTable;
  /** Where the table stands and cannot be read; what is in `table` is known from elsewhere, or taken for zeros. Bytes. */
  readonly unreadableTable: IntervalSet;
  readonly parts: readonly Part[];
  readonly regions: readonly Region[];
  /** Id of the run that has not finished on this disk. */
  readonly incomplete?: string;
  /** Whose system it is; absent when none was found or it could not be looked at. */
  readonly system?: SystemInfo;
  /** What could not be looked at, each a sentence. */
  readonly notes: readonly string[];
}

export interface SurveyOptions {
  /** Opens a read-only window over a part, so that its files can be read. Absent: only what the blocks tell. */
  readonly openWindow?: OpenWindow;
  /** PART=KIND by part number, over everything else. */
  readonly kinds?: ReadonlyMap<number, PartKind>;
  /** Sectors that cannot be read are no reason to give up. */
  readonly tolerant?: Pick<SourceReaderOptions, 'openDirect'>;
  /** Told before their files are looked into, which is mostly waiting. */
  readonly onParts?: (parts: readonly PartPlace[]) => void;
}

/** @throws CorruptInputError for a table that cannot be trusted, ImageIoError */
export async function surveyDisk(image: ImageSource, options: SurveyOptions = {}): Promise<Disk> {
  const { tolerant } = options;
  const { table, unreadableTable, tableNotes, regions } =
    tolerant === undefined ? await tableOf(image) : await whatIsLeftOf(image, tolerant);
  const found = await findParts(image, table, tolerant);
  options.onParts?.(found);
  const { system, rootNumber, notes } = await lookInside(found, options);
  const fstab = parseFstab(system?.fstab ?? '');
  // A system in a btrfs is not opened. Without another one its part must not pass for somebody's data.
  const closedRoots = system === undefined ? await rootsInBtrfs(image, found) : new Set<number>();
  const parts = found.map(({ note: _, ...part }) => {
    const { entry, fs } = part;
    const mountPoint = entry === undefined ? undefined : part.number === rootNumber ? '/' : mountPointOf(entry, fs, fstab);
    const kind =
      options.kinds?.get(part.number) ??
      (entry === undefined
        ? 'os'
        : kindOf({ entry, fs, mountPoint, isSystemRoot: part.number === rootNumber || closedRoots.has(part.number) }));
    return { ...part, kind, ...(mountPoint?.startsWith('/') ? { mountPoint } : {}) };
  });
  const incomplete = table === undefined ? undefined : findIncomplete(table)?.runId;
  return {
    name: image.name,
    size: image.size,
    sectorSize: table?.sectorSize ?? image.sectorSize,
    ...(table === undefined ? {} : { table }),
    unreadableTable,
    parts,
    regions,
    ...(incomplete === undefined ? {} : { incomplete }),
    ...(system === undefined ? {} : { system }),
    notes: [...tableNotes, ...(table?.repairs ?? []), ...found.flatMap(({ note }) => note ?? []), ...notes],
  };
}

type FoundPart = Omit<Part, 'kind' | 'mountPoint'> & {
  /** Why its file system is not known. */
  readonly note?: string;
};

interface TableAndRegions {
  readonly table?: PartitionTable;
  readonly unreadableTable: IntervalSet;
  readonly tableNotes: readonly string[];
  readonly regions: readonly Region[];
}

async function tableOf(image: ImageSource): Promise<TableAndRegions> {
  const table = await readTable(image);
  const regions = await findRegions(image, table);
  return { ...(table === undefined ? {} : { table }), unreadableTable: IntervalSet.empty, tableNotes: [], regions };
}

/**
 * What cannot be read is taken for zeros: a GPT has two copies, with checksums.
 * @throws TableCorruptError for the boot records of logical partitions, which have neither
 */
async function whatIsLeftOf(image: ImageSource, options: Pick<SourceReaderOptions, 'openDirect'>): Promise<TableAndRegions> {
  const view = zeroFilled(image, options);
  try {
    const found = await tableOf(view.image);
    const own = (found.table?.ownRanges ?? []).filter((range) => end(range) <= image.size);
    // Of a copy that is damaged not all was looked at.
    for (const { offset, length } of own) await view.image.read(new Uint8Array(length), offset);
    const bad = await view.bad();
    const unreadableTable = IntervalSet.of(...bad).intersect(IntervalSet.of(...own));
    const places = bad.map(({ offset, length }) => `${length} bytes at byte ${offset}`).join(', ');
    const note = `where partition tables, boot code and profiles stand, ${places} cannot be read`;
    if (found.table?.kind === 'mbr' && unreadableTable.count > 0) {
      const problem = `${places} cannot be read, where it says which logical partitions there are`;
      throw new TableCorruptError(image.name, [problem], 'mbr');
    }
    return { ...found, unreadableTable, tableNotes: bad.length === 0 ? [] : [note] };
  } finally {
    await view.image.close();
  }
}

/** With `tolerant` what cannot be read is taken for zeros; whoever needs to know which blocks are used will ask again, and strictly. */
async function findParts(
  image: ImageSource,
  table: PartitionTable | undefined,
  tolerant: SurveyOptions['tolerant'],
): Promise<FoundPart[]> {
  if (table === undefined) {
    const label = 'the whole disk';
    const range = { offset: 0, length: image.size };
    const { fs, note } = await whatIsIn(image, range, label, tolerant);
    if (fs === undefined && note === undefined) return [];
    return [{ number: 0, range, label, ...known(fs), ...(note === undefined ? {} : { note }) }];
  }
  const parts: FoundPart[] = [];
  for (const entry of table.entries) {
    if (isMarker(table, entry)) continue;
    const range = entryRange(entry, table.sectorSize);
    const label = entryLabel(entry);
    const { fs, note } = await whatIsIn(image, range, label, tolerant);
    parts.push({ number: entry.number, entry, range, label, ...known(fs), ...(note === undefined ? {} : { note }) });
  }
  return parts;
}

async function whatIsIn(
  image: ImageSource,
  range: ByteRange,
  label: string,
  tolerant: SurveyOptions['tolerant'],
): Promise<{ readonly fs: FileSystemInfo | undefined; readonly note?: string }> {
  try {
    return { fs: await identifyFileSystem(slice(image, range)) };
  } catch (error) {
    if (tolerant === undefined || !isMediumError(error)) throw error;
    const view = zeroFilled(image, tolerant);
    const fs = await identifyFileSystem(slice(view.image, range));
    await view.image.close();
    return { fs, note: `what ${label} holds cannot be told for sure: ${error.message}` };
  }
}

function known(fs: FileSystemInfo | undefined): { readonly fs?: FileSystemInfo } {
  return fs === undefined ? {} : { fs };
}

const rootLabels: ReadonlySet<string> = new Set(['root', 'rootfs', 'system', '/']);

/** Numbers of parts whose btrfs looks like a root, or is called one. What cannot be read there shows when the part is copied. */
async function rootsInBtrfs(image: ImageSource, parts: readonly FoundPart[]): Promise<ReadonlySet<number>> {
  const roots = new Set<number>();
  for (const { number, range, entry, fs } of parts) {
    if (fs?.type !== 'btrfs') continue;
    const named = [entry?.name, fs.label].some((name) => rootLabels.has(name?.toLowerCase() ?? ''));
    const isRoot =
      named ||
      (await holdsRoot(slice(image, range)).catch((error: unknown) => {
        if (isMediumError(error)) return false;
        throw error;
      }));
    if (isRoot) roots.add(number);
  }
  return roots;
}

async function lookInside(parts: readonly FoundPart[], { openWindow }: SurveyOptions): Promise<LookInside> {
  if (openWindow === undefined) return { notes: [] };
  const found = await findSystem(systemParts(parts, openWindow));
  if (found.root !== undefined) return { system: found.system, rootNumber: found.root.number, notes: found.notes };
  // A disk without any file system needs no excuse for having no system.
  return { notes: parts.some((part) => part.fs !== undefined) ? found.notes : [] };
}

interface LookInside {
  readonly system?: SystemInfo;
  readonly rootNumber?: number;
  readonly notes: readonly string[];
}
