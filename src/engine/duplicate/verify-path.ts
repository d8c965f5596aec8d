/** Compares one path of two file systems: type, permissions, owner, content, attributes. Reads only, follows no link. */
import { type BigIntStats, constants } from 'node:fs';
import { type FileHandle, lstat, open, readlink } from 'node:fs/promises';
import { seekData } from '../native/libc.ts';
import { getXattr, listXattrs } from '../native/xattr.ts';
import { TargetFileError } from '../persona/errors.ts';
import type { Change, FileState } from '../persona/tree.ts';
import type { PathAspect } from './verify-result.ts';

/** A path outside its tree: bytes, as names need not be UTF-8. */
export type HostPath = Buffer;

export interface Finding {
  readonly aspect: PathAspect;
  readonly detail: string;
}

/** Buffers for one comparison at a time. */
export interface Buffers {
  readonly wanted: Uint8Array;
  readonly found: Uint8Array;
}

export const STEP = 1 << 18;

/** Undefined when there is nothing. @throws TargetFileError */
export async function statOf(path: HostPath): Promise<BigIntStats | undefined> {
  try {
    return await lstat(path, { bigint: true });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw failed(path, error);
  }
}

export function failed(path: HostPath, error: unknown): TargetFileError {
  return new TargetFileError('reading', path.toString('utf8'), error);
}

type Side = { readonly path: HostPath; readonly stat: BigIntStats };

/** What differs between a path that the persona leaves alone and its copy. */
export async function compareAlike(source: Side, target: Side, buffers: Buffers): Promise<Finding[]> {
  const type = typeOf(source.stat);
  if (type !== typeOf(target.stat)) return [{ aspect: 'type', detail: `is a ${typeOf(target.stat)}, not a ${type}` }];
  const found = ownership(source.stat, target.stat, type);
  if (type === 'file') found.push(...(await compareFiles(source, target, buffers)));
  if (type === 'symbolic link') {
    const [wanted, is] = [await linkOf(source.path), await linkOf(target.path)];
    if (!wanted.equals(is)) found.push({ aspect: 'link', detail: `points to ${shown(is)}, not to ${shown(wanted)}` });
  }
  if (type.endsWith('device') && source.stat.rdev !== target.stat.rdev)
    found.push({ aspect: 'device', detail: `is device ${target.stat.rdev}, not ${source.stat.rdev}` });
  found.push(...compareAttributes(attributesOf(source.path), attributesOf(target.path)));
  return found;
}

/**
 * What differs between a path and what the persona writes there.
 * @param source what the persona replaced or found; undefined when there was nothing
 * @param directory of the source, whose label a new file gets
 */
export async function compareWritten(
  { after, before }: Change,
  target: Side,
  source: HostPath | undefined,
  directory: HostPath,
): Promise<Finding[]> {
  const type = typeOf(target.stat);
  if (after.type === 'absent') return [{ aspect: 'unexpected', detail: 'is there, and the persona removes it' }];
  if (type !== wrote[after.type])
    return [{ aspect: 'type', detail: `is a ${type}, not the ${wrote[after.type]} that the persona writes` }];
  if (after.type === 'symlink') {
    const is = await linkOf(target.path);
    if (is.equals(Buffer.from(after.target))) return [];
    return [{ aspect: 'link', detail: `points to ${shown(is)}, not to ${JSON.stringify(after.target)}` }];
  }
  const found = ownership(
    { mode: BigInt(after.mode), uid: BigInt(after.uid), gid: BigInt(after.gid) },
    target.stat,
    wrote[after.type],
  );
  if (after.type === 'file' && !(await holds(target, after)))
    found.push({ aspect: 'content', detail: 'does not hold what the persona writes' });
  found.push(...compareInherited(after, before, target.path, source, directory));
  return found;
}

const wrote = { file: 'file', symlink: 'symbolic link', directory: 'directory' } as const;

async function holds({ path, stat }: Side, { content }: FileState & { type: 'file' }): Promise<boolean> {
  if (stat.size !== BigInt(content.length)) return false;
  return withFile(path, async (file) => {
    const bytes = new Uint8Array(content.length);
    return (await readUpTo(file, bytes, 0)) === bytes.length && Buffer.compare(bytes, content) === 0;
  });
}

/** Attributes that vouch for the old content go with it. */
const contentBound = new Set(['security.capability', 'security.ima', 'security.evm']);

/** A file keeps the attributes of the one that it replaces; a new one gets its directory's label. ACLs follow the mode. */
function compareInherited(
  after: FileState,
  before: FileState,
  target: HostPath,
  source: HostPath | undefined,
  directory: HostPath,
): Finding[] {
  const counts = (name: string): boolean => !contentBound.has(name) && !name.startsWith('system.posix_acl_');
  const kept = source !== undefined && before.type === after.type;
  const wanted = kept ? attributesOf(source) : labelOf(directory);
  const filtered = (all: ReadonlyMap<string, Uint8Array>) => new Map([...all].filter(([name]) => counts(name)));
  return compareAttributes(filtered(wanted), filtered(attributesOf(target)));
}

function labelOf(path: HostPath): Map<string, Uint8Array> {
  const label = getXattr(path, 'security.selinux');
  return new Map(label === undefined ? [] : [['security.selinux', label]]);
}

