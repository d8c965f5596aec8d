/** Which parts of a disk the changes of a persona lie on. */
import type { Change } from '../persona/tree.ts';
import type { OpenSystem } from './system.ts';

/** The part of a persona that lies on one partition. */
export interface PartChanges {
  /** Where the system mounts the part; `/` for the root. */
  readonly mountPoint: string;
  /** By path inside the part. */
  readonly changes: ReadonlyMap<string, Change>;
}

/** By part number. The paths of changes have no symbolic links left; those of fstab may. */
export async function changesByPart(system: OpenSystem, changes: readonly Change[]): Promise<ReadonlyMap<number, PartChanges>> {
  const mounts: { readonly number: number; readonly mountPoint: string }[] = [];
  for (const { number, mountPoint } of system.mounts) {
    mounts.push({ number, mountPoint: mountPoint === '/' ? '/' : await system.tree.realpath(mountPoint) });
  }
  mounts.sort((a, b) => b.mountPoint.length - a.mountPoint.length);
  const found = new Map<number, { readonly mountPoint: string; readonly changes: Map<string, Change> }>();
  for (const change of changes) {
    const { path } = change;
    const mount = mounts.find(({ mountPoint: at }) => at === '/' || path === at || path.startsWith(`${at}/`));
    if (mount === undefined) continue;
    const { number, mountPoint } = mount;
    const part = found.get(number) ?? { mountPoint, changes: new Map<string, Change>() };
    part.changes.set(mountPoint === '/' ? path : path.slice(mountPoint.length) || '/', change);
    found.set(number, part);
  }
  return found;
}

/** Numbers of the parts whose files change. */
export async function touchedParts(system: OpenSystem, changes: readonly Change[]): Promise<ReadonlySet<number>> {
  return new Set((await changesByPart(system, changes)).keys());
}
