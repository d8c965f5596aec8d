/**
 * System calls that Node lacks, through libc. The library is loaded at first use.
 * Blocking calls run on the thread pool (UV_THREADPOOL_SIZE); quick ones are synchronous.
 * Every function throws SystemCallError with the call's name and errno name.
 */
import { createRequire } from 'node:module';
import { constants } from 'node:os';
import { callOnPool, type ForeignFunction } from './foreign.ts';

/** A failed system call: `syscall`, `errno` and its name in `errnoName`, as EIO. */
export class SystemCallError extends Error {
  readonly syscall: string;
  readonly errno: number;
  readonly errnoName: string;

  constructor(syscall: string, errno: number) {
    const name = errnoNames.get(errno) ?? `errno ${errno}`;
    super(`${syscall}: ${name}`);
    this.name = 'SystemCallError';
    this.syscall = syscall;
    this.errno = errno;
    this.errnoName = name;
  }
}

const errnoNames = new Map(Object.entries(constants.errno).map(([name, value]) => [value, name]));

type Native = ((...args: unknown[]) => number) & ForeignFunction;
interface Libc {
  readonly errno: () => number;
  readonly functions: ReadonlyMap<string, Native>;
}

const prototypes = {
  lseek: 'int64 lseek(int fd, int64 offset, int whence)',
  fallocate: 'int fallocate(int fd, int mode, int64 offset, int64 length)',
  sync_file_range: 'int sync_file_range(int fd, int64 offset, int64 length, uint flags)',
  posix_fadvise: 'int posix_fadvise(int fd, int64 offset, int64 length, int advice)',
  ioctl: 'int ioctl(int fd, ulong request, _Inout_ uint8_t *argument)',
  flock: 'int flock(int fd, int operation)',
  mmap: 'void *mmap(void *address, size_t length, int protection, int flags, int fd, int64 offset)',
  poll: 'int poll(_Inout_ uint8_t *fds, ulong count, int timeout)',
  munmap: 'int munmap(void *address, size_t length)',
  mincore: 'int mincore(void *address, size_t length, _Out_ uint8_t *resident)',
  syncfs: 'int syncfs(int fd)',
  // What glibc does not wrap, by syscall(2).
  cachestat: 'int64 syscall(int64 number, uint fd, uint8_t *range, _Out_ uint8_t *counts, uint flags)',
  fsopen: 'int64 syscall(int64 number, str type, uint flags)',
  fsconfig: 'int64 syscall(int64 number, int fd, uint command, str key, str value, int auxiliary)',
  fsmount: 'int64 syscall(int64 number, int fd, uint flags, uint attributes)',
} as const;

let loaded: Libc | undefined;

/** Loads the library, for who has to wait for something else anyway. */
export function loadLibc(): void {
  libc();
}

function libc(): Libc {
  if (loaded === undefined) {
    const koffi = createRequire(import.meta.url)('koffi');
    const library = koffi.load(null);
    const functions = Object.entries(prototypes).map(([name, prototype]) => [name, library.func(prototype)] as const);
    loaded = { errno: () => koffi.errno(), functions: new Map(functions) };
  }
  return loaded;
}

function native(name: keyof typeof prototypes): Native {
  return libc().functions.get(name) as Native;
}

/** Calls one of the functions above in this thread. */
export function callSync(name: keyof typeof prototypes, ...args: unknown[]): number {
  const result = native(name)(...args);
  if (Number(result) === -1) throw new SystemCallError(name, libc().errno());
  return Number(result);
}

/** Calls one of the functions above on the thread pool. */
export function call(name: keyof typeof prototypes, ...args: unknown[]): Promise<number> {
  return callOnPool(native(name), args, (result: number | bigint) => {
    if (Number(result) === -1) throw new SystemCallError(name, libc().errno());
    return Number(result);
  });
}

const SEEK_DATA = 3;
const SEEK_HOLE = 4;

/** First byte at or after `offset` that is not in a hole; undefined when only a hole follows. */
export function seekData(fd: number, offset: number): number | undefined {
  try {
    return callSync('lseek', fd, offset, SEEK_DATA);
  } catch (error) {
    if (error instanceof SystemCallError && error.errnoName === 'ENXIO') return undefined;
    throw error;
  }
}

/** First byte at or after `offset` that is in a hole; the end of the file counts as one. */
export function seekHole(fd: number, offset: number): number {
  return callSync('lseek', fd, offset, SEEK_HOLE);
}

const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;

/**
 * Deallocates the range of a regular file or (sector-aligned) of a block device, which then reads as zeros.
 * EOPNOTSUPP where the file system or device cannot.
 */
