/** Positioned reads and writes that finish what they begin: the kernel may move fewer bytes than asked. */
import { ImageIoError, type ImageOperation } from './errors.ts';

/** What one system call does; tests inject faults here. Each answers the number of bytes that it moved. */
export interface RawIo {
  read(into: Uint8Array, offset: number): Promise<number>;
  write(from: Uint8Array, offset: number): Promise<number>;
}

/** The part of `node:fs/promises` FileHandle that an image needs. */
interface PositionedFile {
  read(buffer: Uint8Array, offset: number, length: number, position: number): Promise<{ bytesRead: number }>;
  write(buffer: Uint8Array, offset: number, length: number, position: number): Promise<{ bytesWritten: number }>;
}

export function rawIo(file: PositionedFile): RawIo {
  return {
    async read(into, offset) {
      return (await file.read(into, 0, into.length, offset)).bytesRead;
    },
    async write(from, offset) {
      return (await file.write(from, 0, from.length, offset)).bytesWritten;
    },
  };
}

/** Fills `into`. @throws ImageIoError when the image ends early or a call fails. */
export async function readFully(io: RawIo, image: string, into: Uint8Array, offset: number): Promise<void> {
  await move(
    'read',
    image,
    into,
    offset,
    (rest, at) => io.read(rest, at),
    'the image ended early: was it truncated or did it shrink?',
  );
}

/** Writes all of `from`. @throws ImageIoError when nothing more can be written or a call fails. */
export async function writeFully(io: RawIo, image: string, from: Uint8Array, offset: number): Promise<void> {
  await move('write', image, from, offset, (rest, at) => io.write(rest, at), 'the medium took no more bytes');
}

async function move(
  operation: ImageOperation,
  image: string,
  bytes: Uint8Array,
  offset: number,
  step: (rest: Uint8Array, at: number) => Promise<number>,
  stalled: string,
): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    const range = { offset: offset + done, length: bytes.length - done };
    let moved: number;
    try {
      moved = await step(done === 0 ? bytes : bytes.subarray(done), range.offset);
    } catch (cause) {
      throw new ImageIoError(image, operation, { ...range, cause });
    }
    if (moved <= 0) throw new ImageIoError(image, operation, { ...range, detail: stalled });
    done += moved;
  }
}

/** @throws ImageIoError unless `[offset, offset + length)` lies inside an image of `size` bytes. */
export function checkRange(image: string, operation: ImageOperation, offset: number, length: number, size: number): void {
  if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || offset < 0 || length < 0 || offset + length > size) {
    throw new ImageIoError(image, operation, {
      offset,
      length,
      detail: `the range does not lie inside the image (${size} bytes)`,
    });
  }
}
