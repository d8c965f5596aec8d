/** An archive that is there as a whole: what it holds, and its segments in any order. See docs/archive.md. */

import type { ByteRange, ImageSource, Window } from '../image/contract.ts';
import type { PartSelector } from '../image/spec.ts';
import type { IntervalSet } from '../protect/intervals.ts';
import type { ArchiveAccess } from './access.ts';
import { contentOf, readBundle, readLayout } from './blob-content.ts';
import { type Cell, cellsOf } from './cells.ts';
import { contentDigest } from './content-digest.ts';
import { ArchiveCorruptError } from './errors.ts';
import type { ArchiveKeys } from './keys.ts';
import { type ArchivedImage, type ArchiveLayout, largestFrame } from './layout.ts';
import { readManifests, topOf } from './manifests.ts';
import { annotations, blobPath, type Descriptor, mediaTypes } from './oci.ts';
import { type Segment, SegmentTable } from './segment-table.ts';
import { checkSignature, type Signature } from './signature.ts';
import type { BlobSource } from './store.ts';
import { decodeUnreadable, unreadableIn } from './unreadable.ts';
import { type ArchiveServer, startArchiveServer } from './window.ts';
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
  /** Whose it is; not known while it is still arriving. */
  readonly signature?: Signature;
  /** Whether it has the profile of its source; not known while it is still arriving. */
  readonly hasBundle?: boolean;
  /** What a cell with data holds, in `room` if that is given. @throws ArchiveCorruptError, ArchiveIoError */
  content(cell: Cell, room?: Uint8Array): Promise<Uint8Array>;
  /** What could not be read when it was captured, and is zeros; while it arrives, of what has come. Bytes of the image. */
  unreadable(image: ArchivedImage): IntervalSet;
  /** How that is read which need not come, as it is there already. */
  readHeld(read: ImageSource['read']): void;
  /** The profile of its source; undefined when it has none. @throws ArchiveEncryptedError, WrongIdentityError, ArchiveCorruptError, ArchiveIoError */
  bundle(): Promise<Uint8Array | undefined>;
  /** When all that is wanted of it was read: makes sure that all of it is right. @throws ArchiveCorruptError, ArchiveIoError */
  settle(): Promise<void>;
  /** Idempotent. */
  close(): Promise<void>;
}

export interface ArchiveOptions {
  readonly access: ArchiveAccess;
  readonly keys: ArchiveKeys;
  readonly zstd: Zstd;
  /** As of `OpenArchive`. */
  readonly part?: PartSelector;
}

/** What the documents say. */
interface Read {
  readonly digest: string;
  readonly signature: Signature;
  readonly layout: ArchiveLayout;
  readonly layoutDigest: string;
  readonly bundle: Descriptor | undefined;
  readonly segments: ReadonlyMap<string, SegmentTable>;
}

export class Archive implements OpenArchive {
  readonly name: string;
  /** With which it was opened. */
  readonly access: ArchiveAccess;
  /** Of the one descriptor in its index: it stands for every byte. */
  readonly digest: string;
  readonly layout: ArchiveLayout;
  readonly part?: PartSelector;
  readonly layoutDigest: string;
  readonly signature: Signature;
  readonly #source: BlobSource;
  /** Memory for frames; pages that nobody writes to take none. */
  readonly #frameRooms: Uint8Array[] = [];
  /** By image. */
  readonly #servers = new Map<string, Promise<ArchiveServer>>();
  readonly #options: ArchiveOptions;
  readonly #bundle: Descriptor | undefined;
  /** By image and offset of the cell. */
  readonly #segments: ReadonlyMap<string, SegmentTable>;

  private constructor(source: BlobSource, options: ArchiveOptions, read: Read) {
    this.name = source.name;
    this.#source = source;
    this.access = options.access;
    if (options.part !== undefined) this.part = options.part;
    this.#options = options;
    this.digest = read.digest;
    this.signature = read.signature;
    this.layout = read.layout;
    this.layoutDigest = read.layoutDigest;
    this.#bundle = read.bundle;
    this.#segments = read.segments;
  }

  /**
   * @throws NotAnArchiveError, ArchiveCorruptError, ArchiveVersionError, ArchiveIncompleteError, ArchiveIoError; the errors of
   * checkSignature; ArchiveEncryptedError, WrongIdentityError
   */
  static async open(source: BlobSource, options: ArchiveOptions): Promise<Archive> {
    const { name } = source;
    const top = await topOf(source);
    const bytes = await source.blob(top);
    const signature = checkSignature(name, bytes, options.keys.trust);
    const manifests = await readManifests(source, top, bytes);
    const { mediaType, digest } = manifests.layout;
    const layout = await readLayout(name, digest, await source.blob(manifests.layout), options);
    if (mediaType !== (layout.salt === undefined ? mediaTypes.layout : mediaTypes.encryptedLayout))
      throw new ArchiveCorruptError(name, blobPath(digest), `has the media type ${mediaType}`);
    const segments = await segmentsOf(name, layout, manifests.segments);
    const { bundle } = manifests;
    return new Archive(source, options, { digest: top.digest, signature, layout, layoutDigest: digest, bundle, segments });
  }

