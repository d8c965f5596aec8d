/** A disk in memory that can stop in the middle of a write, as a power cut does. */
import type { RegionWriter } from '../../../src/engine/profile/container-write.ts';
import type { Region } from '../../../src/engine/protect/region.ts';

export class PowerCut extends Error {}

export class MemoryDisk implements RegionWriter {
  readonly name = 'memory';
  readonly bytes: Uint8Array;
  readonly physicalSectorSize: number;
  readonly sectorSize = 512;
  /** Bytes that may still be written and flushes that may still happen before the power goes. */
  bytesLeft = Number.POSITIVE_INFINITY;
  flushesLeft = Number.POSITIVE_INFINITY;
  readonly log: string[] = [];

  constructor(size: number, physicalSectorSize = 512) {
    this.bytes = new Uint8Array(size);
    this.physicalSectorSize = physicalSectorSize;
  }
  get size() {
    return this.bytes.length;
  }
  async read(into: Uint8Array, offset: number) {
    if (offset < 0 || offset + into.length > this.size)
      throw new RangeError(`read of ${into.length} at ${offset} outside ${this.size}`);
    into.set(this.bytes.subarray(offset, offset + into.length));
  }
  async write(from: Uint8Array, offset: number) {
    this.log.push(`write ${offset} ${from.length}`);
    const part = from.subarray(0, Math.min(from.length, this.bytesLeft));
    this.bytes.set(part, offset);
    this.bytesLeft -= part.length;
    if (part.length < from.length) throw new PowerCut();
  }
  async flush() {
    this.log.push('flush');
    if (this.flushesLeft-- <= 0) throw new PowerCut();
  }
  async *extents() {
    yield { offset: 0, length: this.size, state: 'data' as const };
  }
  async close() {}
}

export const gap: Region = { offset: 32_768, length: 1_015_808, carrier: 'partition', name: 'profile partition 128' };
export const targetId = '6d9f0c1e-3b7a-4e0d-9b55-1a2b3c4d5e6f';
export const otherId = '00000000-0000-4000-8000-00000000000a';
