/** What an image is to the engine: a sequence of bytes with a size and a block size. Offsets and lengths are bytes. */

/** A half-open byte range `[offset, offset + length)`. */
export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

/** `data` may hold anything, `zero` reads as zeros, `unused` belongs to nobody (its content does not matter). */
export type ExtentState = 'data' | 'zero' | 'unused';

export interface Extent extends ByteRange {
  readonly state: ExtentState;
}

/**
 * A readable image.
 *
 * - `read` fills the whole of `into` from `offset` or throws; a short read is an error, also at the end of the image.
 *   Reads may run side by side. Any Uint8Array will do; page-aligned ones are faster.
 * - `extents` covers `[0, size)` in order, without gaps or overlaps, neighbours of equal state may occur.
 * - `close` is idempotent. Anything else after `close` throws.
 * - Failed system calls surface as `ImageIoError` with the byte range.
 */
export interface ImageSource {
  /** As the user named it; used in messages. */
  readonly name: string;
  readonly size: number;
  /** Logical sector size. */
  readonly sectorSize: number;
  /** True when nothing told the sector size (a regular file): the partition table inside may say another. */
  readonly sectorSizeAssumed?: boolean;
  /** Smallest unit that the medium writes at once; at least `sectorSize`. */
  readonly physicalSectorSize: number;
  extents(): AsyncIterable<Extent>;
  read(into: Uint8Array, offset: number): Promise<void>;
  close(): Promise<void>;
}

/** How a read-back got past the page cache. `none`: it could not be proved. */
export type CacheBypass = 'direct' | 'dropped' | 'none';

/** Reads what the medium holds rather than what the page cache remembers. `close` is idempotent. */
export interface ReadBack {
  readonly bypass: CacheBypass;
  /** As `ImageSource.read`. Whole pages into buffers from `alignedBuffers` are faster. */
  read(into: Uint8Array, offset: number): Promise<void>;
  close(): Promise<void>;
}

/**
 * A writable image. In addition to `ImageSource`:
 *
 * - `write` writes the whole of `from` or throws; a short write is continued or an error, never ignored.
 * - `zero` makes the range read as zeros, deallocating where the medium can; `discard` gives the range back (content undefined).
 * - `startWriteback` is a hint to begin writing the range to the medium; it never throws for lack of support.
 * - `reserve` sets space aside for a range that is about to be written, where the medium has to find some; what the range holds
 *   stays. It fails as a write would when there is none.
 * - `flush` returns when everything written before is on stable storage.
 * - `readBack` opens the medium for verification, all of it or only these ranges; the caller has flushed before.
 * - `openWindow` shows the range to the kernel as a block device. The caller has flushed before, and writes nothing itself to
 *   the range until the window is closed; a window that is closed has written everything to stable storage.
 */
export interface ImageTarget extends ImageSource {
  write(from: Uint8Array, offset: number): Promise<void>;
  zero(offset: number, length: number): Promise<void>;
  discard(offset: number, length: number): Promise<void>;
  startWriteback(offset: number, length: number): Promise<void>;
  reserve?(offset: number, length: number): Promise<void>;
  flush(): Promise<void>;
  readBack(only?: readonly ByteRange[]): Promise<ReadBack>;
  /** Kernel tools get to see nothing else of an image; of a target, they get it from the guard, which checks the range. */
  openWindow(range: ByteRange, options: { readonly readOnly: boolean }): Promise<Window>;
}

declare const guarded: unique symbol;

/** A target that refuses writes to protected regions. Only `guard()` in protect/ makes one; whatever writes takes only this. */
export type GuardedTarget = ImageTarget & {
  readonly [guarded]: true;
  /**
   * `openWindow` with a default: a loop device over exactly this range, for kernel file systems and their tools.
   * Both throw ProtectedRegionError when the range touches a region.
   */
  window(range: ByteRange, options?: { readonly readOnly?: boolean }): Promise<Window>;
};

/** A loop device with offset and size limit. `close` detaches it and is idempotent. */
export interface Window {
  readonly device: string;
  close(): Promise<void>;
}

/** Exclusive end of a range. */
export function end(range: ByteRange): number {
  return range.offset + range.length;
}

export function overlaps(a: ByteRange, b: ByteRange): boolean {
  return a.length > 0 && b.length > 0 && a.offset < end(b) && b.offset < end(a);
}
