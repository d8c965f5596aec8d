/** An archive that is there as a whole: what it holds, and its segments in any order. See docs/archive.md. */

import type { ImageSource } from '../image/contract.ts';
import type { PartSelector } from '../image/spec.ts';
import type { ArchiveAccess } from './access.ts';
import { type Cell, cellsOf } from './cells.ts';
import { contentDigest } from './content-digest.ts';
import { ArchiveCorruptError, ArchiveIncompleteError, ArchiveVersionError, NotAnArchiveError } from './errors.ts';
import { FrameError, readFrame } from './frame.ts';
import { type ArchiveLayout, decodeLayout, LayoutError, LayoutVersionError } from './layout.ts';
import { annotations, blobPath, type Descriptor, DocumentError, mediaTypes, parseIndex, parseManifest } from './oci.ts';
import { type Segment, SegmentTable } from './segment-table.ts';
import type { BlobSource } from './store.ts';
import type { Zstd } from './zstd.ts';

/** An archive that is open, be it kept somewhere or still arriving. */
export interface OpenArchive {
  /** As the user named it. */
  readonly name: string;
  /** Of the one descriptor in its index: it stands for every byte. Not known while it is still arriving. */
  readonly digest?: string;
  readonly layout: ArchiveLayout;
  /** What of it is meant; absent: all of it. */
  readonly part?: PartSelector;
  /** What a cell with data holds, in `room` if that is given. @throws ArchiveCorruptError, ArchiveIoError */
  content(cell: Cell, room?: Uint8Array): Promise<Uint8Array>;
  /** How that is read which need not come, as it is there already. */
  readHeld(read: ImageSource['read']): void;
  /** When all that is wanted of it was read: makes sure that all of it is right. @throws ArchiveCorruptError, ArchiveIoError */
  settle(): Promise<void>;
  /** Idempotent. */
  close(): Promise<void>;
}

export interface ArchiveOptions {
  readonly access: ArchiveAccess;
  readonly zstd: Zstd;
  /** As of `OpenArchive`. */
  readonly part?: PartSelector;
}

/** Bytes of the content of a layout. */
const LARGEST_LAYOUT = 256 << 20;

export class Archive implements OpenArchive {
  readonly name: string;
  /** With which it was opened. */
  readonly access: ArchiveAccess;
  /** Of the one descriptor in its index: it stands for every byte. */
  readonly digest: string;
  readonly layout: ArchiveLayout;
  readonly part?: PartSelector;
  readonly #source: BlobSource;
  readonly #zstd: Zstd;
  /** Memory for frames; pages that nobody writes to take none. */
  readonly #frameRooms: Uint8Array[] = [];
  /** By image and offset of the cell. */
  readonly #segments: ReadonlyMap<string, SegmentTable>;

  private constructor(
    source: BlobSource,
    { access, zstd, part }: ArchiveOptions,
    digest: string,
    layout: ArchiveLayout,
    segments: ReadonlyMap<string, SegmentTable>,
  ) {
    this.name = source.name;
    this.#source = source;
    this.access = access;
    if (part !== undefined) this.part = part;
    this.#zstd = zstd;
    this.digest = digest;
    this.layout = layout;
    this.#segments = segments;
  }

  /** @throws NotAnArchiveError, ArchiveCorruptError, ArchiveVersionError, ArchiveIncompleteError, ArchiveIoError */
  static async open(source: BlobSource, options: ArchiveOptions): Promise<Archive> {
    const top = await topOf(source);
    const layers = await layersOf(source, top);
    const [first, ...rest] = layers;
    if (first?.mediaType !== mediaTypes.layout)
      throw new NotAnArchiveError(source.name, 'it holds something else than a machine');
    const layout = await readLayout(source, options.zstd, first);
    return new Archive(source, options, top.digest, layout, segmentsOf(source.name, layout, rest));
  }

