/** Writes an archive: the layout, then the segments in their order, then what names them all. See docs/archive.md. */

import { randomBytes } from 'node:crypto';
import type { ByteRange } from '../image/contract.ts';
import { encryptTo } from './age.ts';
import type { BaseSegments } from './base.ts';
import type { Cell } from './cells.ts';
import { contentDigest } from './content-digest.ts';
import { type ArchiveLayout, encodeLayout } from './layout.ts';
import { annotations, type Descriptor, LARGEST_DOCUMENT, MOST_LAYERS, mediaTypes, paxKeys, sha256 } from './oci.ts';
import { type Segment, SegmentTable } from './segment-table.ts';
import { type Signer, signed } from './signature.ts';
import type { BlobSink } from './store.ts';
import { encodeUnreadable } from './unreadable.ts';
import type { Zstd } from './zstd.ts';

export interface ArchiveWriterOptions {
  readonly zstd: Zstd;
  readonly level: number;
  /** As OCI calls them. */
  readonly platform: { readonly architecture: string; readonly os: string };
  /** What other tools show; left out of what is encrypted. */
  readonly labels: Readonly<Record<string, string>>;
  /** Its segments are taken where they hold the same. */
  readonly base?: BaseSegments;
  /** Of age: whom segments and layout are encrypted to. Absent: nobody, and they stand there as they are. */
  readonly recipients?: readonly string[];
  readonly signer?: Signer;
  /** The profile of the source, as an age file. */
  readonly bundle?: Uint8Array;
}

/** A segment that can be written in its turn. */
export interface PackedSegment {
  readonly digest: string;
  readonly blob: Uint8Array;
  readonly attributes: Readonly<Record<'image' | 'offset' | 'content', string>> & { readonly unreadable?: string };
  /** It is of the base, there in this file if it is in one. */
  readonly reused?: { readonly file: string | undefined };
}

export interface WrittenArchive {
  /** That of the one descriptor in its index. */
  readonly digest: string;
  readonly segments: number;
  /** Bytes of all blobs. */
  readonly bytes: number;
  /** What of that came from the base. */
  readonly reused: { readonly segments: number; readonly bytes: number };
  /** Segments that the destination had already; absent where it cannot have any. */
  readonly present?: number;
  readonly encrypted: boolean;
  /** The id of the key. */
  readonly signedBy?: string;
}

export interface PackOptions {
  /** The digest of what the reader has there: if it is this very content, an empty blob stands for it, in what is not kept. */
  readonly held?: string | undefined;
  /** What of the cell could not be read, bytes of the image. */
  readonly lost?: readonly ByteRange[];
}

const nothing = new Uint8Array(0);

export class ArchiveWriter {
  readonly #sink: BlobSink;
  readonly #options: ArchiveWriterOptions;
  readonly #salt: Uint8Array | undefined;
  /** The layout, and what stands beside it once. */
  readonly #first: Descriptor[] = [];
  /** By image, in the order of the cells. */
  readonly #segments = new Map<string, SegmentTable>();
  #bytes = 0;
  readonly #reused = { segments: 0, bytes: 0 };

  private constructor(sink: BlobSink, options: ArchiveWriterOptions) {
    this.#sink = sink;
    this.#options = options;
    this.#salt = options.recipients === undefined ? undefined : randomBytes(32);
  }

  /** @throws ArchiveIoError */
  static async begin(sink: BlobSink, layout: ArchiveLayout, options: ArchiveWriterOptions): Promise<ArchiveWriter> {
    const writer = new ArchiveWriter(sink, options);
    await writer.#begin(layout);
    return writer;
  }

