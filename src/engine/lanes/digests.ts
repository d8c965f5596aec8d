/** What was written where, so that a read-back can tell whether the medium holds it. XXH64 of every chunk. */
import { createRequire } from 'node:module';

type Xxh64 = (bytes: Uint8Array) => bigint;
let xxh64: Xxh64 | undefined;

/** Not cryptographic: it finds what media and cables do, not what an attacker does. */
export function digestOf(bytes: Uint8Array): bigint {
  xxh64 ??= createRequire(import.meta.url)('@node-rs/xxhash').xxh64 as Xxh64;
  return xxh64(bytes);
}

/** A written chunk; `digest` is undefined for one that must read as zeros. */
export interface DigestRecord {
  readonly offset: number;
  readonly length: number;
  readonly digest: bigint | undefined;
}

/** Compact: 25 bytes a chunk, so that the chunks of many terabytes fit. */
export class DigestLog {
  #offsets = new Float64Array(1024);
  #lengths = new Float64Array(1024);
  #digests = new BigUint64Array(1024);
  #zero = new Uint8Array(1024);
  #count = 0;

  get count(): number {
    return this.#count;
  }

  add({ offset, length, digest }: DigestRecord): void {
    if (this.#count === this.#offsets.length) this.#grow();
    this.#offsets[this.#count] = offset;
    this.#lengths[this.#count] = length;
    this.#digests[this.#count] = digest ?? 0n;
    this.#zero[this.#count] = digest === undefined ? 1 : 0;
    this.#count++;
  }

  /** The record that was added as number `i`, from 0. */
  at(i: number): DigestRecord {
    return {
      offset: this.#offsets[i] as number,
      length: this.#lengths[i] as number,
      digest: this.#zero[i] === 1 ? undefined : (this.#digests[i] as bigint),
    };
  }

  /** Byte at which record `i` begins. */
  offsetAt(i: number): number {
    return this.#offsets[i] as number;
  }

  *[Symbol.iterator](): IterableIterator<DigestRecord> {
    for (let i = 0; i < this.#count; i++) yield this.at(i);
  }

  #grow(): void {
    const size = this.#offsets.length * 2;
    const [offsets, lengths, digests, zero] = [
      new Float64Array(size),
      new Float64Array(size),
      new BigUint64Array(size),
      new Uint8Array(size),
    ];
    offsets.set(this.#offsets);
    lengths.set(this.#lengths);
    digests.set(this.#digests);
    zero.set(this.#zero);
    [this.#offsets, this.#lengths, this.#digests, this.#zero] = [offsets, lengths, digests, zero];
  }
}