  /** The segment of a cell with data. */
  segment({ image, offset }: Cell): Segment {
    const segment = this.#segments.get(image)?.get(offset);
    if (segment === undefined) throw new RangeError(`no segment for ${image} at ${offset}`);
    return segment;
  }

  async content(cell: Cell, room?: Uint8Array): Promise<Uint8Array> {
    const segment = this.segment(cell);
    const frameRoom = this.#frameRooms.pop() ?? new Uint8Array(2 * this.layout.segmentSize);
    try {
      return await contentOf(this.name, await this.#source.blob(segment, frameRoom), cell, segment, this.#zstd, room);
    } finally {
      this.#frameRooms.push(frameRoom);
    }
  }

  readHeld(): void {}

  /** The segment of a cell as it is stored; what it holds has been checked. @throws ArchiveCorruptError, ArchiveIoError */
  async stored(cell: Cell): Promise<Uint8Array> {
    const segment = this.segment(cell);
    const frame = await this.#source.blob(segment);
    await contentOf(this.name, frame, cell, segment, this.#zstd);
    return frame;
  }

  /** The file that is the blob of a segment, where there is one. */
  fileOf({ digest }: Segment): string | undefined {
    return this.#source.fileOf?.(digest);
  }

  /** Each blob was checked when it was read. */
  async settle(): Promise<void> {}

  async close(): Promise<void> {
    await this.#source.close();
  }
}

/** @throws ArchiveCorruptError unless `frame` holds what the cell's data is */
export async function contentOf(
  archive: string,
  frame: Uint8Array,
  cell: Cell,
  { digest, content: wanted }: Pick<Segment, 'digest' | 'content'>,
  zstd: Zstd,
  room?: Uint8Array,
): Promise<Uint8Array> {
  const content = await zstd.decompress(frame, cell.length, room).catch((error: unknown) => {
    if (error instanceof FrameError) throw new ArchiveCorruptError(archive, blobPath(digest), error.message, error);
    throw error;
  });
  if (contentDigest(content) !== wanted) {
    throw new ArchiveCorruptError(
      archive,
      blobPath(digest),
      `has other content than is written of ${cell.image} at byte ${cell.offset}`,
    );
  }
  return content;
}

/** @throws ArchiveCorruptError, ArchiveVersionError */
export async function readLayout(
  source: Pick<BlobSource, 'name' | 'blob'>,
  zstd: Zstd,
  descriptor: Descriptor,
): Promise<ArchiveLayout> {
  const place = blobPath(descriptor.digest);
  const frame = await source.blob(descriptor);
  try {
    const { contentSize } = readFrame(frame);
    if (contentSize > LARGEST_LAYOUT) throw new LayoutError(`has ${contentSize} bytes, more than any layout has`);
    return decodeLayout(await zstd.decompress(frame, contentSize));
  } catch (error) {
    if (error instanceof LayoutVersionError) throw new ArchiveVersionError(source.name, error.version);
    if (error instanceof LayoutError || error instanceof FrameError)
      throw new ArchiveCorruptError(source.name, place, error.message, error);
    throw error;
  }
}

/** @throws NotAnArchiveError, ArchiveCorruptError, ArchiveIoError */
async function topOf(source: BlobSource): Promise<Descriptor> {
  const { manifests } = document(source.name, 'index.json', await source.document('index.json'), parseIndex);
  const [top] = manifests;
  if (top === undefined || manifests.length > 1) throw severalImages(source.name, manifests);
  return top;
}

function severalImages(archive: string, manifests: readonly Descriptor[]): NotAnArchiveError {
  const shown = manifests.slice(0, 5).map((each) => each.annotations?.[annotations.tag] ?? each.digest.slice(0, 19));
  const more = manifests.length > shown.length ? ', …' : '';
  return new NotAnArchiveError(
    archive,
    `it holds ${manifests.length} images (${shown.join(', ')}${more}), and an archive is one`,
    `Take one out: skopeo copy --all oci:${archive}:${shown[0] ?? 'TAG'} oci:NEW-DIRECTORY.`,
  );
}

/** Of all manifests, the layout once, before the segments. */
async function layersOf(source: BlobSource, top: Descriptor): Promise<Descriptor[]> {
  const manifests =
    top.mediaType === mediaTypes.index
      ? document(source.name, blobPath(top.digest), await source.blob(top), parseIndex).manifests
      : [top];
  const layers: Descriptor[] = [];
  let total = manifests.length;
  for (const [number, descriptor] of manifests.entries()) {
    const place = blobPath(descriptor.digest);
    const manifest = document(source.name, place, await source.blob(descriptor), parseManifest);
    const [layout, ...segments] = manifest.layers;
    const [, part, of] = /^([1-9]\d*)\/([1-9]\d*)$/.exec(manifest.annotations?.[annotations.part] ?? '') ?? [];
    if (layout?.mediaType !== mediaTypes.layout || part === undefined)
      throw new NotAnArchiveError(source.name, 'it holds something else than a machine');
    total = Number(of);
    if (total === manifests.length && Number(part) !== number + 1)
      throw new ArchiveCorruptError(source.name, place, `is part ${part} of ${of} and stands in place ${number + 1}`);
    if (number === 0) layers.push(layout);
    else if (layout.digest !== layers[0]?.digest)
      throw new ArchiveCorruptError(source.name, place, 'has another layout than the first');
    layers.push(...segments);
  }
  if (total !== manifests.length) throw new ArchiveIncompleteError(source.name, manifests.length, total);
  return layers;
}

/** @throws ArchiveCorruptError */
export function document<T>(archive: string, place: string, bytes: Uint8Array, parse: (bytes: Uint8Array) => T): T {
  try {
    return parse(bytes);
  } catch (error) {
    if (error instanceof DocumentError) throw new ArchiveCorruptError(archive, place, error.message, error);
    throw error;
  }
}

/** Every cell with data has its segment, in the order of the cells, and nothing else is there. @throws ArchiveCorruptError */
function segmentsOf(
  archive: string,
  { images, segmentSize }: ArchiveLayout,
  layers: readonly Descriptor[],
): ReadonlyMap<string, SegmentTable> {
  const found = new Map<string, SegmentTable>();
  let next = 0;
  for (const image of images) {
    const segments = new SegmentTable();
    for (const cell of cellsOf(image, segmentSize)) {
      const descriptor = layers[next++];
      const place = `its segment ${next}`;
      if (descriptor === undefined)
        throw new ArchiveCorruptError(archive, place, `for ${cell.image} at byte ${cell.offset} is missing`);
      segments.add(cell.offset, segmentFor(archive, place, cell, descriptor));
    }
    found.set(image.name, segments);
  }
  if (next < layers.length) throw new ArchiveCorruptError(archive, `its segment ${next + 1}`, 'belongs to no cell');
  return found;
}

function segmentFor(
  archive: string,
  place: string,
  cell: Cell,
  { mediaType, digest, size, annotations: said = {} }: Descriptor,
): Segment {
  if (mediaType !== mediaTypes.segment) throw new ArchiveCorruptError(archive, place, `has the media type ${mediaType}`);
  return {
    digest,
    size,
    content: checkedContent(archive, place, cell, said[annotations.image], said[annotations.offset], said[annotations.content]),
  };
}

/** The digest of the content, when what is said of a segment is of this cell. @throws ArchiveCorruptError */
function checkedContent(
  archive: string,
  place: string,
  cell: Cell,
  image: string | undefined,
  offset: string | undefined,
  content: string | undefined,
): string {
  if (image !== cell.image || offset !== String(cell.offset))
    throw new ArchiveCorruptError(
      archive,
      place,
      `is of ${image} at byte ${offset} instead of ${cell.image} at byte ${cell.offset}`,
    );
  if (content === undefined || !/^[0-9a-f]{64}$/.test(content))
    throw new ArchiveCorruptError(archive, place, 'has no digest of its content');
  return content;
}