  async #begin({ salt: _its, ...layout }: ArchiveLayout): Promise<void> {
    const salt = this.#salt;
    const content = encodeLayout(salt === undefined ? layout : { ...layout, salt });
    const blob = await this.#encrypted(await this.#options.zstd.compress(content, this.#options.level));
    await this.#besideLayout(salt === undefined ? mediaTypes.layout : mediaTypes.encryptedLayout, blob);
    const { bundle } = this.#options;
    if (bundle !== undefined) await this.#besideLayout(mediaTypes.bundle, bundle, { [paxKeys.mediaType]: mediaTypes.bundle });
  }

  async #besideLayout(mediaType: string, blob: Uint8Array, attributes?: Readonly<Record<string, string>>): Promise<void> {
    const descriptor = { mediaType, digest: sha256(blob), size: blob.length };
    this.#first.push(descriptor);
    await this.#put(descriptor, blob, attributes);
  }

  async #encrypted(frame: Uint8Array): Promise<Uint8Array> {
    const { recipients } = this.#options;
    return recipients === undefined ? frame : encryptTo(recipients, frame);
  }

  /**
   * May run side by side. `content` are the bytes of the cell's ranges, one behind the other.
   */
  async pack({ image, offset }: Cell, content: Uint8Array, { held, lost = [] }: PackOptions = {}): Promise<PackedSegment> {
    const unreadable = encodeUnreadable(lost);
    const said = { image, offset: String(offset), content: contentDigest(content, this.#salt) };
    const attributes = unreadable === undefined ? said : { ...said, unreadable };
    if (attributes.content === held) return { digest: sha256(nothing), blob: nothing, attributes };
    const found = await this.#options.base?.find(attributes.content);
    if (found !== undefined) return { digest: found.digest, blob: found.frame, attributes, reused: { file: found.file } };
    const blob = await this.#encrypted(await this.#options.zstd.compress(content, this.#options.level));
    return { digest: sha256(blob), blob, attributes };
  }

  /** One after the other, in the order of the cells. @throws ArchiveIoError */
  async put({ digest, blob, attributes: { image, offset, content, unreadable }, reused }: PackedSegment): Promise<void> {
    const lost = unreadable === undefined ? {} : { unreadable };
    const segment = { digest, size: blob.length, content, ...lost };
    const segments = this.#segments.get(image) ?? new SegmentTable();
    this.#segments.set(image, segments);
    segments.add(Number(offset), segment);
    if (reused !== undefined) {
      this.#reused.segments++;
      this.#reused.bytes += blob.length;
    }
    const attributes = {
      [paxKeys.image]: image,
      [paxKeys.offset]: offset,
      [paxKeys.content]: content,
      ...(unreadable === undefined ? {} : { [paxKeys.unreadable]: unreadable }),
    };
    if (reused?.file !== undefined && (await this.#sink.link?.(digest, reused.file)) === true) this.#bytes += blob.length;
    else await this.#put(this.#descriptor(image, Number(offset), segment), blob, attributes);
  }

  /** Returns when all of it is on stable storage. @throws ArchiveIoError */
  async finish(): Promise<WrittenArchive> {
    const { platform, labels, signer } = this.#options;
    const config = await this.#document(mediaTypes.config, {
      ...platform,
      config: { Labels: this.#salt === undefined ? labels : {} },
      rootfs: { type: 'layers', diff_ids: [] },
    });
    const segments = [...this.#segments.values()].reduce((sum, { count }) => sum + count, 0);
    const total = 1 + Math.max(0, Math.ceil((segments + this.#first.length - MOST_LAYERS) / (MOST_LAYERS - 1)));
    const manifests: Descriptor[] = [];
    for (const layers of this.#layers()) {
      const manifest = {
        schemaVersion: 2,
        mediaType: mediaTypes.manifest,
        config,
        layers,
        annotations: { [annotations.part]: `${manifests.length + 1}/${total}` },
      };
      manifests.push(await this.#document(mediaTypes.manifest, manifest, total === 1 ? signer : undefined));
    }
    // Tools take the first whose platform is theirs.
    const other = { architecture: 'unknown', os: 'unknown' };
    const index = {
      schemaVersion: 2,
      mediaType: mediaTypes.index,
      manifests: manifests.map((manifest, part) => ({ ...manifest, platform: part === 0 ? platform : other })),
    };
    const [only] = manifests;
    const top = total === 1 && only !== undefined ? only : await this.#document(mediaTypes.index, index, signer);
    const named = { ...top, annotations: { [annotations.tag]: 'latest' } };
    await this.#sink.finish(Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: [named] })));
    const { present } = this.#sink;
    return {
      digest: top.digest,
      segments,
      bytes: this.#bytes,
      reused: this.#reused,
      encrypted: this.#salt !== undefined,
      ...(present === undefined ? {} : { present }),
      ...(signer === undefined ? {} : { signedBy: signer.id }),
    };
  }

  /** Of each manifest. */
  *#layers(): Generator<readonly Descriptor[], void, void> {
    let layers = [...this.#first];
    for (const [image, segments] of this.#segments) {
      for (const { offset, ...segment } of segments) {
        if (layers.length === MOST_LAYERS) {
          yield layers;
          layers = this.#first.slice(0, 1);
        }
        layers.push(this.#descriptor(image, offset, segment));
      }
    }
    yield layers;
  }

  #descriptor(image: string, offset: number, { digest, size, content, unreadable }: Segment): Descriptor {
    return {
      mediaType: this.#salt === undefined ? mediaTypes.segment : mediaTypes.encryptedSegment,
      digest,
      size,
      annotations: {
        [annotations.image]: image,
        [annotations.offset]: String(offset),
        [annotations.content]: content,
        ...(unreadable === undefined ? {} : { [annotations.unreadable]: unreadable }),
      },
    };
  }

  async #document(mediaType: string, document: object, signer?: Signer): Promise<Descriptor> {
    const bytes = Buffer.from(JSON.stringify(signer === undefined ? document : signed(document, signer)));
    if (bytes.length > LARGEST_DOCUMENT) throw new RangeError(`a document of ${bytes.length} bytes`);
    const descriptor = { mediaType, digest: sha256(bytes), size: bytes.length };
    await this.#put(descriptor, bytes);
    return descriptor;
  }

  async #put(descriptor: Descriptor, bytes: Uint8Array, attributes?: Readonly<Record<string, string>>): Promise<void> {
    await this.#sink.put(descriptor, bytes, attributes);
    this.#bytes += bytes.length;
  }
}
