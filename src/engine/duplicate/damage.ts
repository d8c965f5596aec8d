/** Whose the bytes were that the source could not give: by part, and by file where the file system can tell. */
import { constants, type Dirent } from 'node:fs';
import { type FileHandle, open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { DoppelError } from '../errors.ts';
import type { ByteRange, GuardedTarget } from '../image/contract.ts';
import { slice } from '../image/slice.ts';
import { identifyFileSystem } from '../layout/filesystems.ts';
import { placesOfFile } from '../native/inode.ts';
import { SystemCallError } from '../native/libc.ts';
import { Mount } from '../persona/trees/mount.ts';
import { IntervalBuilder, IntervalSet } from '../protect/intervals.ts';
import type { ClonePlan, PlannedPart } from './plan.ts';
import { type Damage, type DamagedPart, noDamage } from './result.ts';
import { mountable } from './system.ts';
import { bootSectorLabel } from './table-loss.ts';

type Wanted = Pick<ClonePlan, 'copy' | 'withheld' | 'tableLoss'>;

/** What was to be copied and could not be read; the boot sector was read for the plan. */
export function lostOf({ copy, withheld, tableLoss }: Wanted, unreadable: readonly ByteRange[]): IntervalSet {
  const bad = new IntervalBuilder();
  for (const { offset, length } of unreadable) bad.add(offset, length);
  return bad
    .build()
    .intersect(copy.union(IntervalSet.of({ offset: 0, length: withheld })))
    .union(tableLoss.lost);
}

/** `bad` are bytes of the disk. Looks at the copy, read-only, as the source may not even give its directories. */
export async function damageOf(
  target: GuardedTarget,
  plan: Pick<ClonePlan, 'parts' | 'tableLoss'>,
  bad: IntervalSet,
): Promise<Damage> {
  if (bad.count === 0) return noDamage;
  const parts: DamagedPart[] = [];
  const { bytes } = bad.intersect(plan.tableLoss.lost);
  if (bytes > 0) parts.push({ number: 0, label: bootSectorLabel, bytes, elsewhere: bytes });
  let rest = bad.subtract(plan.tableLoss.lost);
  for (const part of plan.parts.filter(({ fate }) => fate === 'copied')) {
    const hit = bad.intersect(IntervalSet.of(part.range));
    if (hit.count === 0) continue;
    rest = rest.subtract(hit);
    parts.push(await damagedPart(target, part, hit));
  }
  if (rest.count > 0) parts.push({ number: 0, label: 'outside every partition', bytes: rest.bytes, elsewhere: rest.bytes });
  return { bytes: bad.bytes, ranges: [...bad], parts };
}

async function damagedPart(target: GuardedTarget, { number, label, range }: PlannedPart, hit: IntervalSet): Promise<DamagedPart> {
  const unknown = { number, label, bytes: hit.bytes, elsewhere: hit.bytes };
  const fs = await identifyFileSystem(slice(target, range));
  if (fs === undefined || !mountable.has(fs.type) || process.getuid?.() !== 0) return unknown;
  const window = await target.window(range, { readOnly: true });
  try {
    const mount = await Mount.open({ device: window.device, type: fs.type, readOnly: true });
    try {
      const { files, lost, owned } = await new Search(mount.path, hit.shift(-range.offset)).everything();
      return { ...unknown, files, ...(lost.length === 0 ? {} : { lost }), elsewhere: hit.bytes - owned };
    } finally {
      await mount.close();
    }
  } catch (error) {
    // So damaged that it cannot be mounted: then nobody can tell.
    if (error instanceof DoppelError || error instanceof SystemCallError) return unknown;
    throw error;
  } finally {
    await window.close();
  }
}

interface Owners {
  /** Sorted; directories end in a slash. */
  readonly files: string[];
  /** Cannot be opened or listed any more. */
  readonly lost: string[];
  /** Bytes that the files have. */
  readonly owned: number;
}

/** Looks for files and directories below `root` that have bytes in `hit` (bytes of the file system's device). */
class Search {
  readonly #root: string;
  readonly #hit: IntervalSet;
  readonly #files: string[] = [];
  readonly #lost: string[] = [];
  #owned = IntervalSet.empty;

  constructor(root: string, hit: IntervalSet) {
    this.#root = root;
    this.#hit = hit;
  }

  async everything(): Promise<Owners> {
    await this.#folder('/');
    return { files: this.#files.toSorted(), lost: this.#lost.toSorted(), owned: this.#owned.bytes };
  }

  async #folder(path: string): Promise<void> {
    if (!(await this.#opens(path, true))) return;
    let entries: Dirent[];
    try {
      entries = await readdir(join(this.#root, path), { withFileTypes: true });
    } catch (error) {
      return this.#cannot(path, error);
    }
    for (const entry of entries) {
      const inside = join(path, entry.name);
      if (entry.isDirectory()) await this.#folder(`${inside}/`);
      else if (entry.isFile()) await this.#opens(inside, false);
    }
  }

  /** False when the damage keeps it from being opened. */
  async #opens(path: string, isFolder: boolean): Promise<boolean> {
    let file: FileHandle;
    try {
      file = await open(join(this.#root, path), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    } catch (error) {
      this.#cannot(path, error);
      return false;
    }
    try {
      this.#note(path, placesOfFile(file.fd));
    } catch (error) {
      if (!(error instanceof SystemCallError)) throw error;
      // Directories of some file systems do not tell.
      if (!isFolder || error.errnoName !== 'EOPNOTSUPP') this.#lost.push(path);
    } finally {
      await file.close();
    }
    return true;
  }

  #note(path: string, places: readonly ByteRange[]): void {
    const mine = places.filter((place) => this.#hit.touches(place));
    if (mine.length === 0) return;
    this.#files.push(path);
    this.#owned = this.#owned.union(IntervalSet.of(...mine).intersect(this.#hit));
  }

  /** What the kernel says of damaged structures has many names (EUCLEAN, EBADMSG, EIO, EINVAL, ENOENT ...). */
  #cannot(path: string, error: unknown): void {
    if ((error as NodeJS.ErrnoException).syscall === undefined) throw error;
    this.#lost.push(path);
  }
}

/** A warning with the first few of those whose the lost bytes were. */
export function damageWords({ source, readErrors }: Pick<ClonePlan, 'source' | 'readErrors'>, { bytes, parts }: Damage): string {
  const instead = readErrors === 'skip' ? 'were not copied' : 'are zeros on the target';
  const whose = parts.map((part) => {
    const { label, files, lost = [], elsewhere } = part;
    const names = [...(files ?? []), ...lost];
    if (names.length === 0) return `${part.bytes} bytes of ${label}${files === undefined ? '' : ' that belong to no file'}`;
    const more = names.length > 3 ? ` and ${names.length - 3} more` : '';
    return `${names.slice(0, 3).join(', ')}${more} on ${label}${elsewhere > 0 ? ` and ${elsewhere} bytes of no file` : ''}`;
  });
  return `${bytes} bytes of ${source.path} could not be read and ${instead}: ${whose.join('; ')}`;
}
