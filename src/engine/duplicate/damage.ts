/** Whose the bytes were that the source could not give: by part, and by file where the file system can tell. */
import { constants } from 'node:fs';
import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { DoppelError } from '../errors.ts';
import type { ByteRange, GuardedTarget } from '../image/contract.ts';
import { slice } from '../image/slice.ts';
import { identifyFileSystem } from '../layout/filesystems.ts';
import { placesOfFile, SystemCallError } from '../native/libc.ts';
import { openMountedSystem } from '../persona/trees/mounted.ts';
import { IntervalSet } from '../protect/intervals.ts';
import type { ClonePlan, PlannedPart } from './plan.ts';
import { type Damage, type DamagedPart, noDamage } from './result.ts';
import { mountable } from './system.ts';

/** `bad` are bytes of the disk. Looks at the copy, read-only, as the source may not even give its directories. */
export async function damageOf(target: GuardedTarget, plan: Pick<ClonePlan, 'parts'>, bad: IntervalSet): Promise<Damage> {
  if (bad.count === 0) return noDamage;
  const parts: DamagedPart[] = [];
  let rest = bad;
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
    const root = { device: window.device, type: fs.type };
    const mounted = await openMountedSystem({ root, mounts: [], readOnly: true });
    try {
      const { files, owned } = await filesOn(mounted.rootPath, hit.shift(-range.offset));
      return { ...unknown, files: files.toSorted(), elsewhere: hit.bytes - owned };
    } finally {
      await mounted.close();
    }
  } catch (error) {
    // So damaged that it cannot be mounted: then nobody can tell.
    if (error instanceof DoppelError || error instanceof SystemCallError) return unknown;
    throw error;
  } finally {
    await window.close();
  }
}

/** Files and directories below `root` that have bytes in `hit` (bytes of the file system's device), and how many. */
async function filesOn(root: string, hit: IntervalSet): Promise<{ readonly files: string[]; readonly owned: number }> {
  const files: string[] = [];
  let owned = IntervalSet.empty;
  const look = async (path: string): Promise<void> => {
    const file = await open(join(root, path), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    let places: readonly ByteRange[];
    try {
      places = placesOfFile(file.fd);
    } catch (error) {
      // Directories of some file systems do not tell.
      if (!(error instanceof SystemCallError) || error.errnoName !== 'EOPNOTSUPP') throw error;
      return;
    } finally {
      await file.close();
    }
    const mine = IntervalSet.of(...places.filter((place) => hit.touches(place))).intersect(hit);
    if (mine.count === 0) return;
    files.push(path);
    owned = owned.union(mine);
  };
  const walk = async (folder: string): Promise<void> => {
    await look(folder);
    for (const entry of await readdir(join(root, folder), { withFileTypes: true })) {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) await walk(path);
      else if (entry.isFile()) await look(path);
    }
  };
  await walk('/');
  return { files, owned: owned.bytes };
}
