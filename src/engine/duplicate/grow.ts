/** --grow: parts that are as large on the target as there is room behind them, and their file systems by their own tools. */
import { access, constants } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { IoError, MissingToolError } from '../errors.ts';
import type { ByteRange, GuardedTarget, ImageSource } from '../image/contract.ts';
import { slice } from '../image/slice.ts';
import type { PartitionTable } from '../layout/contract.ts';
import { identifyFileSystem } from '../layout/filesystems.ts';
import { endOfDisk, growEntry } from '../layout/table-grow.ts';
import { entryRange } from '../layout/table-space.ts';
import { printable } from '../layout/table-text.ts';
import type { Region } from '../protect/region.ts';
import type { Part } from './disk.ts';
import { CloneRefusedError } from './errors.ts';

/** `none`: only the partition grows. */
export type GrowMethod = 'ext' | 'xfs' | 'btrfs' | 'none';

export interface PlannedGrowth {
  /** On the target after the run. */
  readonly number: number;
  readonly label: string;
  /** On the target, in bytes: as large as on the source, and after growing. */
  readonly before: ByteRange;
  readonly after: ByteRange;
  readonly method: GrowMethod;
  /** As blkid names it. */
  readonly type: string;
}

export interface GrowthPlan {
  readonly table: PartitionTable;
  readonly growths: readonly PlannedGrowth[];
  readonly notes: readonly string[];
}

export interface GrowRequest {
  /** Numbers or labels of parts of the source. */
  readonly wanted: readonly string[];
  /** Of the target after the run, regions included. */
  readonly table: PartitionTable;
  /** With their numbers after the run. */
  readonly copied: readonly Part[];
  /** Numbers of the source by which the user knows the parts, by number after the run; default the same. */
  readonly sourceNumbers?: ReadonlyMap<number, number>;
  readonly regions: readonly Region[];
  /** Bytes. */
  readonly diskSize: number;
}

const methods: Readonly<Record<string, GrowMethod>> = { ext2: 'ext', ext3: 'ext', ext4: 'ext', xfs: 'xfs', btrfs: 'btrfs' };
const hints: Readonly<Record<string, string>> = {
  LVM2_member: 'run "pvresize" on it afterwards, then "lvextend"',
  crypto_LUKS: 'run "cryptsetup resize" when it is open, then grow what is inside',
  linux_raid_member: 'run "mdadm --grow --size=max" afterwards',
  swap: 'run "mkswap" with its UUID to use the rest',
  ntfs: 'run "ntfsresize" afterwards',
};

/**
 * Enlarges the entries of the wanted parts, in the order of the disk. Pure.
 * @throws CloneRefusedError for a part that is not there or not copied, that something stands behind, or whose file system cannot have that size
 */
export function planGrow({ wanted, table, copied, sourceNumbers, regions, diskSize }: GrowRequest): GrowthPlan {
  const parts = new Set(wanted.map((name) => findPart(name, copied, sourceNumbers)));
  const raw = regions.filter(({ carrier }) => carrier === 'raw');
  const growths: PlannedGrowth[] = [];
  const notes: string[] = [];
  let now = table;
  for (const part of [...parts].sort((a, b) => b.range.offset - a.range.offset)) {
    const grown = growEntry(now, part.number, { diskSize, regions: raw });
    if ('blockedBy' in grown) {
      if (!grown.atEnd) throw blocked(part, grown.blockedBy);
      const why = grown.blockedBy === endOfDisk ? 'it ends where the disk ends' : grown.blockedBy;
      notes.push(`${part.label} does not grow: ${why}`);
      continue;
    }
    now = grown.table;
    const type = part.fs?.type ?? 'unknown';
    const method = methods[type] ?? 'none';
    const before = entryRange(grown.before, table.sectorSize);
    const after = entryRange(grown.after, table.sectorSize);
    if (method === 'btrfs' && after.length < smallestBtrfs) throw tooSmall(part, after.length);
    growths.unshift({ number: part.number, label: part.label, before, after, method, type });
    const inside =
      method === 'none' ? `, but not what is inside (${type})${hints[type] ? `: ${hints[type]}` : ''}` : ` with its ${type}`;
    notes.push(`${part.label} grows from ${before.length} to ${after.length} bytes${inside}`);
    if (grown.limit !== undefined)
      notes.push(`${part.label} leaves free space behind it: ${grown.limit}; a GPT can (sgdisk --mbrtogpt)`);
  }
  return { table: now, growths, notes };
}

