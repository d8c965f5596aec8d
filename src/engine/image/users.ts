/**
 * Who uses a file or block device right now: mounts, swap, device-mapper and md holders, loop devices, locks (running
 * virtual machines). Read from /proc and /sys; see proc(5), Documentation/ABI/testing/sysfs-block and QEMU's docs/devel/block locking.
 */
import { readdir, readFile, readlink, realpath, stat } from 'node:fs/promises';
import { basename } from 'node:path';

export interface ImageUser {
  readonly kind: 'mount' | 'swap' | 'holder' | 'loop' | 'lock';
  /** Whether the user may change the image while it is read. */
  readonly writes: boolean;
  /** A clause for messages: `mounted on /srv (read-write)`. */
  readonly what: string;
}

/** One block device or file in the chain below an image. */
interface Node {
  /** `8:1` for a block device, `file:DEV:INO` for a regular file. */
  readonly id: string;
  readonly path: string;
  /** Kernel name of a block device, as `sda1`. */
  readonly block?: string;
}

/**
 * Everything that uses the image at `path`: of a whole disk also its partitions, of a partition also what has the whole disk,
 * and what is stacked above it (a file system on a loop device over the file).
 */
export async function imageUsers(path: string): Promise<ImageUser[]> {
  const node = await nodeOf(path);
  const related =
    node.block === undefined ? [node] : [node, ...(await partitionsOf(node.block)), ...(await parentOf(node.block))];
  const found: ImageUser[] = [];
  for (const each of related) {
    found.push(...(await mountsOf(each)), ...(await swapsOf(each)), ...(await holdersOf(each)), ...(await loopsOver(each)));
    if (each.block === undefined) found.push(...(await locksOn(each)));
  }
  return found;
}

/** How two images meet: `same` bytes, one `inside` or below the other, or not at all. */
export async function sharesStorage(a: string, b: string): Promise<boolean> {
  const [chainA, chainB] = [await chainBelow(a), await chainBelow(b)];
  const idsB = new Set(chainB.map((node) => node.id));
  const shared = chainA.find((node) => idsB.has(node.id));
  if (shared === undefined) return false;
  // Two different partitions of one disk meet only in the disk.
  const onlyParent = shared.id !== chainA[0]?.id && shared.id !== chainB[0]?.id;
  return !(onlyParent && (await isPartition(chainA[0])) && (await isPartition(chainB[0])));
}

async function isPartition(node: Node | undefined): Promise<boolean> {
  return node?.block !== undefined && (await readOptional(`/sys/class/block/${node.block}/partition`)) !== undefined;
}

/** The image itself first, then what it stands on: the disk of a partition, the backing file of a loop device, the slaves of a mapping. */
async function chainBelow(path: string): Promise<Node[]> {
  const chain: Node[] = [];
  const todo = [await nodeOf(path)];
  for (let node = todo.shift(); node !== undefined; node = todo.shift()) {
    const { id, block } = node;
    if (chain.some((seen) => seen.id === id)) continue;
    chain.push(node);
    if (block === undefined) continue;
    todo.push(...(await parentOf(block)));
    const backing = await loopBackingFile(block);
    if (backing !== undefined) todo.push(...(await nodesThatExist([backing])));
    const slaves = await listOptional(`/sys/class/block/${block}/slaves`);
    todo.push(...(await nodesThatExist(slaves.map((name) => `/dev/${name}`))));
  }
  return chain;
}

/** Path of the file behind a loop device (or behind the loop device that this partition belongs to). */
export async function loopBackingFile(block: string): Promise<string | undefined> {
  const own = await readOptional(`/sys/class/block/${block}/loop/backing_file`);
  return own ?? (await readOptional(`/sys/class/block/${block}/../loop/backing_file`));
}

/** Kernel name of a block device, as `sda1` for /dev/disk/by-id/...; undefined for a regular file. */
export async function blockName(path: string): Promise<string | undefined> {
  const { rdev, isBlock } = await statBlock(path);
  return isBlock ? basename(await readlink(`/sys/dev/block/${deviceNumber(rdev)}`)) : undefined;
}

async function nodeOf(path: string): Promise<Node> {
  const real = await realpath(path);
  const { rdev, isBlock, dev, ino } = await statBlock(real);
  if (!isBlock) return { id: `file:${deviceNumber(dev)}:${ino}`, path: real };
  return { id: deviceNumber(rdev), path: real, block: basename(await readlink(`/sys/dev/block/${deviceNumber(rdev)}`)) };
}

async function statBlock(path: string): Promise<{ rdev: bigint; dev: bigint; ino: bigint; isBlock: boolean }> {
  const stats = await stat(path, { bigint: true });
  return { rdev: stats.rdev, dev: stats.dev, ino: stats.ino, isBlock: stats.isBlockDevice() };
}

/** Linux encodes device numbers with 12 bits of major and 20 bits of minor in two pieces; see gnu_dev_major(3). */
function deviceNumber(device: bigint): string {
  const major = ((device >> 8n) & 0xfffn) | ((device >> 32n) & ~0xfffn);
  const minor = (device & 0xffn) | ((device >> 12n) & ~0xffn);
  return `${major}:${minor}`;
}

async function blockNode(name: string): Promise<Node | undefined> {
  const number = await readOptional(`/sys/class/block/${name}/dev`);
  return number === undefined ? undefined : { id: number, path: `/dev/${name}`, block: name };
}

async function partitionsOf(disk: string): Promise<Node[]> {
  const entries = await listOptional(`/sys/class/block/${disk}`);
  const nodes = await Promise.all(entries.filter((name) => name.startsWith(disk)).map(blockNode));
  return nodes.filter((node) => node !== undefined);
}

