/** The documents that name the blobs of an archive. See docs/archive.md. */
import { ArchiveCorruptError, ArchiveIncompleteError, NotAnArchiveError } from './errors.ts';
import { annotations, blobPath, type Descriptor, DocumentError, mediaTypes, parseIndex, parseManifest } from './oci.ts';
import type { BlobSource } from './store.ts';

/** @throws NotAnArchiveError, ArchiveCorruptError, ArchiveIoError */
export async function topOf(source: BlobSource): Promise<Descriptor> {
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

export interface Manifests {
  readonly layout: Descriptor;
  /** The profile of the source. */
  readonly bundle: Descriptor | undefined;
  /** Of all manifests, read one after the other: there may be very many. Throws as `readManifests`. */
  readonly segments: AsyncGenerator<Descriptor, void, void>;
}

/** `bytes` are those of the top. @throws NotAnArchiveError, ArchiveIncompleteError, ArchiveCorruptError, ArchiveIoError */
export async function readManifests(source: BlobSource, top: Descriptor, bytes: Uint8Array): Promise<Manifests> {
  const isIndex = top.mediaType === mediaTypes.index;
  const manifests = isIndex ? document(source.name, blobPath(top.digest), bytes, parseIndex).manifests : [top];
  const layersOf = async (number: number): Promise<readonly [layout: Descriptor, ...others: Descriptor[]]> => {
    const descriptor = manifests[number] as Descriptor;
    const place = blobPath(descriptor.digest);
    const manifest = document(source.name, place, isIndex ? await source.blob(descriptor) : bytes, parseManifest);
    const [layout, ...others] = manifest.layers;
    const [, part, of] = /^([1-9]\d*)\/([1-9]\d*)$/.exec(manifest.annotations?.[annotations.part] ?? '') ?? [];
    if (!isLayout(layout) || part === undefined)
      throw new NotAnArchiveError(source.name, 'it holds something else than a machine');
    if (Number(of) !== manifests.length) throw new ArchiveIncompleteError(source.name, manifests.length, Number(of));
    if (Number(part) !== number + 1)
      throw new ArchiveCorruptError(source.name, place, `is part ${part} of ${of} and stands in place ${number + 1}`);
    return [layout, ...others];
  };
  const [layout, ...others] = await layersOf(0);
  const bundle = others[0]?.mediaType === mediaTypes.bundle ? others.shift() : undefined;
  async function* segments(): Manifests['segments'] {
    yield* others;
    for (let number = 1; number < manifests.length; number++) {
      const [again, ...more] = await layersOf(number);
      if (again.digest !== layout.digest)
        throw new ArchiveCorruptError(
          source.name,
          blobPath(manifests[number]?.digest ?? ''),
          'has another layout than the first',
        );
      yield* more;
    }
  }
  return { layout, bundle, segments: segments() };
}

function isLayout(layer: Descriptor | undefined): layer is Descriptor {
  return layer?.mediaType === mediaTypes.layout || layer?.mediaType === mediaTypes.encryptedLayout;
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