/** Linux' fs/btrfs/ioctl.c, btrfs_ioctl_resize: EINVAL for any new size below that. */
const smallestBtrfs = 256 * 1024 * 1024;

function tooSmall(part: Part, size: number): CloneRefusedError {
  return new CloneRefusedError(
    'GROW_TOO_SMALL',
    `${part.label} cannot grow to ${size} bytes: the kernel resizes a btrfs only to ${smallestBtrfs} bytes or more`,
    `Clone it without --grow for this part, or onto a target with at least ${smallestBtrfs - size} bytes more behind it.`,
    { part: part.number, size, needed: smallestBtrfs },
  );
}

function blocked(part: Part, by: string): CloneRefusedError {
  return new CloneRefusedError(
    'GROW_BLOCKED',
    `${part.label} cannot grow: ${by} is right behind it`,
    'Only a part with free space behind it can grow. Leave out what stands there (--only, --skip), or grow another part.',
    { part: part.number, behind: by },
  );
}

function findPart(name: string, copied: readonly Part[], sourceNumbers: ReadonlyMap<number, number> | undefined): Part {
  const numberOf = ({ number }: Part) => sourceNumbers?.get(number) ?? number;
  const byNumber = copied.filter((part) => String(numberOf(part)) === name);
  const found = byNumber.length > 0 ? byNumber : copied.filter(({ entry, fs }) => [entry?.name, fs?.label].includes(name));
  const [part] = name === '' ? [] : found;
  const known = copied.map((each) => `${numberOf(each)}${each.entry?.name ? ` (${printable(each.entry.name)})` : ''}`).join(', ');
  if (part === undefined || part.entry === undefined) {
    throw new CloneRefusedError(
      'GROW_NO_SUCH_PART',
      `--grow ${printable(name)}: no part with that number or label is copied`,
      `The parts that are copied: ${known}.`,
      { wanted: name },
    );
  }
  if (found.length > 1) {
    throw new CloneRefusedError(
      'GROW_AMBIGUOUS',
      `--grow ${printable(name)}: ${found.map(({ label }) => label).join(' and ')} have that label`,
      'Name the part by its number.',
      { wanted: name },
    );
  }
  return part;
}

/** Tools of each method with the Debian and RPM packages that have them. */
const tools: Readonly<Record<GrowMethod, readonly (readonly [tool: string, debian: string, rpm: string])[]>> = {
  ext: [
    ['e2fsck', 'e2fsprogs', 'e2fsprogs'],
    ['resize2fs', 'e2fsprogs', 'e2fsprogs'],
  ],
  xfs: [['xfs_growfs', 'xfsprogs', 'xfsprogs']],
  btrfs: [['btrfs', 'btrfs-progs', 'btrfs-progs']],
  none: [],
};

/** To be asked before the fence. @throws MissingToolError; CloneRefusedError without root */
export async function refuseMissingGrowTools(growths: readonly PlannedGrowth[]): Promise<void> {
  const used = new Set(growths.map(({ method }) => method).filter((method) => method !== 'none'));
  if (used.size > 0 && process.getuid?.() !== 0) {
    throw new CloneRefusedError('NEEDS_ROOT', 'growing a file system needs root', 'Run it with sudo, or without --grow.');
  }
  for (const method of used) {
    for (const [tool, debian, rpm] of tools[method])
      if (!(await isInstalled(tool))) throw new MissingToolError(tool, debian, rpm);
  }
}

/** System tools stand in directories that an ordinary user's PATH may lack. */
function searchPath(): string {
  return ['/usr/sbin', '/sbin', '/usr/bin', '/bin', process.env.PATH ?? ''].join(delimiter);
}

async function isInstalled(tool: string): Promise<boolean> {
  for (const folder of searchPath()
    .split(delimiter)
    .filter((path) => path !== '')) {
    const found = await access(join(folder, tool), constants.X_OK).then(
      () => true,
      (error: NodeJS.ErrnoException) => {
        if (['ENOENT', 'ENOTDIR', 'EACCES'].includes(error.code ?? '')) return false;
        throw error;
      },
    );
    if (found) return true;
  }
  return false;
}

/** A file system could not be grown; the target stays fenced. */
export class GrowFailedError extends IoError {
  constructor(growth: PlannedGrowth, detail: string, cause?: unknown) {
    super(`the ${growth.type} of ${growth.label} could not be grown to ${growth.after.length} bytes: ${detail}`, {
      code: 'GROW_FAILED',
      todo: 'Run the command again without --grow; the part can be grown later, on the target itself.',
      data: { part: growth.number, type: growth.type, detail },
      cause,
    });
  }
}

