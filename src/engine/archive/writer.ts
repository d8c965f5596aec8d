/** Writes an archive: the layout, then the segments in their order, then what names them all. See docs/archive.md. */

import type { BaseSegments } from './base.ts';
import type { Cell } from './cells.ts';
import { contentDigest } from './content-digest.ts';
import { type ArchiveLayout, encodeLayout } from './layout.ts';
import { annotations, type Descriptor, LARGEST_DOCUMENT, MOST_LAYERS, mediaTypes, paxKeys, sha256 } from './oci.ts';
import { type Segment, SegmentTable } from './segment-table.ts';
import type { BlobSink } from './store.ts';
import type { Zstd } from './zstd.ts';

export interface ArchiveWriterOptions {
  readonly zstd: Zstd;
  readonly level: number;
  /** As OCI calls them. */
  readonly platform: { readonly architecture: string; readonly os: string };
  /** What other tools show. */
  readonly labels: Readonly<Record<string, string>>;
  /** Its segments are taken where they hold the same. */
  readonly base?: BaseSegments;
}

/** A segment that can be written in its turn. */
export interface PackedSegment {
  readonly digest: string;
  readonly frame: Uint8Array;
  readonly attributes: Readonly<Record<'image' | 'offset' | 'content', string>>;
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
}

const nothing = new Uint8Array(0);

export class ArchiveWriter {
  readonly #sink: BlobSink;
  readonly #options: ArchiveWriterOptions;
  readonly #layout: Descriptor;
  /** By image, in the order of the cells. */
  readonly #segments = new Map<string, SegmentTable>();
  #bytes = 0;
  readonly #reused = { segments: 0, bytes: 0 };

  private constructor(sink: BlobSink, options: ArchiveWriterOptions, layout: Descriptor) {
    this.#sink = sink;
    this.#options = options;
    this.#layout = layout;
  }

  /** @throws ArchiveIoError */
  static async begin(sink: BlobSink, layout: ArchiveLayout, options: ArchiveWriterOptions): Promise<ArchiveWriter> {
    const frame = await options.zstd.compress(encodeLayout(layout), options.level);
    const descriptor = { mediaType: mediaTypes.layout, digest: sha256(frame), size: frame.length };
    const writer = new ArchiveWriter(sink, options, descriptor);
    await writer.#put(descriptor, frame);
    return writer;
  }

  /**
   * May run side by side. `content` are the bytes of the cell's ranges, one behind the other. `held` is the digest of what the reader
   * has there: if it is this very content, an empty blob stands for it, in what is not kept.
   */
  async pack({ image, offset }: Cell, content: Uint8Array, held?: string): Promise<PackedSegment> {
    const attributes = { image, offset: String(offset), content: contentDigest(content) };
    if (attributes.content === held) return { digest: sha256(nothing), frame: nothing, attributes };
    const found = await this.#options.base?.find(attributes.content);
    if (found !== undefined) return { digest: found.digest, frame: found.frame, attributes, reused: { file: found.file } };
    const frame = await this.#options.zstd.compress(content, this.#options.level);
    return { digest: sha256(frame), frame, attributes };
  }

  /** One after the other, in the order of the cells. @throws ArchiveIoError */
  async put({ digest, frame, attributes: { image, offset, content }, reused }: PackedSegment): Promise<void> {
    const segment = { digest, size: frame.length, content };
    const segments = this.#segments.get(image) ?? new SegmentTable();
    this.#segments.set(image, segments);
    segments.add(Number(offset), segment);
    if (reused !== undefined) {
      this.#reused.segments++;
      this.#reused.bytes += frame.length;
    }
    const attributes = { [paxKeys.image]: image, [paxKeys.offset]: offset, [paxKeys.content]: content };
    if (reused?.file !== undefined && (await this.#sink.link?.(digest, reused.file)) === true) this.#bytes += frame.length;
    else await this.#put(descriptorOf(image, Number(offset), segment), frame, attributes);
  }

  /** Returns when all of it is on stable storage. @throws ArchiveIoError */
  async finish(): Promise<WrittenArchive> {
    const { platform, labels } = this.#options;
    const config = await this.#document(mediaTypes.config, {
      ...platform,
      config: { Labels: labels },
      rootfs: { type: 'layers', diff_ids: [] },
    });
    const manifests: Descriptor[] = [];
    const perManifest = MOST_LAYERS - 1;
    const segments = [...this.#segments.values()].reduce((sum, { count }) => sum + count, 0);
    const total = Math.max(1, Math.ceil(segments / perManifest));
    const descriptors = this.#descriptors();
    for (let part = 0; part < total; part++) {
      const layers = [this.#layout];
      while (layers.length <= Math.min(perManifest, segments - part * perManifest))
        layers.push(descriptors.next().value as Descriptor);
      const manifest = {
        schemaVersion: 2,
        mediaType: mediaTypes.manifest,
        config,
        layers,
        annotations: { [annotations.part]: `${part + 1}/${total}` },
      };
      manifests.push(await this.#document(mediaTypes.manifest, manifest));
    }
    // Tools take the first whose platform is theirs.
    const other = { architecture: 'unknown', os: 'unknown' };
    const index = {
      schemaVersion: 2,
      mediaType: mediaTypes.index,
      manifests: manifests.map((manifest, part) => ({ ...manifest, platform: part === 0 ? platform : other })),
    };
    const [only] = manifests;
    const top = total === 1 && only !== undefined ? only : await this.#document(mediaTypes.index, index);
    const named = { ...top, annotations: { [annotations.tag]: 'latest' } };
    await this.#sink.finish(Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: [named] })));
    const { present } = this.#sink;
    const already = present === undefined ? {} : { present };
    return { digest: top.digest, segments, bytes: this.#bytes, reused: this.#reused, ...already };
  }

  *#descriptors(): Generator<Descriptor, void, void> {
    for (const [image, segments] of this.#segments)
      for (const { offset, ...segment } of segments) yield descriptorOf(image, offset, segment);
  }

  async #document(mediaType: string, document: object): Promise<Descriptor> {
    const bytes = Buffer.from(JSON.stringify(document));
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

function descriptorOf(image: string, offset: number, { digest, size, content }: Segment): Descriptor {
  return {
    mediaType: mediaTypes.segment,
    digest,
    size,
    annotations: { [annotations.image]: image, [annotations.offset]: String(offset), [annotations.content]: content },
  };
}
