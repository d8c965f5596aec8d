/** The layout of an archive: its images, which bytes of them are data, and what they are. See docs/archive.md. */
import { z } from 'zod';
import type { IntervalSet } from '../protect/intervals.ts';
import { LayoutTooLargeError } from './errors.ts';
import { decodeRanges, encodeRanges, RangeSetError } from './range-set.ts';

/** Bytes. */
export const segmentSizes = { smallest: 1 << 20, usual: 8 << 20, largest: 64 << 20 } as const;

/** Bytes of a layout's content. */
export const LARGEST_LAYOUT = 64 << 20;

/** Bytes of the frame of so much content, however badly it compresses; also when it is encrypted, and for many. */
export function largestFrame(content: number): number {
  return content + (content >> 7) + 65_536;
}

export interface ArchivedImage {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  readonly sectorSize: number;
  /** Is in the segments. */
  readonly data: IntervalSet;
  /** Reads as zeros. What is in neither belongs to nobody. */
  readonly zero: IntervalSet;
}

export interface ArchiveLayout {
  readonly segmentSize: number;
  /** Of an encrypted archive: what stands before the content of a segment for its digest. */
  readonly salt?: Uint8Array;
  readonly images: readonly ArchivedImage[];
  /** What the images are: a JSON value that this module does not look into. */
  readonly machine: unknown;
}

/** The layout is not as the format says; the message is about it. */
export class LayoutError extends Error {}

/** It has a version that is not known; `version` is what stands there. */
export class LayoutVersionError extends Error {
  readonly version: unknown;

  constructor(version: unknown) {
    super('has another version');
    this.version = version;
  }
}

const VERSION = 1;
const NEWLINE = 0x0a;
/** Bytes of the document. */
const LONGEST_DOCUMENT = 4 << 20;

const count = z.int().min(0);
const setSchema = z.strictObject({ ranges: count, length: count });
const imageSchema = z.strictObject({
  name: z.string().regex(/^[a-z0-9][a-z0-9._-]{0,63}$/),
  size: z.int().min(1).multipleOf(512),
  sectorSize: z.union([z.literal(512), z.literal(1024), z.literal(2048), z.literal(4096)]),
  data: setSchema,
  zero: setSchema,
});
const documentSchema = z.strictObject({
  version: z.literal(VERSION),
  segmentSize: z
    .int()
    .min(segmentSizes.smallest)
    .max(segmentSizes.largest)
    .refine((size) => Number.isInteger(Math.log2(size)), 'is no power of two'),
  salt: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .transform((text) => new Uint8Array(Buffer.from(text, 'hex')))
    .exactOptional(),
  images: z.array(imageSchema).min(1).max(64),
  machine: z.unknown(),
});

/** @throws LayoutTooLargeError; RangeError for data that does not stand on multiples of 512 bytes */
export function encodeLayout({ segmentSize, salt, images, machine }: ArchiveLayout): Uint8Array {
  const sets: Uint8Array[] = [];
  const announced = (set: IntervalSet): z.infer<typeof setSchema> => {
    const bytes = encodeRanges(set);
    sets.push(bytes);
    return { ranges: set.count, length: bytes.length };
  };
  const document = {
    version: VERSION,
    segmentSize,
    ...(salt === undefined ? {} : { salt: Buffer.from(salt).toString('hex') }),
    images: images.map(({ name, size, sectorSize, data, zero }) => ({
      name,
      size,
      sectorSize,
      data: announced(data),
      zero: announced(zero),
    })),
    machine,
  };
  const text = Buffer.from(`${JSON.stringify(document)}\n`);
  const length = sets.reduce((sum, set) => sum + set.length, text.length);
  if (text.length > LONGEST_DOCUMENT || length > LARGEST_LAYOUT) throw new LayoutTooLargeError(length, images);
  return Buffer.concat([text, ...sets]);
}

/** @throws LayoutError, LayoutVersionError */
export function decodeLayout(content: Uint8Array): ArchiveLayout {
  const stop = content.subarray(0, LONGEST_DOCUMENT).indexOf(NEWLINE);
  if (stop < 0) throw new LayoutError(`has no document in its first ${LONGEST_DOCUMENT} bytes`);
  const { segmentSize, salt, images, machine } = parseDocument(Buffer.from(content.subarray(0, stop)).toString());
  let at = stop + 1;
  const take = (name: string, size: number, announced: z.infer<typeof setSchema>): IntervalSet => {
    const bytes = content.subarray(at, at + announced.length);
    if (bytes.length < announced.length) throw new LayoutError(`ends after ${content.length} bytes, in the ranges of ${name}`);
    at += announced.length;
    try {
      return decodeRanges(bytes, announced.ranges, size);
    } catch (error) {
      if (error instanceof RangeSetError) throw new LayoutError(`has wrong ranges of ${name}: the set ${error.message}`);
      throw error;
    }
  };
  const names = new Set<string>();
  const archived = images.map(({ name, size, sectorSize, data, zero }): ArchivedImage => {
    if (names.has(name)) throw new LayoutError(`has two images called ${name}`);
    names.add(name);
    if (size % sectorSize !== 0) throw new LayoutError(`has an image ${name} of ${size} bytes with sectors of ${sectorSize}`);
    const image = { name, size, sectorSize, data: take(name, size, data), zero: take(name, size, zero) };
    if (image.data.intersect(image.zero).count > 0) throw new LayoutError(`calls bytes of ${name} both data and zero`);
    return image;
  });
  if (at !== content.length) throw new LayoutError(`goes on for ${content.length - at} bytes behind its last ranges`);
  return { segmentSize, ...(salt === undefined ? {} : { salt }), images: archived, machine };
}

function parseDocument(text: string): z.infer<typeof documentSchema> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new LayoutError(`has a document that is no JSON: ${(error as Error).message}`);
  }
  const { version } = (value ?? {}) as { readonly version?: unknown };
  if (Number.isInteger(version) && version !== VERSION) throw new LayoutVersionError(version);
  const parsed = documentSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new LayoutError(`has a wrong document: ${issue?.path.join('.')}: ${issue?.message}`);
}
