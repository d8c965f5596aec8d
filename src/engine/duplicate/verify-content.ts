/**
 * Whether two files of mounted file systems hold the same bytes. Synchronous: files are many and mostly small, and waiting for a
 * thread takes longer than any of the calls. Links are not followed, nothing is written.
 */
import { type BigIntStats, closeSync, constants, openSync, readSync } from 'node:fs';
import type { ByteRange } from '../image/contract.ts';
import { extentsOfFile, type FileExtent, inodeFlags } from '../native/inode.ts';
import { SystemCallError, seekData } from '../native/libc.ts';
import { TargetFileError } from '../persona/errors.ts';
import type { IntervalSet } from '../protect/intervals.ts';

/** A path outside its tree: bytes, as names need not be UTF-8. */
export type HostPath = Buffer;

export interface Side {
  readonly path: HostPath;
  readonly stat: BigIntStats;
}

/** What is known from comparing the blocks of both parts. Bytes of the part. */
export interface ComparedBlocks {
  /** What was looked at. */
  readonly compared: IntervalSet;
  /** What of it is not the same. */
  readonly differing: IntervalSet;
}

/** Which side could not be read (EIO: the medium fails, or a checksum of the file system is wrong), and so is not compared. */
export interface Unreadable {
  readonly unreadable: 'source' | 'target';
}

const STEP = 1 << 18;
const wanted = Buffer.alloc(STEP);
const found = Buffer.alloc(STEP);

export function failed(path: HostPath, error: unknown): TargetFileError {
  return new TargetFileError('reading', path.toString('utf8'), error);
}

/** @throws TargetFileError for whatever `use` throws but TargetFileError */
export function withOpen<T>(path: HostPath, use: (fd: number) => T): T {
  try {
    const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOATIME);
    try {
      return use(fd);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    throw error instanceof TargetFileError ? error : failed(path, error);
  }
}

/** Of two open regular files of the same size. Undefined when there is none. @throws TargetFileError */
export function firstDifferingByte(
  source: Side & { readonly fd: number },
  target: Side & { readonly fd: number },
  blocks: ComparedBlocks | undefined,
): number | Unreadable | undefined {
  const size = Number(source.stat.size);
  if (size === 0 || (blocks !== undefined && sameBlocks(source.fd, target.fd, blocks))) return undefined;
  const sparse = isSparse(source.stat) && isSparse(target.stat);
  for (let at = 0; at < size; ) {
    if (sparse) {
      const data = Math.min(seekData(source.fd, at) ?? size, seekData(target.fd, at) ?? size);
      if (data >= size) return undefined;
      at = Math.max(at, data);
    }
    const length = Math.min(STEP, size - at);
    const left = wanted.subarray(0, length);
    const right = found.subarray(0, length);
    const gotLeft = tryRead(source, left, at);
    if (gotLeft === undefined) return { unreadable: 'source' };
    const gotRight = tryRead(target, right, at);
    if (gotRight === undefined) return { unreadable: 'target' };
    // The size was the same: a file that ends early is damaged.
    if (gotLeft < length || gotRight < length) return at + Math.min(gotLeft, gotRight);
    if (left.compare(right) !== 0) return at + left.findIndex((byte, index) => byte !== right[index]);
    at += length;
  }
  return undefined;
}

/** Undefined when the medium fails. */
function tryRead({ path, fd }: Side & { readonly fd: number }, into: Uint8Array, offset: number): number | undefined {
  try {
    return readUpTo(fd, into, offset);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EIO') return undefined;
    throw failed(path, error);
  }
}

/** linux/fiemap.h: the last one, merged for us, shared with another file; all others keep the place from being trusted. */
const plainFlags = 0x1 | 0x1000 | 0x2000;
/** Reserved and never written: reads as zeros, whatever stands there. */
const FIEMAP_EXTENT_UNWRITTEN = 0x800;

/** Whether both files lie in the same blocks, and these were compared and are the same. */
function sameBlocks(source: number, target: number, { compared, differing }: ComparedBlocks): boolean {
  const [ours, theirs] = [placesOf(source), placesOf(target)];
  return (
    ours !== undefined &&
    ours.length === theirs?.length &&
    ours.every((extent, index) => {
      const other = theirs[index] as FileExtent;
      const { logical, offset, length, flags } = extent;
      if (logical !== other.logical || offset !== other.offset || length !== other.length || flags !== other.flags) return false;
      if ((flags & FIEMAP_EXTENT_UNWRITTEN) !== 0) return (flags & ~(plainFlags | FIEMAP_EXTENT_UNWRITTEN)) === 0;
      const range: ByteRange = { offset, length };
      return (flags & ~plainFlags) === 0 && compared.covers(range) && !differing.touches(range);
    })
  );
}

/** Undefined where the file system does not tell. */
function placesOf(fd: number): FileExtent[] | undefined {
  try {
    return extentsOfFile(fd);
  } catch (error) {
    if (error instanceof SystemCallError && without.has(error.errnoName)) return undefined;
    throw error;
  }
}

const without: ReadonlySet<string> = new Set(['ENOTTY', 'EOPNOTSUPP', 'EINVAL']);

/** What chattr(1) sets and people care for, of linux/fs.h; the others tell how a file is kept. */
const told =
  0x1 | 0x2 | 0x8 | 0x10 | 0x20 | 0x40 | 0x80 | 0x4000 | 0x8000 | 0x10000 | 0x20000 | 0x800000 | 0x20000000 | 0x40000000;

/** Of an open file or directory; 0 where the file system has none. */
export function flagsOf(fd: number): number {
  try {
    return (inodeFlags(fd) & told) >>> 0;
  } catch (error) {
    if (error instanceof SystemCallError && without.has(error.errnoName)) return 0;
    throw error;
  }
}

function isSparse({ blocks, size }: BigIntStats): boolean {
  return size > BigInt(STEP) && blocks * 512n < size;
}

/** Bytes read; fewer only at the end of the file. */
export function readUpTo(fd: number, into: Uint8Array, offset: number): number {
  let done = 0;
  while (done < into.length) {
    const got = readSync(fd, into, done, into.length - done, offset + done);
    if (got === 0) break;
    done += got;
  }
  return done;
}
