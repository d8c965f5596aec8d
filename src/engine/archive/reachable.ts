/**
 * All blobs that the documents of an image layout name, also those that are not doppel's: OCI image specification 1.1 and Docker's
 * image manifests, version 2, schema 2.
 */
import { z } from 'zod';
import { UnknownContentError } from './errors.ts';
import { document } from './manifests.ts';
import { blobPath, mediaTypes, parse } from './oci.ts';
import type { BlobSource } from './store.ts';

/** What these hold is read; everything else that they name is a blob and no more. */
const documents: ReadonlySet<string> = new Set([
  mediaTypes.index,
  mediaTypes.manifest,
  'application/vnd.oci.artifact.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.docker.distribution.manifest.v2+json',
]);

const descriptorSchema = z.object({ mediaType: z.string(), digest: z.string(), size: z.int().min(0) });
type Reference = z.infer<typeof descriptorSchema>;

const documentSchema = z.object({
  manifests: z.array(descriptorSchema).optional(),
  config: descriptorSchema.optional(),
  layers: z.array(descriptorSchema).optional(),
  blobs: z.array(descriptorSchema).optional(),
  subject: descriptorSchema.optional(),
});

const parseAny = (bytes: Uint8Array): z.infer<typeof documentSchema> => parse(bytes, documentSchema);

/**
 * Digests. `present`: those whose blobs are there; a subject need not be.
 * @throws UnknownContentError for a document that cannot be read; ArchiveCorruptError for one that is missing or damaged; ArchiveIoError
 */
export async function reachable(source: BlobSource, present: ReadonlySet<string>): Promise<ReadonlySet<string>> {
  const found = new Set<string>();
  const follow = async (place: string, bytes: Uint8Array): Promise<void> => {
    const { manifests = [], config, layers = [], blobs = [], subject } = document(source.name, place, bytes, parseAny);
    for (const each of manifests) await reach(place, each, true);
    for (const each of [config ?? [], layers, blobs].flat()) await reach(place, each, false);
    if (subject !== undefined && present.has(subject.digest)) await reach(place, subject, true);
  };
  const reach = async (from: string, { mediaType, digest, size }: Reference, mustBeRead: boolean): Promise<void> => {
    const isDocument = documents.has(mediaType);
    if (mustBeRead && (!isDocument || !digest.startsWith('sha256:')))
      throw new UnknownContentError(source.name, from, mediaType, digest);
    if (found.has(digest)) return;
    found.add(digest);
    if (isDocument) await follow(blobPath(digest), await source.blob({ digest, size }));
  };
  await follow('index.json', await source.document('index.json'));
  return found;
}