/**
 * Grows the file systems of the plan's growths to the size of their parts, each through a window of the target. To be called after
 * the copy was verified and before anything mounts the parts; the target must have been flushed.
 * @throws GrowFailedError, the signal's reason
 */
export async function growFileSystems(
  target: GuardedTarget,
  { growths }: { readonly growths: readonly PlannedGrowth[] },
  { signal }: { readonly signal?: AbortSignal } = {},
): Promise<void> {
  for (const growth of growths.filter(({ method }) => method !== 'none')) {
    signal?.throwIfAborted();
    const before = await sizeOf(target, growth);
    const window = await target.window(growth.after);
    try {
      await growOn(window.device, growth, signal);
    } finally {
      await window.close();
    }
    const size = await sizeOf(target, growth);
    if (size <= before && growth.after.length - before >= smallestGain) {
      throw new GrowFailedError(growth, `its tool reported success, but it has ${size} bytes as before`);
    }
  }
  await target.flush();
}

/** A file system may leave the last incomplete group of blocks unused. ext4's are of 128 MiB, less than 1/2 of one may stay free. */
const smallestGain = 256 * 1024 * 1024;

async function sizeOf(image: ImageSource, growth: PlannedGrowth): Promise<number> {
  const found = await identifyFileSystem(slice(image, growth.after));
  if (found?.type !== growth.type) throw new GrowFailedError(growth, `${found?.type ?? 'nothing'} is there instead`);
  return found.size;
}

async function growOn(device: string, growth: PlannedGrowth, signal: AbortSignal | undefined): Promise<void> {
  if (growth.method === 'ext') {
    // 1: errors were corrected, which a replayed journal counts as. resize2fs insists on a check.
    await run(growth, signal, 'e2fsck', ['-f', '-p', device], [0, 1]);
    await run(growth, signal, 'resize2fs', [device]);
    return;
  }
  const script = growth.method === 'xfs' ? growXfs : growBtrfs;
  await run(growth, signal, 'unshare', ['--mount', '--propagation', 'private', 'sh', '-c', script, 'sh', device]);
}

/**
 * Both grow only while mounted: in a mount namespace of their own, on a tmpfs that covers /mnt there, gone with the process. The host's
 * other mounts are not touched. XFS: the source, with the same UUID, may be mounted on this host.
 */
const onMount = (type: string, options: string, grow: string): string => `set -e
mount -n -t tmpfs -o mode=0700,size=64k doppel /mnt
mkdir /mnt/part
mount -n -c -t ${type} -o ${options}nosuid,nodev,noexec "$1" /mnt/part
${grow}
umount -n /mnt/part`;
const growXfs = onMount('xfs', 'nouuid,', 'xfs_growfs -d /mnt/part');
/** The kernel knows btrfs by its UUID: what was mounted must be the window and not the source. */
const growBtrfs = onMount(
  'btrfs',
  '',
  `devices=$(btrfs filesystem show --raw /mnt/part | sed -n 's/.* path //p')
if [ "$devices" != "$1" ]; then echo "the kernel mounts $devices instead of $1, because both have the same UUID" >&2; exit 1; fi
btrfs filesystem resize max /mnt/part`,
).concat('\nbtrfs device scan --forget "$1" || true');

async function run(
  growth: PlannedGrowth,
  signal: AbortSignal | undefined,
  tool: string,
  args: readonly string[],
  good: readonly number[] = [0],
): Promise<void> {
  const { execa } = await import('execa');
  const result = await execa(tool, args, {
    reject: false,
    stdin: 'ignore',
    all: true,
    env: { LC_ALL: 'C.UTF-8', PATH: searchPath() },
    ...(signal === undefined ? {} : { cancelSignal: signal }),
  });
  signal?.throwIfAborted();
  if (result.exitCode !== undefined && good.includes(result.exitCode) && result.signal === undefined) return;
  const how = result.signal ?? (result.exitCode === undefined ? (result.code ?? 'not started') : `exit ${result.exitCode}`);
  throw new GrowFailedError(growth, `${tool} failed (${how}): ${oneLine(result.all)}`, result.cause);
}

/** The end of what a tool printed on both its outputs. */
function oneLine(text: string): string {
  const lines = text.split('\n').map((line) => printable(line.trim()));
  return lines
    .filter((line) => line !== '')
    .join('; ')
    .slice(-500);
}
