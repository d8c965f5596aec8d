/**
 * The container in a profile region: two slots, each a header and a payload. Reading takes the valid slot of the highest
 * generation; one damaged slot is survived and reported. container-write.ts writes.
 */
import { createHash } from 'node:crypto';
import { end, type ImageSource } from '../image/contract.ts';
import type { Region } from '../protect/region.ts';
import {
  ContainerConflictError,
  ContainerDamagedError,
  ContainerEmptyError,
  ContainerNewerError,
  ContainerTruncatedError,
  type SlotNumber,
  type SlotProblem,
  WrongTargetError,
} from './container-errors.ts';
import { decodeHeader, type HeaderReading, headerBytes, type SlotHeader } from './header.ts';

/** What reading needs of an image. Offsets are bytes of the image. */
export type ContainerImage = Pick<ImageSource, 'name' | 'size' | 'physicalSectorSize' | 'read'>;

/** Bytes that no payload exceeds, however large the region is. */
export const maxPayloadBytes = 16_777_216;
const smallestAlignment = 4096;
const largestAlignment = 65_536;

export interface Geometry {
  /** Bytes: max(4 KiB, physical sector) when the container was made. */
  readonly alignment: number;
  /** Offsets of the two slots in the image. */
  readonly slots: readonly [number, number];
  /** Bytes of a slot: header block and payload. */
  readonly slotBytes: number;
  readonly maxPayload: number;
}

export type SlotReading =
  | { readonly state: 'blank' }
  | { readonly state: 'newer'; readonly what: string }
  | { readonly state: 'bad'; readonly problem: SlotProblem; readonly header?: SlotHeader }
  | { readonly state: 'good'; readonly header: SlotHeader; readonly payload: Uint8Array };

export interface ReadContainer {
  readonly generation: number;
  readonly payload: Uint8Array;
  readonly targetId: string;
  readonly slot: SlotNumber;
  /** What was wrong and survived: a damaged other slot. */
  readonly problems: readonly SlotProblem[];
}

/**
 * @throws ContainerEmptyError, ContainerDamagedError, ContainerConflictError, ContainerNewerError, ContainerTruncatedError,
 * WrongTargetError, and what the image's `read` throws
 */
export async function readContainer(
  image: ContainerImage,
  region: Region,
  options: { readonly targetId?: string } = {},
): Promise<ReadContainer> {
  const { slots } = await readSlots(image, region);
  const chosen = chooseSlot(image.name, region, slots);
  if (options.targetId !== undefined && chosen.targetId !== options.targetId) {
    throw new WrongTargetError(image.name, region, chosen.targetId, options.targetId);
  }
  return chosen;
}

/** @throws the errors of readContainer, but for WrongTargetError */
export function chooseSlot(image: string, region: Region, slots: readonly [SlotReading, SlotReading]): ReadContainer {
  for (const slot of slots) if (slot.state === 'newer') throw new ContainerNewerError(image, region, slot.what);
  const problems = slots.flatMap((slot) => (slot.state === 'bad' ? [slot.problem] : []));
  const good = slots.flatMap((slot, index) => (slot.state === 'good' ? [{ ...slot, number: index as SlotNumber }] : []));
  const [first, second] = good.sort((a, b) => b.header.generation - a.header.generation || a.number - b.number);
  if (first === undefined) {
    // Data without our magic is what a disk held before the region was made.
    if (problems.every((problem) => problem.kind === 'no magic')) throw new ContainerEmptyError(image, region);
    throw new ContainerDamagedError(image, region, problems);
  }
  if (second !== undefined && first.header.generation === second.header.generation && !sameContent(first.header, second.header)) {
    throw new ContainerConflictError(image, region, first.header.generation);
  }
  if (second !== undefined && second.header.targetId !== first.header.targetId) {
    const message = `slot ${second.number}: it belongs to another target, ${second.header.targetId}`;
    problems.push({ slot: second.number, kind: 'other target', message });
  }
  const { generation, targetId } = first.header;
  return { generation, payload: first.payload, targetId, slot: first.number, problems };
}

function sameContent(a: SlotHeader, b: SlotHeader): boolean {
  return a.targetId === b.targetId && a.codec === b.codec && Buffer.compare(a.sha256, b.sha256) === 0;
}

