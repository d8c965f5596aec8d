/**
 * An archive that arrives through a pipe as a tar: its layout first, then its segments in the order of the disk, and last what names
 * them all. Whoever reads it asks for its cells in about that order, and puts nothing to use before `settle` has seen the end.
 */
import type { ImageSource } from '../image/contract.ts';
import type { IntervalSet } from '../protect/intervals.ts';
import { Archive, type ArchiveOptions, type OpenArchive } from './archive.ts';
import { contentOf, readBundle, readLayout } from './blob-content.ts';
import { type Cell, cellsOfAll, unpacked } from './cells.ts';
import { contentDigest } from './content-digest.ts';
import { ArchiveArrivingError, ArchiveCorruptError, ArchiveIoError, HeldChangedError, NotAnArchiveError } from './errors.ts';
import { type ArchivedImage, type ArchiveLayout, largestFrame } from './layout.ts';
import {
  blobPath,
  checkLayoutFile,
  type Descriptor,
  DocumentError,
  LARGEST_DOCUMENT,
  MOST_LAYERS,
  mediaTypes,
  paxKeys,
} from './oci.ts';
import { type Segment, SegmentTable } from './segment-table.ts';
import type { BlobSource } from './store.ts';
import type { StreamBytes } from './stream-bytes.ts';
import { type TarEntry, tarEntries } from './tar-entries.ts';
import { decodeUnreadable, unreadableIn } from './unreadable.ts';
import { checkDigest, checkSize, LARGEST_BLOB } from './verified.ts';

/** Bytes of frames that came by and may still be asked for: the lanes of a copier are not quite in step. */
const KEPT = 64 << 20;
/** As long as fewer bytes wait, the next frame is fetched while the last is worked on. */
const AHEAD = 16 << 20;

/** What the one who sends was told that need not be sent. */
interface Held {
  /** Digests of the content of cells, by where they begin. */
  readonly cells: ReadonlyMap<number, string>;
  /** Reads it, where it is. */
  readonly read?: ImageSource['read'];
}

interface Arrived {
  readonly segment: Segment;
  readonly frame: Uint8Array;
}

export class PipedArchive implements OpenArchive {
  readonly name: string;
  readonly layout: ArchiveLayout;
  readonly #bytes: StreamBytes;
  readonly #entries: AsyncGenerator<TarEntry, void, void>;
  readonly #options: ArchiveOptions;
  /** The cells whose segments have not come yet. */
  readonly #expected: Iterator<Cell, void, void>;
  /** Of all segments that have come, by image. */
  readonly #segments: ReadonlyMap<string, SegmentTable>;
  /** Those of them that nobody has taken, in their order. */
  readonly #kept = new Map<string, Arrived>();
  #keptBytes = 0;
  /** Stays: the head of a disk without a table is asked for last of all. */
  #first: (Arrived & { readonly key: string }) | undefined;
  /** What is no segment, by its digest. */
  readonly #documents: Map<string, Uint8Array>;
  readonly #layoutDigest: string;
  #bundle: Uint8Array | undefined;
  /** Entries behind the layout. */
  #passed = 0;
  #index: Uint8Array | undefined;
  #begun = false;
  #held: Held | undefined;
  /** Entries are read one after the other. After a failure everybody is told of it. */
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(
    bytes: StreamBytes,
    entries: AsyncGenerator<TarEntry, void, void>,
    options: ArchiveOptions,
    opened: { readonly name: string; readonly layout: ArchiveLayout; readonly digest: string; readonly blob: Uint8Array },
  ) {
    this.name = opened.name;
    this.layout = opened.layout;
    this.#layoutDigest = opened.digest;
    this.#documents = new Map([[opened.digest, opened.blob]]);
    this.#bytes = bytes;
    this.#entries = entries;
    this.#options = options;
    this.#expected = cellsOfAll(opened.layout);
    this.#segments = new Map(opened.layout.images.map(({ name }) => [name, new SegmentTable()]));
  }

  /** Reads up to the layout. @throws NotAnArchiveError, ArchiveCorruptError, ArchiveVersionError, ArchiveIoError */
  static async open(name: string, bytes: StreamBytes, options: ArchiveOptions): Promise<PipedArchive> {
    const entries = tarEntries(name, bytes);
    const first = await nextEntry(entries);
    if (first?.path !== 'oci-layout') throw new NotAnArchiveError(name, 'it does not begin with a file "oci-layout"');
    try {
      checkLayoutFile(await bytesOf(name, bytes, first, LARGEST_DOCUMENT));
    } catch (error) {
      if (error instanceof DocumentError) throw new ArchiveCorruptError(name, 'oci-layout', error.message, error);
      throw error;
    }
    const second = await nextEntry(entries);
    const digest = digestIn(second);
    if (second === undefined || digest === undefined) throw new NotAnArchiveError(name, 'its layout does not come first');
    const blob = await checkedBytes(name, bytes, second, LARGEST_BLOB);
    const layout = await readLayout(name, digest, blob, options);
    return new PipedArchive(bytes, entries, options, { name, layout, digest, blob });
  }

