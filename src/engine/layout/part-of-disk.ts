/** Finds the part of a disk that the user named (`disk.img#2`, `disk.img#label=root`), and opens images with that. */
import type { ByteRange, ImageSource } from '../image/contract.ts';
import { NoSuchPartError, UnusableImageError } from '../image/errors.ts';
import * as whole from '../image/open.ts';
import type { OpenImage } from '../image/open-image.ts';
import type { PartRange } from '../image/part.ts';
import { slice } from '../image/slice.ts';
import type { PartSelector } from '../image/spec.ts';
import type { FileSystemInfo, TableEntry } from './contract.ts';
import { findIncomplete, isMarker } from './fence-table.ts';
import { identifyFileSystem } from './filesystems.ts';
import { kindOf } from './kinds.ts';
import { readTable } from './table.ts';
import { entryRange } from './table-space.ts';
import { entryLabel } from './table-text.ts';

interface Candidate {
  readonly entry: TableEntry;
  readonly range: ByteRange;
  readonly fs?: FileSystemInfo | undefined;
}

/**
 * The range of the part. A part that holds a profile is never opened for writing, nor any part of a disk that is fenced.
 * @throws NoSuchPartError when there is none, or more than one; UnusableImageError; CorruptInputError for a damaged table
 */
export async function findPart(
  image: ImageSource,
  part: PartSelector,
  { forWriting }: { readonly forWriting: boolean },
): Promise<PartRange> {
  const table = await readTable(image);
  if (table === undefined) throw new NoSuchPartError(image.name, part.text, 'it has no partition table', []);
  const candidates: Candidate[] = [];
  for (const entry of table.entries) {
    if (isMarker(table, entry)) continue;
    const range = entryRange(entry, table.sectorSize);
    candidates.push({ entry, range, fs: await identifyFileSystem(slice(image, range)) });
  }
  const only = selectedPart(image.name, part, candidates);
  if (forWriting && kindOf({ ...only, fs: only.fs }) === 'profile') {
    const todo = `Write profiles with: doppel profile write ${image.name} FILE.yaml`;
    throw new UnusableImageError(`${image.name}#${part.text}`, 'it is the protected region of that disk', todo);
  }
  const unfinished = findIncomplete(table);
  if (forWriting && unfinished !== undefined) {
    const why = `${image.name} is the unfinished target of a duplication (run ${unfinished.runId})`;
    throw new UnusableImageError(`${image.name}#${part.text}`, why, 'Run its command again first.');
  }
  // An MBR table says nowhere how large its sectors are.
  return table.kind === 'gpt' ? { ...only.range, sectorSize: table.sectorSize } : only.range;
}

/** @throws NoSuchPartError when none of them is meant, or more than one */
export function selectedPart<T extends Candidate>(disk: string, part: PartSelector, candidates: readonly T[]): T {
  const found = candidates.filter((each) => matches(each, part));
  const [only] = found;
  if (only !== undefined && found.length === 1) return only;
  const why = only === undefined ? `no part is #${part.text}` : `${found.length} parts are #${part.text}; name one by its number`;
  throw new NoSuchPartError(disk, part.text, why, candidates.map(describe));
}

function matches({ entry, fs }: Candidate, part: PartSelector): boolean {
  switch (part.by) {
    case 'number':
      return entry.number === part.number;
    case 'label':
      return entry.name === part.value || fs?.label === part.value;
    case 'uuid':
      return fs !== undefined && fs.uuid !== '' && fs.uuid.toLowerCase() === part.value.toLowerCase();
    case 'partuuid':
      return entry.guid.toLowerCase() === part.value.toLowerCase();
  }
}

function describe({ entry, fs }: Candidate): string {
  const label = fs === undefined || fs.label === '' ? '' : `, label "${fs.label}"`;
  return `${entryLabel(entry)}${fs === undefined ? '' : ` (${fs.type}${label})`}`;
}

/** As in image/open.ts, for parts of disks too. */
export function openSource(text: string, options: Omit<whole.OpenSourceOptions, 'findPart'> = {}): Promise<whole.OpenedSource> {
  return whole.openSource(text, { ...options, findPart });
}

/** As in image/open.ts, for parts of disks too. */
export function openTarget(text: string, options: Omit<whole.OpenTargetOptions, 'findPart'> = {}): Promise<OpenImage> {
  return whole.openTarget(text, { ...options, findPart });
}

/** As in image/open.ts, for parts of disks too. */
export function openForInspection(text: string): Promise<OpenImage> {
  return whole.openForInspection(text, { findPart });
}
