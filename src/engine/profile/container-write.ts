/**
 * Writing a container so that the profile that was there survives a crash at any byte: the new one goes to the other slot,
 * payload first, then the header that makes it valid, each flushed, and both are read back.
 */
import { createHash } from 'node:crypto';
import { alignedBuffers } from '../image/aligned.ts';
import { end, type ImageTarget } from '../image/contract.ts';
import type { Region } from '../protect/region.ts';
import { type ContainerImage, chooseSlot, type Geometry, readSlots, type SlotReading } from './container.ts';
import {
  ContainerChangedError,
  ContainerConflictError,
  ContainerDamagedError,
  ContainerEmptyError,
  ContainerNewerError,
  ContainerNotWrittenError,
  LastGenerationError,
  PayloadTooLargeError,
  type SlotNumber,
  WrongTargetError,
} from './container-errors.ts';
import { codecZlibJson, encodeHeader } from './header.ts';

/** A medium that can be written only inside one region. Offsets are bytes of the whole image. */
export interface RegionWriter extends ContainerImage {
  /** Writes all of `from` or throws. */
  write(from: Uint8Array, offset: number): Promise<void>;
  /** Returns when everything written before is on stable storage. */
  flush(): Promise<void>;
  /** Reads what the medium holds, past the cache where it can; `into` and `offset` are multiples of 4096. Without it, `read`. */
  readBack?(into: Uint8Array, offset: number): Promise<void>;
}

/** Not for a guarded target, which refuses exactly these bytes: writing a profile is what the guard does not cover. */
export function regionWriter(target: ImageTarget, region: Region): RegionWriter {
  return {
    name: target.name,
    size: target.size,
    physicalSectorSize: target.physicalSectorSize,
    read: (into, offset) => target.read(into, offset),
    async write(from, offset) {
      if (offset < region.offset || offset + from.length > end(region)) {
        throw new RangeError(`a write of ${from.length} bytes at ${offset} leaves the ${region.name} of ${target.name}`);
      }
      await target.write(from, offset);
    },
    flush: () => target.flush(),
    async readBack(into, offset) {
      const medium = await target.readBack([{ offset, length: into.length }]);
      try {
        await medium.read(into, offset);
      } finally {
        await medium.close();
      }
    },
  };
}

export interface WriteOptions {
  /** Lower-case UUID. */
  readonly targetId: string;
  /** The generation that must be there now; 0: none. */
  readonly expectGeneration?: number;
  /** Allows a profile of another target to be replaced. */
  readonly replaceTarget?: boolean;
  /** Allows damaged, conflicting and newer containers to be overwritten. */
  readonly replaceDamaged?: boolean;
}

/**
 * The caller holds the target exclusively. The write always goes to the invalid or older slot.
 * @throws PayloadTooLargeError (E024), ContainerChangedError, WrongTargetError, and the errors of readContainer for a container
 * that is there but cannot be read; LastGenerationError; ContainerNotWrittenError when it reads back differently
 */
export async function writeContainer(
  target: RegionWriter,
  region: Region,
  payload: Uint8Array,
  options: WriteOptions,
): Promise<{ readonly generation: number; readonly slot: SlotNumber }> {
  const { geometry, slots } = await readSlots(target, region);
  if (payload.length > geometry.maxPayload)
    throw new PayloadTooLargeError(target.name, region, payload.length, geometry.maxPayload);
  const current = currentState(target.name, region, slots, options.replaceDamaged ?? false);
  if (options.expectGeneration !== undefined && options.expectGeneration !== current.generation) {
    throw new ContainerChangedError(target.name, region, current.generation, options.expectGeneration);
  }
  if (current.targetId !== undefined && current.targetId !== options.targetId && !options.replaceTarget) {
    throw new WrongTargetError(target.name, region, current.targetId, options.targetId);
  }

  const { alignment } = geometry;
  const slot: SlotNumber = current.slot === 0 ? 1 : 0;
  const other: SlotNumber = slot === 0 ? 1 : 0;
  const generation = current.generation + 1;
  if (!Number.isSafeInteger(generation)) throw new LastGenerationError(target.name, region, current.generation);
  const padded = Math.ceil(payload.length / alignment) * alignment;
  const [whole, found] = alignedBuffers(2, alignment + padded) as [Uint8Array, Uint8Array];
  const sha256 = createHash('sha256').update(payload).digest();
  const header = encodeHeader({
    generation,
    payloadLength: payload.length,
    codec: codecZlibJson,
    alignment,
    targetId: options.targetId,
    sha256,
  });
  whole.set(header);
  whole.set(payload, alignment);

  const offset = geometry.slots[slot];
  if (padded > 0) await target.write(whole.subarray(alignment), offset + alignment);
  await target.flush();
  await target.write(whole.subarray(0, alignment), offset);
  await target.flush();
  await (target.readBack ?? target.read).call(target, found, offset);
  const differs = whole.findIndex((byte, index) => byte !== found[index]);
  if (differs >= 0) throw new ContainerNotWrittenError(target.name, region, slot, offset + differs);

  const left = slots[other];
  const keep = left.state === 'blank' || (left.state === 'good' && left.header.targetId === options.targetId);
  if (!keep) await blankHeader(target, geometry, other);
  return { generation, slot };
}

interface Current {
  /** 0 when there is none. */
  readonly generation: number;
  readonly slot?: SlotNumber;
  readonly targetId?: string;
}

/** What the new one replaces. */
function currentState(
  image: string,
  region: Region,
  slots: readonly [SlotReading, SlotReading],
  replaceDamaged: boolean,
): Current {
  try {
    return chooseSlot(image, region, slots);
  } catch (error) {
    if (error instanceof ContainerEmptyError) return { generation: 0 };
    const survivable = [ContainerDamagedError, ContainerConflictError, ContainerNewerError].some((type) => error instanceof type);
    if (!survivable || !replaceDamaged) throw error;
    // Above every generation that a header still names, so that the new one wins also if the other slot comes back.
    const known = slots.map((slot) => ('header' in slot && slot.header !== undefined ? slot.header.generation : 0));
    return { generation: Math.max(...known) };
  }
}

/** A slot that no reader shall fall back to: damaged, or of another target. */
async function blankHeader(target: RegionWriter, geometry: Geometry, slot: SlotNumber): Promise<void> {
  const [zeros] = alignedBuffers(1, geometry.alignment) as [Uint8Array];
  await target.write(zeros, geometry.slots[slot]);
  await target.flush();
}
