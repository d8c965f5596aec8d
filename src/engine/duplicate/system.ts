/** Finds the system on a set of parts and opens its files: the root, and what its own fstab mounts from the same disk. */
import { DoppelError, MissingToolError } from '../errors.ts';
import type { ByteRange, ImageTarget, Window } from '../image/contract.ts';
import type { FileSystemInfo, TableEntry } from '../layout/contract.ts';
import { mountPointOf, parseFstab } from '../layout/fstab.ts';
import { kindOf } from '../layout/kinds.ts';
import { NotASystemError } from '../persona/errors.ts';
import { identifySystem, type SystemInfo } from '../persona/system.ts';
import type { WritableTree } from '../persona/tree.ts';
import { openMountedSystem, type PartMount } from '../persona/trees/mounted.ts';

/** Opens a window over a range of the part's disk. */
export type OpenWindow = (range: ByteRange, options: { readonly readOnly: boolean }) => Promise<Window>;

/** A part as far as this module needs it; parts of one system may stand on different disks while a plan is made. */
export interface SystemPart {
  readonly number: number;
  readonly entry?: TableEntry;
  readonly range: ByteRange;
  readonly label: string;
  readonly fs?: FileSystemInfo;
  readonly openWindow: OpenWindow;
}

/** Windows for looking; they are read-only whatever is asked for. */
export function readOnlyWindows(image: Pick<ImageTarget, 'openWindow'>): OpenWindow {
  return (range) => image.openWindow(range, { readOnly: true });
}

export function systemParts(parts: readonly Omit<SystemPart, 'openWindow'>[], openWindow: OpenWindow): SystemPart[] {
  return parts.map((part) => ({ ...part, openWindow }));
}

export interface OpenSystem {
  readonly tree: WritableTree;
  readonly system: SystemInfo;
  readonly rootNumber: number;
  /** Mount points of this tree that are parts of their own, the root first. */
  readonly mounts: readonly { readonly number: number; readonly mountPoint: string }[];
  /** What was left out, each a sentence. */
  readonly notes: readonly string[];
}

export interface SystemOptions {
  /** Numbers of the parts that may be written; all others are opened read-only and not a byte of them changes. */
  readonly writable: ReadonlySet<number>;
}

export const nothingWritable: SystemOptions = { writable: new Set() };

/** What can be mounted for its files. */
export const mountable: ReadonlySet<string> = new Set(['ext2', 'ext3', 'ext4', 'xfs']);

/** Whose system is on these parts, as its root alone tells. */
export async function findSystem(parts: readonly SystemPart[]): Promise<SystemSearch> {
  return someMountable(parts) ? findRoot(parts) : { notes: noSystemOn(parts) };
}

/**
 * Runs `action` with the system's files, and closes everything behind it. Without a system `otherwise` runs, with the reasons.
 * Errors of mounting are reasons too as long as nothing is writable.
 */
export async function withSystem<T>(
  parts: readonly SystemPart[],
  options: SystemOptions,
  action: (system: OpenSystem) => Promise<T>,
  otherwise: (reasons: readonly string[]) => Promise<T>,
): Promise<T> {
  const search = await findSystem(parts);
  if (search.root === undefined && search.missing !== undefined) throw search.missing;
  return search.root === undefined ? otherwise(search.notes) : withRoot(parts, options, search, action);
}

function someMountable(parts: readonly SystemPart[]): boolean {
  return parts.some(({ fs }) => mountable.has(fs?.type ?? ''));
}

/** May hold a system, and are not opened: of a btrfs the kernel mounts whichever device it knows with the same UUID. */
const notOpened: Readonly<Record<string, string>> = {
  btrfs: 'doppel does not open btrfs',
  bcachefs: 'doppel does not open bcachefs',
  f2fs: 'doppel does not open F2FS',
  zfs_member: 'doppel does not open ZFS',
  LVM2_member: 'doppel does not look into LVM',
  crypto_LUKS: 'it is encrypted',
  linux_raid_member: 'doppel does not assemble RAID',
};

/** Why there is none, each a sentence. */
function noSystemOn(parts: readonly SystemPart[]): string[] {
  const closed = parts.flatMap(({ label, fs }) => {
    const why = notOpened[fs?.type ?? ''];
    return why === undefined ? [] : [`${label} was not looked into: ${why}; a system in it is not seen`];
  });
  const where = closed.length === 0 ? 'on it' : 'in what could be looked into';
  return [...closed, `no operating system was found ${where}`];
}