export async function punchHole(fd: number, offset: number, length: number): Promise<void> {
  await call('fallocate', fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
}

/** Sets space aside for a range of a regular file; what it holds stays. EOPNOTSUPP where the file system cannot. */
export async function reserveSpace(fd: number, offset: number, length: number): Promise<void> {
  await call('fallocate', fd, FALLOC_FL_KEEP_SIZE, offset, length);
}

const SYNC_FILE_RANGE_WRITE = 2;

/** Starts writing the dirty pages of the range to the medium without waiting for them. */
export async function startWriteback(fd: number, offset: number, length: number): Promise<void> {
  await call('sync_file_range', fd, offset, length, SYNC_FILE_RANGE_WRITE);
}

const POSIX_FADV_DONTNEED = 4;

/** Asks the kernel to forget the clean cached pages of the range; dirty and locked ones stay. Length 0 means to the end. */
export async function dropCache(fd: number, offset: number, length: number): Promise<void> {
  const errno = await call('posix_fadvise', fd, offset, length, POSIX_FADV_DONTNEED);
  if (errno !== 0) throw new SystemCallError('posix_fadvise', errno);
}

/** Waits until one of the events of poll(2) is there, or `timeout` milliseconds; gives those that are, 0 when none came. */
export async function pollDescriptor(fd: number, events: number, timeout: number): Promise<number> {
  const argument = new Uint8Array(8);
  const view = new DataView(argument.buffer);
  view.setInt32(0, fd, true);
  view.setInt16(4, events, true);
  return (await call('poll', argument, 1, timeout)) === 0 ? 0 : view.getUint16(6, true);
}

/** Waits until the file system of an open file is on its medium, and tells what could not be written since the file was opened. */
export async function syncFileSystem(fd: number): Promise<void> {
  await call('syncfs', fd);
}

const LOCK_SH = 1;
const LOCK_EX = 2;
const LOCK_NB = 4;

/** Takes the advisory whole-file lock. False when another process holds it. It goes away with the descriptor. */
export function tryLock(fd: number, mode: 'exclusive' | 'shared' = 'exclusive'): boolean {
  try {
    callSync('flock', fd, (mode === 'exclusive' ? LOCK_EX : LOCK_SH) | LOCK_NB);
    return true;
  } catch (error) {
    if (error instanceof SystemCallError && (error.errnoName === 'EWOULDBLOCK' || error.errnoName === 'EAGAIN')) return false;
    throw error;
  }
}

const PROT_READ = 1;
const MAP_SHARED = 1;

/** The same number on every architecture (asm-generic/unistd.h). */
const SYS_CACHESTAT = 451;
const COUNTS_SIZE = 40;
/** Bytes; one call of mincore(2) may be asked about this much. */
const MINCORE_STEP = 1 << 30;

/** How many pages (4096 bytes) of the range are in the page cache. `offset` must be a multiple of 4096. */
export function residentPages(fd: number, offset: number, length: number): number {
  try {
    const counts = new Uint8Array(COUNTS_SIZE);
    callSync('cachestat', SYS_CACHESTAT, fd, rangeArgument(offset, length), counts, 0);
    return Number(new DataView(counts.buffer).getBigUint64(0, true));
  } catch (error) {
    // Before Linux 6.5, in a sandbox that does not know it, or of a file that is somebody else's.
    if (!(error instanceof SystemCallError) || !['ENOSYS', 'EPERM', 'EOPNOTSUPP'].includes(error.errnoName)) throw error;
  }
  let pages = 0;
  for (let at = offset; at < offset + length; at += MINCORE_STEP)
    pages += mincorePages(fd, at, Math.min(MINCORE_STEP, offset + length - at));
  return pages;
}

/** The same by mincore(2), which looks at every page of the range, whether there is one or not: some 15 ms for each GiB. */
export function mincorePages(fd: number, offset: number, length: number): number {
  const address = native('mmap')(null, length, PROT_READ, MAP_SHARED, fd, offset);
  if (BigInt.asIntN(64, BigInt(addressOf(address))) === -1n) throw new SystemCallError('mmap', libc().errno());
  try {
    const resident = new Uint8Array(Math.ceil(length / 4096));
    callSync('mincore', address, length, resident);
    let pages = 0;
    for (const flags of resident) pages += flags & 1;
    return pages;
  } finally {
    callSync('munmap', address, length);
  }
}

function addressOf(pointer: unknown): bigint {
  return BigInt(createRequire(import.meta.url)('koffi').address(pointer));
}

/** Offset and length as two little-endian words of 64 bits, as several calls take them. */
export function rangeArgument(offset: number, length: number): Uint8Array {
  const argument = new Uint8Array(16);
  const view = new DataView(argument.buffer);
  view.setBigUint64(0, BigInt(offset), true);
  view.setBigUint64(8, BigInt(length), true);
  return argument;
}