async function parentOf(block: string): Promise<Node[]> {
  if ((await readOptional(`/sys/class/block/${block}/partition`)) === undefined) return [];
  const parent = await blockNode(basename(await realpath(`/sys/class/block/${block}/..`)));
  return parent === undefined ? [] : [parent];
}

async function mountsOf(node: Node): Promise<ImageUser[]> {
  if (node.block === undefined) return [];
  const found: ImageUser[] = [];
  for (const line of (await readFile('/proc/self/mountinfo', 'utf8')).split('\n')) {
    const [left = '', right = ''] = line.split(' - ');
    const fields = left.split(' ');
    const [, source = '', superOptions = ''] = right.split(' ');
    if (fields[2] !== node.id && !(source.startsWith('/dev/') && (await sameDevice(source, node)))) continue;
    const writes = superOptions.split(',').includes('rw');
    found.push({
      kind: 'mount',
      writes,
      what: `${node.path} is mounted on ${unescapeOctal(fields[4] ?? '?')} (${writes ? 'read-write' : 'read-only'})`,
    });
  }
  return found;
}

/** btrfs mounts carry an anonymous device number; only their source names the device. */
async function sameDevice(source: string, node: Node): Promise<boolean> {
  const [same] = await nodesThatExist([unescapeOctal(source)]);
  return same?.id === node.id;
}

async function swapsOf(node: Node): Promise<ImageUser[]> {
  const lines = ((await readOptional('/proc/swaps')) ?? '').split('\n').slice(1);
  const nodes = await nodesThatExist(
    lines.map((line) => unescapeOctal(line.split(/\s+/)[0] ?? '')).filter((path) => path !== ''),
  );
  return nodes.some((swap) => swap.id === node.id)
    ? [{ kind: 'swap', writes: true, what: `${node.path} is in use as swap` }]
    : [];
}

async function holdersOf(node: Node): Promise<ImageUser[]> {
  if (node.block === undefined) return [];
  const holders = await listOptional(`/sys/class/block/${node.block}/holders`);
  return holders.map((name) => ({
    kind: 'holder',
    writes: true,
    what: `${node.path} is held by /dev/${name} (LVM, RAID or encryption)`,
  }));
}

async function loopsOver(node: Node): Promise<ImageUser[]> {
  const found: ImageUser[] = [];
  for (const name of await listOptional('/sys/class/block')) {
    if (!name.startsWith('loop')) continue;
    const backing = await readOptional(`/sys/class/block/${name}/loop/backing_file`);
    if (backing === undefined) continue;
    const [file] = await nodesThatExist([backing]);
    if (file?.id !== node.id) continue;
    const above = await imageUsers(`/dev/${name}`);
    found.push(
      { kind: 'loop', writes: above.some((user) => user.writes), what: `${node.path} is attached to /dev/${name}` },
      ...above,
    );
  }
  return found;
}

/**
 * QEMU locks byte 100 + n of an image for each permission n that it has, and byte 200 + n for each that it denies others;
 * permission 1 is writing.
 */
const QEMU_WRITES = 101;

async function locksOn(node: Node): Promise<ImageUser[]> {
  const [, major, minor, inode] = node.id.split(':');
  const device = `${hexPair(major)}:${hexPair(minor)}`;
  const found = new Map<string, ImageUser>();
  for (const line of ((await readOptional('/proc/locks')) ?? '').split('\n')) {
    const match =
      /^\d+: (?<type>\w+)\s+\w+\s+(?<mode>\w+)\s+(?<pid>-?\d+) (?<device>[0-9a-f]+:[0-9a-f]+):(?<inode>\d+) (?<first>\d+) (?<last>\w+)/.exec(
        line,
      );
    const lock = match?.groups;
    if (lock === undefined || lock.inode !== inode || lock.device !== device) continue;
    const covers = Number(lock.first) <= QEMU_WRITES && (lock.last === 'EOF' || Number(lock.last) >= QEMU_WRITES);
    const writes = lock.mode === 'WRITE' || covers;
    const owner =
      lock.pid === '-1' || lock.pid === undefined ? 'another process, probably a virtual machine' : `process ${lock.pid}`;
    const previous = found.get(owner);
    found.set(owner, { kind: 'lock', writes: writes || previous?.writes === true, what: `${node.path} is locked by ${owner}` });
  }
  return [...found.values()];
}

/** /proc/locks writes device numbers in hex, two digits at least. */
function hexPair(number: string | undefined): string {
  return Number(number).toString(16).padStart(2, '0');
}

/** What /proc/locks and /proc/swaps still name may be gone; whatever cannot be looked at does not lie below an image that can. */
async function nodesThatExist(paths: readonly string[]): Promise<Node[]> {
  const nodes = await Promise.all(
    paths.map(async (path) => {
      try {
        return await nodeOf(path);
      } catch (error) {
        if (isMissing(error)) return undefined;
        throw error;
      }
    }),
  );
  return nodes.filter((node) => node !== undefined);
}

async function readOptional(path: string): Promise<string | undefined> {
  try {
    return (await readFile(path, 'utf8')).trim();
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

async function listOptional(path: string): Promise<string[]> {
  try {
    return (await readdir(path)).sort();
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

function isMissing(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return code === 'ENOENT' || code === 'ENOTDIR' || code === 'ENXIO' || code === 'ENODEV';
}

/** /proc writes blanks and backslashes in paths as three octal digits. */
function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}