async function withRoot<T>(
  parts: readonly SystemPart[],
  options: SystemOptions,
  search: FoundSystem,
  action: (system: OpenSystem) => Promise<T>,
): Promise<T> {
  const { root, system } = search;
  const fstab = parseFstab(system.fstab ?? '');
  const others = parts.filter((part) => part !== root && part.entry !== undefined);
  const placed = others
    .map((part) => ({ part, mountPoint: mountPointOf(part.entry as TableEntry, part.fs, fstab) }))
    .filter(
      (each): each is { part: SystemPart; mountPoint: string } =>
        each.mountPoint?.startsWith('/') === true && each.mountPoint !== '/',
    )
    .sort((a, b) => (a.mountPoint < b.mountPoint ? -1 : 1));
  const notes = [...search.notes];
  const windows: Window[] = [];
  const open = async (part: SystemPart): Promise<PartMount> => {
    const readOnly = !options.writable.has(part.number);
    const window = await part.openWindow(part.range, { readOnly });
    windows.push(window);
    return { device: window.device, type: part.fs?.type ?? 'auto', readOnly };
  };
  try {
    const mounts: (PartMount & { readonly mountPoint: string })[] = [];
    let esp: { readonly device: string; readonly mountPoint: string; readonly readOnly?: boolean } | undefined;
    const shown = [{ number: root.number, mountPoint: '/' }];
    for (const { part, mountPoint } of placed) {
      const type = part.fs?.type ?? 'unknown';
      if (!mountable.has(type) && (type !== 'vfat' || esp !== undefined)) {
        notes.push(`${part.label} (${type}, ${mountPoint}) cannot be opened here; its files stay as they are`);
        continue;
      }
      const mount = { ...(await open(part)), mountPoint };
      if (type === 'vfat') esp = mount;
      else mounts.push(mount);
      shown.push({ number: part.number, mountPoint });
    }
    const tree = await openMountedSystem({
      root: await open(root),
      mounts,
      ...(esp === undefined ? {} : { esp }),
      readOnly: options.writable.size === 0,
    });
    try {
      return await action({ tree, system, rootNumber: root.number, mounts: shown, notes });
    } finally {
      await tree.close();
    }
  } finally {
    for (const window of windows.reverse()) await window.close();
  }
}

interface FoundSystem {
  readonly root: SystemPart;
  readonly system: SystemInfo;
  readonly notes: readonly string[];
}

/** `notes` say what could not be looked into, each a sentence. */
export type SystemSearch =
  | FoundSystem
  | {
      readonly root?: undefined;
      readonly notes: readonly string[];
      /** Why a part was not looked into, if it is that. */
      readonly missing?: MissingToolError;
    };

/** The part whose type says root comes first, then the one that a system was found in. */
async function findRoot(parts: readonly SystemPart[]): Promise<SystemSearch> {
  const notes: string[] = [];
  const found: { part: SystemPart; system: SystemInfo }[] = [];
  const candidates = parts.filter(({ fs }) => mountable.has(fs?.type ?? ''));
  const looks = await settled(candidates, systemOn);
  const unseen: SystemPart[] = [];
  let missing: MissingToolError | undefined;
  for (const [index, look] of looks.entries()) {
    const part = candidates[index] as SystemPart;
    if (look.status === 'fulfilled') {
      if (look.value !== undefined) found.push({ part, system: look.value });
    } else {
      if (!(look.reason instanceof DoppelError)) throw look.reason;
      unseen.push(part);
      if (look.reason instanceof MissingToolError) missing = look.reason;
      notes.push(`${part.label} cannot be looked into: ${look.reason.message}`);
    }
  }
  const typed = found.find(({ part }) => isTypedRoot(part));
  // Another system than the one that is meant must not be taken for it.
  const chosen = typed ?? (unseen.some(isTypedRoot) ? undefined : found[0]);
  if (chosen === undefined) return { notes: [...notes, ...noSystemOn(parts)], ...(missing === undefined ? {} : { missing }) };
  for (const { part, system } of found) {
    if (part !== chosen.part)
      notes.push(`${part.label} holds another system (${system.os.pretty}); only the one on ${chosen.part.label} is made itself`);
  }
  return { root: chosen.part, system: chosen.system, notes };
}

function isTypedRoot({ entry, fs }: SystemPart): boolean {
  return entry !== undefined && kindOf({ entry, fs }) === 'os';
}

/** Each waits for the medium most of the time, but a disk may have many parts. */
const SIDE_BY_SIDE = 4;

async function settled<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<PromiseSettledResult<R>[]> {
  const results: PromiseSettledResult<R>[] = [];
  for (let at = 0; at < items.length; at += SIDE_BY_SIDE)
    results.push(...(await Promise.allSettled(items.slice(at, at + SIDE_BY_SIDE).map(work))));
  return results;
}

async function systemOn(part: SystemPart): Promise<SystemInfo | undefined> {
  const window = await part.openWindow(part.range, { readOnly: true });
  try {
    const tree = await openMountedSystem({
      root: { device: window.device, type: part.fs?.type ?? '' },
      mounts: [],
      readOnly: true,
    });
    try {
      const release = (await tree.read('/etc/os-release')) ?? (await tree.read('/usr/lib/os-release'));
      return release === undefined ? undefined : await identifySystem(tree);
    } catch (error) {
      if (error instanceof NotASystemError) return undefined;
      throw error;
    } finally {
      await tree.close();
    }
  } finally {
    await window.close();
  }
}