  /** The segment of a cell with data. */
  segment({ image, offset }: Cell): Segment {
    const segment = this.#segments.get(image)?.get(offset);
    if (segment === undefined) throw new RangeError(`no segment for ${image} at ${offset}`);
    return segment;
  }

  unreadable(image: ArchivedImage): IntervalSet {
    return unreadableIn(image, this.layout.segmentSize, this.#segments.get(image.name));
  }

  async content(cell: Cell, room?: Uint8Array): Promise<Uint8Array> {
    const segment = this.segment(cell);
    const frameRoom = this.#frameRooms.pop() ?? new Uint8Array(largestFrame(this.layout.segmentSize));
    try {
      const blob = await this.#source.blob(segment, frameRoom);
      return await contentOf(this.name, blob, cell, segment, { ...this.#options, salt: this.layout.salt, room });
    } finally {
      this.#frameRooms.push(frameRoom);
    }
  }

  /** As that of a segment is. */
  digestOf(content: Uint8Array): string {
    return contentDigest(content, this.layout.salt);
  }

  get hasBundle(): boolean {
    return this.#bundle !== undefined;
  }

  /** As it stands there, for whoever it is. @throws ArchiveCorruptError, ArchiveIoError */
  async encryptedBundle(): Promise<Uint8Array | undefined> {
    return this.#bundle && this.#source.blob(this.#bundle);
  }

  async bundle(): Promise<Uint8Array | undefined> {
    const file = await this.encryptedBundle();
    return file && readBundle(this.name, file, this.#options);
  }

  readHeld(): void {}

  /** The segment of a cell as it is stored; what it holds has been checked. @throws ArchiveCorruptError, ArchiveIoError */
  async stored(cell: Cell): Promise<Uint8Array> {
    const segment = this.segment(cell);
    const frame = await this.#source.blob(segment);
    await contentOf(this.name, frame, cell, segment, { ...this.#options, salt: this.layout.salt });
    return frame;
  }

  /** The file that is the blob of a segment, where there is one. */
  fileOf({ digest }: Segment): string | undefined {
    return this.#source.fileOf?.(digest);
  }

  /** Each blob was checked when it was read. */
  async settle(): Promise<void> {}

  /** Over some of an image, for the kernel; until `close` one process serves all of them. @throws MissingToolError, ImageIoError */
  async openWindow(image: string, range: ByteRange): Promise<Window> {
    const server = this.#servers.get(image) ?? startArchiveServer(this, image);
    this.#servers.set(image, server);
    return (await server).openWindow(range);
  }

  async close(): Promise<void> {
    const servers = [...this.#servers.values()];
    this.#servers.clear();
    // Whoever asked for one that did not start was told.
    for (const server of servers) await (await server.catch(() => undefined))?.stop();
    await this.#source.close();
  }
}

/** Every cell with data has its segment, in the order of the cells, and nothing else is there. @throws ArchiveCorruptError */
async function segmentsOf(
  archive: string,
  { images, segmentSize, salt }: ArchiveLayout,
  layers: AsyncIterator<Descriptor, void, void>,
): Promise<ReadonlyMap<string, SegmentTable>> {
  const mediaType = salt === undefined ? mediaTypes.segment : mediaTypes.encryptedSegment;
  const found = new Map<string, SegmentTable>();
  let number = 0;
  for (const image of images) {
    const segments = new SegmentTable();
    for (const cell of cellsOf(image, segmentSize)) {
      const descriptor = (await layers.next()).value;
      const place = `its segment ${++number}`;
      if (descriptor === undefined)
        throw new ArchiveCorruptError(archive, place, `for ${cell.image} at byte ${cell.offset} is missing`);
      if (descriptor.mediaType !== mediaType)
        throw new ArchiveCorruptError(archive, place, `has the media type ${descriptor.mediaType}`);
      if (descriptor.size > largestFrame(segmentSize))
        throw new ArchiveCorruptError(archive, place, `has ${descriptor.size} bytes, more than any segment of it has`);
      segments.add(cell.offset, segmentFor(archive, place, cell, descriptor));
    }
    found.set(image.name, segments);
  }
  if ((await layers.next()).done !== true)
    throw new ArchiveCorruptError(archive, `its segment ${number + 1}`, 'belongs to no cell');
  return found;
}

function segmentFor(archive: string, place: string, cell: Cell, { digest, size, annotations: said = {} }: Descriptor): Segment {
  const unreadable = said[annotations.unreadable];
  if (unreadable !== undefined && decodeUnreadable(unreadable, cell) === undefined)
    throw new ArchiveCorruptError(archive, place, 'says of bytes that are not its own that they could not be read');
  return {
    digest,
    size,
    content: checkedContent(archive, place, cell, said[annotations.image], said[annotations.offset], said[annotations.content]),
    ...(unreadable === undefined ? {} : { unreadable }),
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
