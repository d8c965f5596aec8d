/** What a file system tells of a file besides its status: chattr(1)'s flags, and where its bytes stand. Every function throws SystemCallError. */
import { callSync } from './libc.ts';

/** Numbers from linux/fs.h; the flags are 32 bits, whatever the name of the request says. */
const FS_IOC_GETFLAGS = 0x80086601;
const FS_IOC_SETFLAGS = 0x40086602;

/** The flags that chattr(1) sets, of an open file or directory. ENOTTY or EOPNOTSUPP where the file system has none. */
export function inodeFlags(fd: number): number {
  const word = new Uint8Array(8);
  callSync('ioctl', fd, FS_IOC_GETFLAGS, word);
  return new DataView(word.buffer).getUint32(0, true);
}

export function setInodeFlags(fd: number, flags: number): void {
  const word = new Uint8Array(8);
  new DataView(word.buffer).setUint32(0, flags, true);
  callSync('ioctl', fd, FS_IOC_SETFLAGS, word);
}

// linux/fiemap.h
const FS_IOC_FIEMAP = 0xc020660b;
const FIEMAP_HEADER = 32;
const FIEMAP_EXTENT = 56;
const FIEMAP_COUNT = 256;
const FIEMAP_EXTENT_LAST = 1;
const FIEMAP_EXTENT_UNKNOWN = 2;

/** A run of a file's bytes and where it stands on the file system's device; all but `flags` (FIEMAP_EXTENT_*) are bytes. */
export interface FileExtent {
  /** In the file. */
  readonly logical: number;
  /** On the device; not known with FIEMAP_EXTENT_UNKNOWN. */
  readonly offset: number;
  readonly length: number;
  readonly flags: number;
}

/** In ascending order. EOPNOTSUPP where the file system cannot tell. */
export function extentsOfFile(fd: number): FileExtent[] {
  const extents: FileExtent[] = [];
  const argument = new Uint8Array(FIEMAP_HEADER + FIEMAP_COUNT * FIEMAP_EXTENT);
  const view = new DataView(argument.buffer);
  for (let start = 0n; ; ) {
    argument.fill(0);
    view.setBigUint64(0, start, true);
    view.setBigUint64(8, 0xffff_ffff_ffff_ffffn - start, true);
    view.setUint32(24, FIEMAP_COUNT, true);
    callSync('ioctl', fd, FS_IOC_FIEMAP, argument);
    const count = view.getUint32(20, true);
    for (let i = 0; i < count; i++) {
      const at = FIEMAP_HEADER + i * FIEMAP_EXTENT;
      const flags = view.getUint32(at + 40, true);
      const logical = view.getBigUint64(at, true);
      const length = view.getBigUint64(at + 16, true);
      extents.push({
        logical: Number(logical),
        offset: Number(view.getBigUint64(at + 8, true)),
        length: Number(length),
        flags,
      });
      if ((flags & FIEMAP_EXTENT_LAST) !== 0) return extents;
      start = logical + length;
    }
    if (count === 0) return extents;
  }
}

/** Where the bytes of a file stand on its file system's device: ranges in bytes. What has no known place is left out. */
export function placesOfFile(fd: number): { readonly offset: number; readonly length: number }[] {
  return extentsOfFile(fd)
    .filter(({ flags }) => (flags & FIEMAP_EXTENT_UNKNOWN) === 0)
    .map(({ offset, length }) => ({ offset, length }));
}
