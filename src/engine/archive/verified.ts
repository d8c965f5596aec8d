/** A blob is what its descriptor says, or nobody gets to see it. */
import { ArchiveCorruptError } from './errors.ts';
import { largestFrame, segmentSizes } from './layout.ts';
import { blobPath, type Descriptor, sha256 } from './oci.ts';

/** Bytes: a segment of the largest size, or a layout, that cannot be compressed. */
export const LARGEST_BLOB = largestFrame(segmentSizes.largest);

/** To be asked before anything is allocated. @throws ArchiveCorruptError */
export function checkSize(archive: string, { digest, size }: Pick<Descriptor, 'digest' | 'size'>, found: number): void {
  if (found !== size) throw new ArchiveCorruptError(archive, blobPath(digest), `has ${found} bytes instead of ${size}`);
  if (size > LARGEST_BLOB) throw new ArchiveCorruptError(archive, blobPath(digest), `has ${size} bytes, more than any blob has`);
}

/** @throws ArchiveCorruptError */
export function checkDigest(archive: string, digest: string, bytes: Uint8Array): void {
  const found = sha256(bytes);
  if (found !== digest)
    throw new ArchiveCorruptError(archive, blobPath(digest), `has the digest ${found}, which is not its name`);
}
