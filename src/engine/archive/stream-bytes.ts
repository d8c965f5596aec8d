/** The bytes of a pipe, in their order, as the reader of a tar wants them. */
import type { Readable } from 'node:stream';
import { isZero } from '../lanes/zeros.ts';
import { ArchiveIoError } from './errors.ts';
import type { TarBytes } from './tar-entries.ts';

const REST = 1 << 20;

export class StreamBytes implements TarBytes {
  offset = 0;
  readonly #name: string;
  readonly #chunks: AsyncIterator<Uint8Array>;
  #rest: Uint8Array = new Uint8Array(0);

  /** `name` is for messages. Errors of the stream come as ArchiveIoError from whoever reads. */
  constructor(name: string, stream: Readable) {
    this.#name = name;
    this.#chunks = stream[Symbol.asyncIterator]();
  }

  async read(into: Uint8Array): Promise<boolean> {
    for (let at = 0; at < into.length; ) {
      const piece = await this.#take(into.length - at);
      if (piece === undefined) return false;
      into.set(piece, at);
      at += piece.length;
    }
    return true;
  }

  async skip(length: number): Promise<boolean> {
    for (let left = length; left > 0; ) {
      const piece = await this.#take(left);
      if (piece === undefined) return false;
      left -= piece.length;
    }
    return true;
  }

  /** Up to a newline, without it; undefined when there is none within `most` bytes. */
  async line(most: number): Promise<string | undefined> {
    const pieces: Uint8Array[] = [];
    for (let length = 0; length <= most; ) {
      const piece = await this.#take(REST);
      if (piece === undefined) return undefined;
      const stop = piece.indexOf(0x0a);
      if (stop >= 0) {
        this.#rest = Buffer.concat([piece.subarray(stop + 1), this.#rest]);
        this.offset -= piece.length - stop - 1;
        pieces.push(piece.subarray(0, stop));
        return Buffer.concat(pieces).toString('utf8');
      }
      pieces.push(piece);
      length += piece.length;
    }
    return undefined;
  }

  /** Reads to the end, so that whoever writes into the pipe is not cut off. False when something else than zeros comes. */
  async restIsZero(): Promise<boolean> {
    let zero = true;
    for (let piece = await this.#take(REST); piece !== undefined; piece = await this.#take(REST)) zero &&= isZero(piece);
    return zero;
  }

  /** Nothing is read any more. */
  async close(): Promise<void> {
    await this.#chunks.return?.();
  }

  /** Up to `most` bytes; undefined at the end. */
  async #take(most: number): Promise<Uint8Array | undefined> {
    while (this.#rest.length === 0) {
      const next = await this.#chunks.next().catch((error: unknown) => {
        throw new ArchiveIoError(this.#name, 'reading', error);
      });
      if (next.done === true) return undefined;
      this.#rest = next.value;
    }
    const piece = this.#rest.subarray(0, most);
    this.#rest = this.#rest.subarray(piece.length);
    this.offset += piece.length;
    return piece;
  }
}
