/** Reads that finish what they begin, into memory that is used again where there is some. */
import type { FileHandle } from 'node:fs/promises';

/** `size` bytes, of `room` if it has as many. */
export function roomFor(size: number, room: Uint8Array = new Uint8Array(0)): Uint8Array {
  return size <= room.length ? room.subarray(0, size) : new Uint8Array(size);
}

/** From byte `offset` of the file on. Answers how many bytes there were: fewer than asked for when the file ends before. */
export async function readInto(file: FileHandle, into: Uint8Array, offset: number): Promise<number> {
  for (let at = 0; at < into.length; ) {
    const { bytesRead } = await file.read(into, at, into.length - at, offset + at);
    if (bytesRead === 0) return at;
    at += bytesRead;
  }
  return into.length;
}
