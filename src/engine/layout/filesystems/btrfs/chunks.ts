/**
 * Chunks: where logical addresses of btrfs lie on the device.
 * Format: btrfs documentation, "On-disk format", section "Chunk tree".
 */
import { insist, u64le } from '../bytes.ts';
import type { BtrfsSuperblock } from './superblock.ts';

const chunkHeader = 48;
const stripeSize = 32;
export const keySize = 17;
export const chunkItem = 228;
const chunkObject = 256;
const raid0 = 0x8;
const dup = 0x20;
const usages = 0x7;
/** More chunks than any file system that can be made has; bounds memory. */
const maxChunks = 1 << 20;

/** All byte counts. */
export interface Chunk {
  readonly logical: number;
  readonly length: number;
  /** Where its copies begin on the device: one, or two for DUP. */
  readonly physical: readonly number[];
}

/** Chunks by logical address, which never overlap, on the device neither. */
export class ChunkMap {
  readonly #chunks: readonly Chunk[];

  /** @throws NotMappableError when chunks overlap */
  constructor(chunks: readonly Chunk[]) {
    this.#chunks = [...chunks].sort((a, b) => a.logical - b.logical);
    let end = 0;
    for (const chunk of this.#chunks) {
      insist(chunk.logical >= end, `two chunks hold the logical address ${chunk.logical}`);
      end = chunk.logical + chunk.length;
    }
    end = 0;
    for (const { chunk, physical } of this.stripes()) {
      insist(physical >= end, `two chunks lie at byte ${physical}`);
      end = physical + chunk.length;
    }
  }

  /** Ascending by logical address. */
  get chunks(): readonly Chunk[] {
    return this.#chunks;
  }

  /** Every copy of every chunk, ascending by place on the device. */
  stripes(): { readonly chunk: Chunk; readonly physical: number }[] {
    return this.#chunks
      .flatMap((chunk) => chunk.physical.map((physical) => ({ chunk, physical })))
      .sort((a, b) => a.physical - b.physical);
  }

  /** Where the copies of a logical range lie; undefined when it does not lie in one chunk. */
  find(address: number, length: number): readonly number[] | undefined {
    let low = 0;
    let high = this.#chunks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#chunks[middle] as Chunk).logical <= address) low = middle + 1;
      else high = middle;
    }
    const chunk = this.#chunks[low - 1];
    if (chunk === undefined || address + length > chunk.logical + chunk.length) return undefined;
    return chunk.physical.map((physical) => physical + address - chunk.logical);
  }
}

/** One chunk item. @throws NotMappableError for anything but single and DUP chunks on this device. */
export function parseChunk(sb: BtrfsSuperblock, logical: number, item: Buffer): Chunk {
  const what = `the chunk at logical address ${logical}`;
  insist(item.length >= chunkHeader + stripeSize, `${what} is cut short`);
  const length = u64le(item, 0);
  const type = item.readUInt32LE(24);
  const stripes = item.readUInt16LE(44);
  insist(item.length === chunkHeader + stripes * stripeSize, `${what} has ${stripes} stripes in ${item.length} bytes`);
  insist(
    length > 0 && length % sb.sectorSize === 0 && logical % sb.sectorSize === 0 && Number.isSafeInteger(logical + length),
    `the length of ${what} makes no sense (${length})`,
  );
  const profile = (type & ~usages) >>> 0;
  // RAID 0 over one device is a plain chunk.
  const plain = (profile === 0 || profile === raid0) && stripes === 1;
  insist(
    item.readUInt32LE(28) === 0 && (plain || (profile === dup && stripes === 2)),
    `${what} has profile 0x${profile.toString(16)} with ${stripes} stripes, which cannot be on one device`,
  );
  const physical = Array.from({ length: stripes }, (_, i) => {
    const stripe = chunkHeader + i * stripeSize;
    insist(u64le(item, stripe) === sb.deviceId, `${what} lies on another device`);
    const offset = u64le(item, stripe + 8);
    insist(offset + length <= sb.deviceSize && offset % sb.sectorSize === 0, `${what} lies outside the device`);
    return offset;
  });
  return { logical, length, physical };
}

/** The system chunks that the superblock carries, so that the chunk tree can be read. */
export function parseSysChunks(sb: BtrfsSuperblock): ChunkMap {
  const bytes = sb.sysChunks;
  const chunks: Chunk[] = [];
  for (let at = 0; at < bytes.length; ) {
    insist(at + keySize + chunkHeader + stripeSize <= bytes.length, 'the system chunk array is cut short');
    insist(
      u64le(bytes, at) === chunkObject && bytes.readUInt8(at + 8) === chunkItem,
      'the system chunk array holds something else',
    );
    const size = chunkHeader + bytes.readUInt16LE(at + keySize + 44) * stripeSize;
    insist(at + keySize + size <= bytes.length, 'the system chunk array is cut short');
    chunks.push(parseChunk(sb, u64le(bytes, at + 9), bytes.subarray(at + keySize, at + keySize + size)));
    at += keySize + size;
  }
  insist(chunks.length > 0, 'there are no system chunks');
  return new ChunkMap(chunks);
}

/** Collects the items of the chunk tree. */
export class ChunkCollector {
  readonly chunks: Chunk[] = [];
  readonly #sb: BtrfsSuperblock;

  constructor(sb: BtrfsSuperblock) {
    this.#sb = sb;
  }

  add(object: number, logical: number, item: Buffer): void {
    insist(object === chunkObject && this.chunks.length < maxChunks, 'its chunk tree makes no sense');
    this.chunks.push(parseChunk(this.#sb, logical, item));
  }
}