function attributesOf(path: HostPath): Map<string, Uint8Array> {
  return new Map(listXattrs(path).map((name) => [name, getXattr(path, name) ?? new Uint8Array()]));
}

function compareAttributes(wanted: ReadonlyMap<string, Uint8Array>, found: ReadonlyMap<string, Uint8Array>): Finding[] {
  const names = [...new Set([...wanted.keys(), ...found.keys()])].sort();
  const differing = names.filter((name) => {
    const [a, b] = [wanted.get(name), found.get(name)];
    return a === undefined || b === undefined || Buffer.compare(a, b) !== 0;
  });
  if (differing.length === 0) return [];
  return [{ aspect: 'attributes', detail: `has other extended attributes (${differing.join(', ')})` }];
}

function ownership(wanted: Pick<BigIntStats, 'mode' | 'uid' | 'gid'>, found: BigIntStats, type: string): Finding[] {
  const findings: Finding[] = [];
  const bits = (mode: bigint) => (mode & 0o7777n).toString(8).padStart(4, '0');
  if (type !== 'symbolic link' && bits(wanted.mode) !== bits(found.mode))
    findings.push({ aspect: 'mode', detail: `has mode ${bits(found.mode)}, not ${bits(wanted.mode)}` });
  if (wanted.uid !== found.uid || wanted.gid !== found.gid)
    findings.push({ aspect: 'owner', detail: `belongs to ${found.uid}:${found.gid}, not ${wanted.uid}:${wanted.gid}` });
  return findings;
}

async function compareFiles(source: Side, target: Side, buffers: Buffers): Promise<Finding[]> {
  if (source.stat.size !== target.stat.size)
    return [{ aspect: 'size', detail: `has ${target.stat.size} bytes, not ${source.stat.size}` }];
  const findings: Finding[] = [];
  const at = await firstDifferingByte(source, target, buffers);
  if (at !== undefined) findings.push({ aspect: 'content', detail: `differs from byte ${at} on` });
  if (source.stat.mtimeNs !== target.stat.mtimeNs) findings.push({ aspect: 'time', detail: 'was modified at another time' });
  return findings;
}

async function firstDifferingByte(source: Side, target: Side, { wanted, found }: Buffers): Promise<number | undefined> {
  const size = Number(source.stat.size);
  if (size === 0) return undefined;
  const sparse = isSparse(source.stat) && isSparse(target.stat);
  return withFile(source.path, (a) =>
    withFile(target.path, async (b) => {
      for (let at = 0; at < size; ) {
        if (sparse) {
          const data = Math.min(seekData(a.fd, at) ?? size, seekData(b.fd, at) ?? size);
          if (data >= size) return undefined;
          at = Math.max(at, data);
        }
        const length = Math.min(STEP, size - at);
        const [left, right] = [wanted.subarray(0, length), found.subarray(0, length)];
        const [gotLeft, gotRight] = await both(readUpTo(a, left, at), readUpTo(b, right, at));
        // The size was the same: a file that ends early is damaged.
        if (gotLeft < length || gotRight < length) return at + Math.min(gotLeft, gotRight);
        if (Buffer.compare(left, right) !== 0) return at + left.findIndex((byte, index) => byte !== right[index]);
        at += length;
      }
      return undefined;
    }),
  );
}

/** Waits for both before an error comes out, as both use buffers that are shared. */
async function both<T>(a: Promise<T>, b: Promise<T>): Promise<[T, T]> {
  await Promise.allSettled([a, b]);
  return [await a, await b];
}

function isSparse({ blocks, size }: BigIntStats): boolean {
  return size > BigInt(STEP) && blocks * 512n < size;
}

/** Bytes read; fewer only at the end of the file. */
async function readUpTo(file: FileHandle, into: Uint8Array, offset: number): Promise<number> {
  let done = 0;
  while (done < into.length) {
    const { bytesRead } = await file.read(into, done, into.length - done, offset + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return done;
}

async function withFile<T>(path: HostPath, use: (file: FileHandle) => Promise<T>): Promise<T> {
  try {
    const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      return await use(file);
    } finally {
      await file.close();
    }
  } catch (error) {
    throw error instanceof TargetFileError ? error : failed(path, error);
  }
}

async function linkOf(path: HostPath): Promise<Buffer> {
  try {
    return await readlink(path, { encoding: 'buffer' });
  } catch (error) {
    throw failed(path, error);
  }
}

function shown(bytes: Buffer): string {
  return JSON.stringify(bytes.toString('utf8'));
}

export function typeOf({ mode }: Pick<BigIntStats, 'mode'>): string {
  const format = Number(mode & BigInt(constants.S_IFMT));
  return types.get(format) ?? `file of unknown type ${format.toString(8)}`;
}

const types: ReadonlyMap<number, string> = new Map([
  [constants.S_IFREG, 'file'],
  [constants.S_IFDIR, 'directory'],
  [constants.S_IFLNK, 'symbolic link'],
  [constants.S_IFCHR, 'character device'],
  [constants.S_IFBLK, 'block device'],
  [constants.S_IFIFO, 'fifo'],
  [constants.S_IFSOCK, 'socket'],
]);
