/** What an implementation of Zstandard has to do, and what they share. */
import { digestOf } from '../lanes/digests.ts';

export interface Codec {
  compress(content: Uint8Array, level: number): Promise<Uint8Array>;
  /** Fills `into`, which has the size that the frame's header says. */
  decompress(frame: Uint8Array, into: Uint8Array): Promise<void>;
}

/** As a frame has it: the low 32 bits of XXH64. */
export function checksumOf(content: Uint8Array): number {
  return Number(digestOf(content) & 0xffff_ffffn);
}

/** @throws Error when the content has another size than `into` */
export function fill(into: Uint8Array, content: Uint8Array): void {
  if (content.length !== into.length) throw new Error(`the content has ${content.length} bytes instead of ${into.length}`);
  into.set(content);
}
