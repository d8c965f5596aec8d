/** What all file system readers share: bounded reads of on-disk structures, and giving up on a map with a reason. */
import { CorruptInputError } from '../../errors.ts';
import type { ImageSource } from '../../image/contract.ts';
import type { IntervalSet } from '../../protect/intervals.ts';
import type { UsedBlocks } from '../contract.ts';

/** Largest single read, in bytes. */
export const chunkSize = 1 << 20;

/** Why the used bytes of a part cannot be told. Never leaves the readers: `mapped` turns it into `known: false`. */
export class NotMappableError extends CorruptInputError {
  constructor(reason: string) {
    super(reason, { code: 'USED_BLOCKS_NOT_KNOWN', todo: 'Copy the part whole.' });
  }
}

/** @throws NotMappableError with the reason unless the condition holds. */
export function insist(condition: boolean, reason: string): asserts condition {
  if (!condition) throw new NotMappableError(reason);
}

/** Runs a reader; what it refuses to vouch for becomes `known: false`. Errors of reading pass through. */
export async function mapped(work: () => Promise<IntervalSet>): Promise<UsedBlocks> {
  try {
    return { known: true, used: await work() };
  } catch (error) {
    if (error instanceof NotMappableError) return { known: false, reason: error.message };
    throw error;
  }
}

/** `length` bytes at `offset`, or undefined where they do not lie inside the part. */
export async function peek(part: ImageSource, offset: number, length: number): Promise<Buffer | undefined> {
  if (!(offset >= 0 && offset + length <= part.size)) return undefined;
  const bytes = Buffer.alloc(length);
  await part.read(bytes, offset);
  return bytes;
}

/** @throws NotMappableError naming `what` when the bytes do not lie inside the part. */
export async function readAt(part: ImageSource, offset: number, length: number, what: string): Promise<Buffer> {
  const bytes = await peek(part, offset, length);
  insist(bytes !== undefined, `${what} at byte ${offset} lies outside the part (${part.size} bytes)`);
  return bytes;
}

/** Exact up to 2^53; larger values are rounded and fail every check against a size. */
export function u64le(bytes: Buffer, offset: number): number {
  return bytes.readUInt32LE(offset) + bytes.readUInt32LE(offset + 4) * 0x1_0000_0000;
}

export function u64be(bytes: Buffer, offset: number): number {
  return bytes.readUInt32BE(offset) * 0x1_0000_0000 + bytes.readUInt32BE(offset + 4);
}

/** The 16 bytes as UUID text, lower case; empty for the nil UUID. */
export function uuidText(bytes: Buffer, offset: number): string {
  const hex = bytes.toString('hex', offset, offset + 16);
  if (/^0+$/.test(hex)) return '';
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

/** Text up to the first NUL, without trailing blanks. */
export function text(bytes: Buffer, offset: number, length: number): string {
  const raw = bytes.subarray(offset, offset + length);
  const nul = raw.indexOf(0);
  return raw.toString('utf8', 0, nul < 0 ? raw.length : nul).trimEnd();
}

/** UTF-16LE text up to the first NUL. */
export function text16(bytes: Buffer, offset: number, length: number): string {
  const all = bytes.toString('utf16le', offset, offset + length);
  const nul = all.indexOf('\0');
  return nul < 0 ? all : all.slice(0, nul);
}

export function isPowerOfTwo(value: number): boolean {
  return value > 0 && 2 ** Math.round(Math.log2(value)) === value;
}

/** The bits of a feature word that are not in `known`, as `0x1000`; empty when there are none. */
export function unknownBits(word: number, known: number): string {
  const rest = (word & ~known) >>> 0;
  return rest === 0 ? '' : `0x${rest.toString(16)}`;
}
