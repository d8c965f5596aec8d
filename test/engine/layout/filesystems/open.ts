/** A file, or a range of it, as an image: enough to give real file systems to their readers. */
import { open } from 'node:fs/promises';
import type { Extent, ImageSource } from '../../../../src/engine/image/contract.ts';

export async function openFile(path: string, offset = 0, length?: number): Promise<ImageSource> {
  const file = await open(path, 'r');
  const size = length ?? (await file.stat()).size - offset;
  let closed = false;
  return {
    name: path,
    size,
    sectorSize: 512,
    physicalSectorSize: 512,
    async *extents(): AsyncIterable<Extent> {
      yield { offset: 0, length: size, state: 'data' };
    },
    async read(into, at) {
      if (at < 0 || at + into.length > size) throw new RangeError(`read of ${into.length} bytes at ${at} runs over the end`);
      let done = 0;
      while (done < into.length) {
        const { bytesRead } = await file.read(into, done, into.length - done, offset + at + done);
        if (bytesRead === 0) throw new Error(`short read of ${path}`);
        done += bytesRead;
      }
    },
    async close() {
      if (!closed) await file.close();
      closed = true;
    },
  };
}

/** Bytes in memory as an image. */
export function memory(bytes: Uint8Array): ImageSource {
  return {
    name: 'memory',
    size: bytes.length,
    sectorSize: 512,
    physicalSectorSize: 512,
    async *extents(): AsyncIterable<Extent> {
      yield { offset: 0, length: bytes.length, state: 'data' };
    },
    async read(into, offset) {
      if (offset < 0 || offset + into.length > bytes.length) throw new RangeError('read runs over the end');
      into.set(bytes.subarray(offset, offset + into.length));
    },
    async close() {},
  };
}