/** Both slots as they are, and where they stand. @throws ContainerTruncatedError */
export async function readSlots(
  image: ContainerImage,
  region: Region,
): Promise<{ readonly geometry: Geometry; readonly slots: readonly [SlotReading, SlotReading] }> {
  if (region.offset < 0 || end(region) > image.size) {
    const reason = `it ends at byte ${end(region)}, the image at byte ${image.size}`;
    throw new ContainerTruncatedError(image.name, region, reason);
  }
  const { geometry, headers } = await findGeometry(image, region);
  const first = await readSlot(image, geometry, 0, headers[0]);
  const second = await readSlot(image, geometry, 1, headers[1]);
  return { geometry, slots: [first, second] };
}

/** Where the slots of a region stand. Undefined when it is too small for two of them. */
export function geometryOf(region: Region, alignment: number): Geometry | undefined {
  const start = Math.ceil(region.offset / alignment) * alignment;
  const slotBytes = Math.floor((end(region) - start) / 2 / alignment) * alignment;
  if (slotBytes < 2 * alignment) return undefined;
  const maxPayload = Math.min(slotBytes - alignment, maxPayloadBytes);
  return { alignment, slots: [start, start + slotBytes], slotBytes, maxPayload };
}

type HeaderPair = readonly [HeaderReading, HeaderReading];

/**
 * A container keeps the alignment that it was made with, also on a medium with other sectors: the one that a valid header
 * names and stands at is taken, else the medium's own.
 */
async function findGeometry(image: ContainerImage, region: Region): Promise<{ geometry: Geometry; headers: HeaderPair }> {
  const own = Math.min(Math.max(smallestAlignment, image.physicalSectorSize), largestAlignment);
  const candidates = [own];
  for (let alignment = smallestAlignment; alignment <= largestAlignment; alignment *= 2) candidates.push(alignment);
  let fallback: { geometry: Geometry; headers: HeaderPair } | undefined;
  for (const alignment of new Set(candidates)) {
    const geometry = geometryOf(region, alignment);
    if (geometry === undefined) continue;
    const headers = [await readHeader(image, geometry.slots[0]), await readHeader(image, geometry.slots[1])] as const;
    const found = { geometry, headers };
    if (headers.some((reading) => reading.state === 'header' && reading.header.alignment === alignment)) return found;
    fallback ??= found;
  }
  if (fallback === undefined) {
    throw new ContainerTruncatedError(image.name, region, `${region.length} bytes are too few for two slots`);
  }
  return fallback;
}

async function readHeader(image: ContainerImage, offset: number): Promise<HeaderReading> {
  const bytes = new Uint8Array(headerBytes);
  await image.read(bytes, offset);
  return decodeHeader(bytes);
}

async function readSlot(
  image: ContainerImage,
  geometry: Geometry,
  slot: SlotNumber,
  reading: HeaderReading,
): Promise<SlotReading> {
  const bad = (kind: SlotProblem['kind'], message: string, header?: SlotHeader): SlotReading => ({
    state: 'bad',
    problem: { slot, kind, message: `slot ${slot}: ${message}` },
    ...(header === undefined ? {} : { header }),
  });
  if (reading.state === 'blank' || reading.state === 'newer') return reading;
  if (reading.state === 'no magic') return bad('no magic', 'there is data, but no header');
  if (reading.state === 'bad CRC') return bad('bad CRC', "the header's CRC is wrong");
  if (reading.state === 'bad header') return bad('bad header', reading.reason);
  const { header } = reading;
  if (header.alignment !== geometry.alignment) {
    return bad(
      'bad header',
      `the header names an alignment of ${header.alignment}, it stands at one of ${geometry.alignment}`,
      header,
    );
  }
  if (header.payloadLength > geometry.maxPayload) {
    return bad('payload too large', `a payload of ${header.payloadLength} bytes does not fit ${geometry.maxPayload}`, header);
  }
  const payload = new Uint8Array(header.payloadLength);
  await image.read(payload, geometry.slots[slot] + geometry.alignment);
  const digest = createHash('sha256').update(payload).digest();
  if (Buffer.compare(digest, header.sha256) !== 0) return bad('bad hash', "the payload's SHA-256 is wrong", header);
  return { state: 'good', header, payload };
}
