/** The documents of an OCI image layout, as far as an archive has them. See the OCI image specification 1.0 and docs/archive.md. */
import { createHash } from 'node:crypto';
import { z } from 'zod';

export const mediaTypes = {
  segment: 'application/vnd.doppel.segment.v1+zstd',
  layout: 'application/vnd.doppel.layout.v1+zstd',
  encryptedSegment: 'application/vnd.doppel.segment.v1+zstd+age',
  encryptedLayout: 'application/vnd.doppel.layout.v1+zstd+age',
  bundle: 'application/vnd.doppel.bundle.v1+age',
  config: 'application/vnd.oci.image.config.v1+json',
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  index: 'application/vnd.oci.image.index.v1+json',
} as const;

/** What a registry keeps apart from blobs. */
export function isDocument(mediaType: string | undefined): boolean {
  return mediaType === mediaTypes.manifest || mediaType === mediaTypes.index;
}

export const annotations = {
  image: 'vnd.doppel.image',
  offset: 'vnd.doppel.offset',
  content: 'vnd.doppel.content',
  unreadable: 'vnd.doppel.unreadable',
  part: 'vnd.doppel.part',
  key: 'vnd.doppel.key',
  signature: 'vnd.doppel.signature',
  tag: 'org.opencontainers.image.ref.name',
} as const;

/** What a tar says of a segment besides, and of what stands beside the layout. */
export const paxKeys = {
  image: 'DOPPEL.image',
  offset: 'DOPPEL.offset',
  content: 'DOPPEL.content',
  unreadable: 'DOPPEL.unreadable',
  mediaType: 'DOPPEL.mediaType',
} as const;

/** Registries refuse larger ones. Bytes. */
export const LARGEST_DOCUMENT = 4 << 20;
/** Of one manifest, the layout among them. */
export const MOST_LAYERS = 1000;

const descriptorSchema = z.object({
  mediaType: z.string(),
  digest: z.string().regex(/^sha256:[0-9a-f]{64}$/),
  size: z.int().min(0),
  annotations: z.record(z.string(), z.string()).optional(),
});
export type Descriptor = Readonly<z.infer<typeof descriptorSchema>>;

const manifestSchema = z.object({
  schemaVersion: z.literal(2),
  mediaType: z.literal(mediaTypes.manifest).optional(),
  config: descriptorSchema,
  layers: z.array(descriptorSchema).max(MOST_LAYERS),
  annotations: z.record(z.string(), z.string()).optional(),
});
export type Manifest = z.infer<typeof manifestSchema>;

const indexSchema = z.object({
  schemaVersion: z.literal(2),
  mediaType: z.literal(mediaTypes.index).optional(),
  manifests: z.array(descriptorSchema).min(1).max(MOST_LAYERS),
});
export type Index = z.infer<typeof indexSchema>;

const annotatedSchema = z.object({ annotations: z.record(z.string(), z.string()).optional() });

const layoutFileSchema = z.object({ imageLayoutVersion: z.literal('1.0.0') });

/** The content of the file `oci-layout`. */
export const layoutFile = '{"imageLayoutVersion":"1.0.0"}';

/** A document is not what it has to be; the message is about it. */
export class DocumentError extends Error {}

export const parseManifest = (bytes: Uint8Array): Manifest => parse(bytes, manifestSchema);
export const parseIndex = (bytes: Uint8Array): Index => parse(bytes, indexSchema);
/** What manifests and indexes have in common. */
export const parseAnnotated = (bytes: Uint8Array): z.infer<typeof annotatedSchema> => parse(bytes, annotatedSchema);
/** @throws DocumentError unless it is the file `oci-layout` of a version that is known */
export const checkLayoutFile = (bytes: Uint8Array): void => void parse(bytes, layoutFileSchema);

/** @throws DocumentError */
export function parse<T>(bytes: Uint8Array, schema: z.ZodType<T>): T {
  if (bytes.length > LARGEST_DOCUMENT) throw new DocumentError(`has ${bytes.length} bytes, more than ${LARGEST_DOCUMENT}`);
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    throw new DocumentError(`is no JSON: ${(error as Error).message}`);
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new DocumentError(`is not as it should be: ${issue?.path.join('.')}: ${issue?.message}`);
}

export function sha256(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

/** Where a blob stands in a layout. */
export function blobPath(digest: string): string {
  return `blobs/${digest.replace(':', '/')}`;
}
