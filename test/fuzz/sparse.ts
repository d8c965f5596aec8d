/** Images of which only the pages that are not zero are kept, and changes on top of them that leave the sample as it is. */
import { open, readFile, writeFile } from 'node:fs/promises';
import { deflateSync, inflateSync } from 'node:zlib';
import type { ByteRange, Extent, ImageSource } from '../../src/engine/image/contract.ts';

export const pageSize = 4096;
const zeroPage = Buffer.alloc(pageSize);

export class SparseBytes {
  readonly size: number;
  readonly pages: ReadonlyMap<number, Buffer>;

  constructor(size: number, pages: ReadonlyMap<number, Buffer>) {
    this.size = size;
    this.pages = pages;
  }

  static of(bytes: Uint8Array): SparseBytes {
    const pages = new Map<number, Buffer>();
    for (let at = 0; at < bytes.length; at += pageSize)
      keep(pages, at / pageSize, Buffer.from(bytes.subarray(at, at + pageSize)));
    return new SparseBytes(bytes.length, pages);
  }

  static async ofFile(path: string): Promise<SparseBytes> {
    const file = await open(path);
    try {
      const { size } = await file.stat();
      const pages = new Map<number, Buffer>();
      const chunk = Buffer.alloc(256 * pageSize);
      for (let at = 0; at < size; at += chunk.length) {
        const { bytesRead } = await file.read(chunk, 0, chunk.length, at);
        for (let from = 0; from < bytesRead; from += pageSize) {
          keep(pages, (at + from) / pageSize, chunk.subarray(from, Math.min(from + pageSize, bytesRead)));
        }
      }
      return new SparseBytes(size, pages);
    } finally {
      await file.close();
    }
  }

  async save(path: string): Promise<void> {
    const head = Buffer.from(JSON.stringify({ size: this.size, pages: [...this.pages.keys()] }));
    const length = Buffer.alloc(4);
    length.writeUInt32LE(head.length);
    await writeFile(path, deflateSync(Buffer.concat([length, head, ...this.pages.values()]), { level: 1 }));
  }

  static async load(path: string): Promise<SparseBytes> {
    const all = inflateSync(await readFile(path));
    const head = all.readUInt32LE(0);
    const { size, pages } = JSON.parse(all.toString('utf8', 4, 4 + head)) as { size: number; pages: number[] };
    const page = (index: number): Buffer => all.subarray(4 + head + index * pageSize, 4 + head + (index + 1) * pageSize);
    return new SparseBytes(size, new Map(pages.map((number, index) => [number, page(index)])));
  }
}

function keep(pages: Map<number, Buffer>, number: number, bytes: Buffer): void {
  if (bytes.equals(zeroPage.subarray(0, bytes.length))) return;
  const page = Buffer.alloc(pageSize);
  bytes.copy(page);
  pages.set(number, page);
}

/** A sample with changes. */
export class ChangedBytes {
  size: number;
  readonly base: SparseBytes;
  readonly #own = new Map<number, Buffer>();
  /** What was changed, as `offset+length: why`. */
  readonly log: string[] = [];
  /** Where, for putting checksums right. */
  readonly touched: ByteRange[] = [];

  constructor(base: SparseBytes) {
    this.base = base;
    this.size = base.size;
  }

  /** Bytes behind the end read as zeros. */
  get(offset: number, length: number): Buffer {
    const bytes = Buffer.alloc(length);
    this.#copy(bytes, offset);
    return bytes;
  }

  /** What lies behind the end is dropped. */
  set(offset: number, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; ) {
      const at = offset + done;
      if (at >= this.size) return;
      const step = Math.min(bytes.length - done, pageSize - (at % pageSize), this.size - at);
      this.#writable(Math.floor(at / pageSize)).set(bytes.subarray(done, done + step), at % pageSize);
      done += step;
    }
  }

  isZero(offset: number): boolean {
    const number = Math.floor(offset / pageSize);
    return !this.#own.has(number) && !this.base.pages.has(number);
  }

  /** As an image. `onRead` may refuse. */
  image(sectorSize = 512, onRead?: (offset: number, length: number) => void): ImageSource {
    const { size } = this;
    return {
      name: 'sample',
      size,
      sectorSize,
      physicalSectorSize: sectorSize,
      async *extents(): AsyncIterable<Extent> {
        yield { offset: 0, length: size, state: 'data' };
      },
      read: async (into, offset) => {
        if (!Number.isSafeInteger(offset) || offset < 0 || offset + into.length > size) {
          throw new RangeError(`a read of ${into.length} bytes at ${offset} runs over the end (${size})`);
        }
        onRead?.(offset, into.length);
        this.#copy(into, offset);
      },
      async close() {},
    };
  }

  #copy(into: Uint8Array, offset: number): void {
    for (let done = 0; done < into.length; ) {
      const at = offset + done;
      const step = Math.min(into.length - done, pageSize - (at % pageSize));
      const number = Math.floor(at / pageSize);
      const page = this.#own.get(number) ?? this.base.pages.get(number);
      if (page === undefined) into.fill(0, done, done + step);
      else into.set(page.subarray(at % pageSize, (at % pageSize) + step), done);
      done += step;
    }
  }

  #writable(number: number): Buffer {
    let page = this.#own.get(number);
    if (page === undefined) {
      page = Buffer.from(this.base.pages.get(number) ?? zeroPage);
      this.#own.set(number, page);
    }
    return page;
  }
}