  /** From here on its cells may be asked for. */
  begin(): void {
    this.#begun = true;
  }

  /** @throws ArchiveArrivingError before `begin` */
  async content(cell: Cell, room?: Uint8Array): Promise<Uint8Array> {
    if (!this.#begun) throw new ArchiveArrivingError(this.name);
    const { frame, segment } = await this.#inTurn(() => this.#until(cell));
    if (this.#keptBytes < AHEAD) this.#inTurn(() => this.#next()).catch(() => {});
    if (frame.length === 0) return this.#heldContent(cell, segment);
    return contentOf(this.name, frame, cell, segment, { ...this.#options, salt: this.layout.salt, room });
  }

  /** The first segment, or whatever else comes behind the layout. @throws ArchiveCorruptError when nothing does */
  async arrive(): Promise<void> {
    await this.#inTurn(() => this.#next());
  }

  /** Of the first image: may be left out by the one who sends. */
  offer(cells: ReadonlyMap<number, string>): void {
    this.#held = { cells };
  }

  unreadable(image: ArchivedImage): IntervalSet {
    return unreadableIn(image, this.layout.segmentSize, this.#segments.get(image.name));
  }

  /** How what was offered is read. */
  readHeld(read: ImageSource['read']): void {
    if (this.#held !== undefined) this.#held = { ...this.#held, read };
  }

  async #heldContent(cell: Cell, { digest, content: wanted }: Segment): Promise<Uint8Array> {
    const { cells, read } = this.#held ?? {};
    if (read === undefined || cells?.get(cell.offset) !== wanted)
      throw new ArchiveCorruptError(this.name, blobPath(digest), `is empty where ${cell.image} at byte ${cell.offset} comes`);
    const content = new Uint8Array(cell.length);
    for (const { range, bytes } of unpacked(cell, content)) await read(bytes, range.offset);
    if (contentDigest(content, this.layout.salt) !== wanted) throw new HeldChangedError(this.name, cell.offset);
    return content;
  }

  /** @throws also ArchiveArrivingError where a signature is required, which comes last */
  async bundle(): Promise<Uint8Array | undefined> {
    if (this.#options.keys.trust.required) throw new ArchiveArrivingError(this.name);
    // Whether there is one shows in what follows the layout.
    await this.#inTurn(async () => this.#passed > 0 || this.#next());
    return this.#bundle && readBundle(this.name, this.#bundle, this.#options);
  }

  /** Reads to the end, and checks that what has come is what the manifests name. */
  settle(): Promise<void> {
    return this.#inTurn(async () => {
      while (await this.#next()) {
        this.#kept.clear();
        this.#keptBytes = 0;
      }
      const missing = this.#expected.next().value;
      if (missing !== undefined) {
        const place = `the segment of ${missing.image} at byte ${missing.offset}`;
        throw new ArchiveCorruptError(this.name, place, 'is missing');
      }
      const whole = await Archive.open(this.#arrived(), this.#options);
      if (whole.layoutDigest !== this.#layoutDigest || (await whole.encryptedBundle()) !== this.#bundle)
        throw new ArchiveCorruptError(this.name, blobPath(whole.layoutDigest), 'is not what came first');
      for (const cell of cellsOfAll(this.layout)) {
        const [said, came] = [whole.segment(cell), this.#segments.get(cell.image)?.get(cell.offset)];
        const isSame = said.size === came?.size && said.content === came.content && said.unreadable === came.unreadable;
        if (said.digest !== came?.digest || !isSame)
          throw new ArchiveCorruptError(this.name, blobPath(came?.digest ?? said.digest), 'is not what its manifest names');
      }
      if (!(await this.#bytes.restIsZero())) throw new ArchiveCorruptError(this.name, 'its end', 'is followed by something else');
    });
  }

  close(): Promise<void> {
    return this.#bytes.close();
  }

  #inTurn<T>(action: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(action);
    this.#turn = turn;
    // Whoever waits for it is told.
    turn.catch(() => {});
    return turn;
  }

  async #until(cell: Cell): Promise<Arrived> {
    const key = keyOf(cell);
    for (;;) {
      if (key === this.#first?.key) return this.#first;
      const arrived = this.#kept.get(key);
      if (arrived !== undefined) {
        this.#forget(key, arrived);
        return arrived;
      }
      if (this.#segments.get(cell.image)?.get(cell.offset) !== undefined)
        throw new ArchiveIoError(this.name, 'reading again', new Error(`byte ${cell.offset} of ${cell.image} comes only once`));
      if (!(await this.#next()))
        throw new ArchiveCorruptError(this.name, `the segment of ${cell.image} at byte ${cell.offset}`, 'is missing');
    }
  }

  /** Takes the next entry; false at the end. */
  async #next(): Promise<boolean> {
    const entry = await nextEntry(this.#entries);
    if (entry === undefined) return false;
    this.#passed++;
    if (entry.path === 'index.json') this.#index = await bytesOf(this.name, this.#bytes, entry, LARGEST_DOCUMENT);
    else if (entry.attributes.has(paxKeys.content)) await this.#takeSegment(entry);
    else await this.#takeDocument(entry);
    return true;
  }

  async #takeSegment(entry: TarEntry): Promise<void> {
    const place = `its entry at byte ${entry.offset}`;
    const cell = this.#expected.next().value;
    if (cell === undefined) throw new ArchiveCorruptError(this.name, place, 'is a segment that belongs to no cell');
    const [image, offset, content = ''] = [paxKeys.image, paxKeys.offset, paxKeys.content].map((key) =>
      entry.attributes.get(key),
    );
    if (image !== cell.image || offset !== String(cell.offset))
      throw new ArchiveCorruptError(
        this.name,
        place,
        `is of ${image} at byte ${offset} where ${cell.image} at byte ${cell.offset} comes`,
      );
    const frame = await checkedBytes(this.name, this.#bytes, entry, largestFrame(this.layout.segmentSize));
    const unreadable = entry.attributes.get(paxKeys.unreadable);
    if (unreadable !== undefined && decodeUnreadable(unreadable, cell) === undefined)
      throw new ArchiveCorruptError(this.name, place, 'says of bytes that are not its own that they could not be read');
    const lost = unreadable === undefined ? {} : { unreadable };
    const segment = { digest: digestIn(entry) ?? '', size: frame.length, content, ...lost };
    this.#segments.get(cell.image)?.add(cell.offset, segment);
    const arrived = { segment, frame };
    this.#first ??= { ...arrived, key: keyOf(cell) };
    this.#kept.set(keyOf(cell), arrived);
    this.#keptBytes += frame.length;
    for (const [key, oldest] of this.#kept) {
      if (this.#keptBytes <= KEPT) break;
      this.#forget(key, oldest);
    }
  }

  async #takeDocument(entry: TarEntry): Promise<void> {
    const digest = digestIn(entry);
    const place = `its entry at byte ${entry.offset}`;
    if (digest === undefined) throw new ArchiveCorruptError(this.name, place, `(${entry.path}) is there twice`);
    const segments = [...this.#segments.values()].reduce((sum, { count }) => sum + count, 0);
    const most = Math.ceil(segments / (MOST_LAYERS - 1)) + OTHER_DOCUMENTS;
    if (this.#documents.size >= most) throw new ArchiveCorruptError(this.name, place, 'is one document too many');
    const bytes = await checkedBytes(this.name, this.#bytes, entry, LARGEST_DOCUMENT);
    this.#documents.set(digest, bytes);
    if (entry.attributes.get(paxKeys.mediaType) === mediaTypes.bundle) this.#bundle = bytes;
  }

  #forget(key: string, { frame }: Arrived): void {
    this.#kept.delete(key);
    this.#keptBytes -= frame.length;
  }

  /** Everything but the segments. */
  #arrived(): BlobSource {
    const { name } = this;
    return {
      name,
      document: async (path) => {
        if (path === 'index.json' && this.#index !== undefined) return this.#index;
        throw new ArchiveCorruptError(name, path, 'is missing');
      },
      blob: async (descriptor: Pick<Descriptor, 'digest' | 'size'>) => {
        const bytes = this.#documents.get(descriptor.digest);
        if (bytes === undefined) throw new ArchiveCorruptError(name, blobPath(descriptor.digest), 'is missing');
        checkSize(name, descriptor, bytes.length);
        return bytes;
      },
      close: async () => {},
    };
  }
}

/** The layout, the config, an index, and what is encrypted for one reader. */
const OTHER_DOCUMENTS = 8;

function keyOf({ image, offset }: Cell): string {
  return `${offset} ${image}`;
}

async function nextEntry(entries: AsyncGenerator<TarEntry, void, void>): Promise<TarEntry | undefined> {
  const next = await entries.next();
  return next.done === true ? undefined : next.value;
}

function digestIn(entry: TarEntry | undefined): string | undefined {
  const [, hex] = /^blobs\/sha256\/([0-9a-f]{64})$/.exec(entry?.path ?? '') ?? [];
  return hex === undefined ? undefined : `sha256:${hex}`;
}

async function checkedBytes(archive: string, from: StreamBytes, entry: TarEntry, most: number): Promise<Uint8Array> {
  const bytes = await bytesOf(archive, from, entry, most);
  checkDigest(archive, digestIn(entry) ?? '', bytes);
  return bytes;
}

async function bytesOf(archive: string, from: StreamBytes, { path, size }: TarEntry, most: number): Promise<Uint8Array> {
  if (size > most) throw new ArchiveCorruptError(archive, path, `has ${size} bytes, more than it can have`);
  const bytes = new Uint8Array(size);
  if (!(await from.read(bytes))) throw new ArchiveCorruptError(archive, path, `is cut off at byte ${from.offset}`);
  return bytes;
}
