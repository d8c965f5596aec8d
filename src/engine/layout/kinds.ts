/** What a part is for: from its type, the mount point in the image's own fstab, and its file system. */
import type { FileSystemInfo, PartKind, TableEntry } from './contract.ts';
import { gptTypes, type PartitionType } from './kinds-gpt-types.ts';
import { mbrTypes } from './kinds-mbr-types.ts';

export interface KindEvidence {
  readonly entry: TableEntry;
  /** What was found in the part, if anything known. */
  readonly fs: FileSystemInfo | undefined;
  /** Where the image's own fstab mounts it. */
  readonly mountPoint?: string | undefined;
  /** Set when an operating system's root was found in it (/etc, /usr; \Windows), whatever its type says. */
  readonly isSystemRoot?: boolean;
}

const osMountPoints = new Set(['/', '/usr', '/var', '/etc']);
const driverMountPoints = new Set(['/lib/modules', '/usr/lib/modules', '/lib/firmware', '/usr/lib/firmware']);
const mbrSwapType = '82';

/**
 * The kind of a part. In this order: a type that speaks for itself (root, /usr, /var, home, EFI System, swap, profile, ...); the mount point
 * (/, /usr, /var, /etc: os; /boot, /efi and below: boot; module and firmware directories: driver; every other path: application);
 * a system's root: os; a swap signature: swap.
 *
 * What is left is `application`, because it may be somebody's data and `--skip application` must not lose any: plain Linux and
 * Windows data parts, RAID, LVM and encrypted volumes that cannot be looked into, foreign file systems.
 */
export function kindOf({ entry, fs, mountPoint, isSystemRoot = false }: KindEvidence): PartKind {
  const byType = partitionType(entry.type)?.kind;
  if (byType) return byType;
  const byMount = mountPoint === undefined ? undefined : kindOfMountPoint(mountPoint);
  if (byMount) return byMount;
  if (isSystemRoot) return 'os';
  if (fs?.type === 'swap' || fs?.type === 'swsuspend') return 'swap';
  if (entry.type === mbrSwapType && fs === undefined) return 'swap';
  return 'application';
}

/** A readable name for a partition type, or the type itself when it is not known: `EFI System`, `Linux root (x86-64)`. */
export function describeType(table: 'gpt' | 'mbr', type: string): string {
  return (table === 'gpt' ? gptTypes : mbrTypes)[type.toUpperCase()]?.name ?? (table === 'gpt' ? type : `type ${type}`);
}

function kindOfMountPoint(path: string): PartKind | undefined {
  if (path === 'swap' || path === 'none') return undefined;
  if (osMountPoints.has(path)) return 'os';
  if (path === '/boot' || path.startsWith('/boot/') || path === '/efi' || path.startsWith('/efi/')) return 'boot';
  if (driverMountPoints.has(path)) return 'driver';
  return 'application';
}

function partitionType(type: string): PartitionType | undefined {
  return (type.length === 2 ? mbrTypes : gptTypes)[type.toUpperCase()];
}
