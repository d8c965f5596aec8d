/** Reads and writes of any range on a server that takes only whole blocks: what is left at both ends is read, changed, written. */
import type { NbdExport } from '../native/libnbd.ts';

/** What moves whole blocks, any number of them. */
export interface WholeBlocks {
  read(into: Uint8Array, offset: number): Promise<void>;
  write(from: Uint8Array, offset: number): Promise<void>;
}

export class AnyRange {
  readonly #block: number;
  readonly #io: WholeBlocks;
  /** Changes of parts of blocks wait for each other: two of them may be the same block. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(about: Pick<NbdExport, 'minimumBlock'>, io: WholeBlocks) {
    this.#block = about.minimumBlock;
    this.#io = io;
  }

  async read(into: Uint8Array, offset: number): Promise<void> {
    const { start, end } = this.#around(offset, into.length);
    if (start === offset && end === offset + into.length) return this.#io.read(into, offset);
    const blocks = new Uint8Array(end - start);
    await this.#io.read(blocks, start);
    into.set(blocks.subarray(offset - start, offset - start + into.length));
  }

  async write(from: Uint8Array, offset: number): Promise<void> {
    const inner = this.inside(offset, from.length);
    if (inner.length === from.length) return this.#io.write(from, offset);
    if (inner.length === 0) return this.#change(from, offset);
    await this.#change(from.subarray(0, inner.offset - offset), offset);
    await this.#io.write(from.subarray(inner.offset - offset, inner.offset - offset + inner.length), inner.offset);
    const tail = inner.offset + inner.length;
    await this.#change(from.subarray(tail - offset), tail);
  }

  /** The whole blocks in a range; of length 0 when there are none. */
  inside(offset: number, length: number): { readonly offset: number; readonly length: number } {
    const start = Math.ceil(offset / this.#block) * this.#block;
    const end = Math.floor((offset + length) / this.#block) * this.#block;
    return end > start ? { offset: start, length: end - start } : { offset, length: 0 };
  }

  #around(offset: number, length: number): { readonly start: number; readonly end: number } {
    return {
      start: Math.floor(offset / this.#block) * this.#block,
      end: Math.ceil((offset + length) / this.#block) * this.#block,
    };
  }

  /** Fewer than two blocks' worth of bytes. */
  async #change(from: Uint8Array, offset: number): Promise<void> {
    if (from.length === 0) return;
    const { start, end } = this.#around(offset, from.length);
    const before = this.#last;
    const change = (async () => {
      await before;
      const blocks = new Uint8Array(end - start);
      await this.#io.read(blocks, start);
      blocks.set(from, offset - start);
      await this.#io.write(blocks, start);
    })();
    // Whoever waits for this one does not care how it ends.
    this.#last = change.catch(() => undefined);
    await change;
  }
}
