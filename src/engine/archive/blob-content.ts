/** What the blobs of an archive hold, be it kept somewhere or still arriving: decrypted, decompressed, and checked. */
import { AgeError, decryptWith, isAge, NoIdentityError } from './age.ts';
import type { Cell } from './cells.ts';
import { contentDigest } from './content-digest.ts';
import { ArchiveCorruptError, ArchiveEncryptedError, ArchiveVersionError, WrongIdentityError } from './errors.ts';
import { FrameError, readFrame } from './frame.ts';
import type { ArchiveKeys } from './keys.ts';
import { type ArchiveLayout, decodeLayout, LARGEST_LAYOUT, LayoutError, LayoutVersionError } from './layout.ts';
import { blobPath, sha256 } from './oci.ts';
import type { Segment } from './segment-table.ts';
import type { Zstd } from './zstd.ts';

interface ReadOptions {
  readonly keys: ArchiveKeys;
  readonly zstd: Zstd;
}

interface ContentOptions extends ReadOptions {
  /** That of the layout. */
  readonly salt: Uint8Array | undefined;
  /** Where the content goes, if it is given. */
  readonly room?: Uint8Array | undefined;
}

/** @throws ArchiveCorruptError, ArchiveVersionError, ArchiveEncryptedError, WrongIdentityError */
export async function readLayout(
  archive: string,
  digest: string,
  blob: Uint8Array,
  { keys, zstd }: ReadOptions,
): Promise<ArchiveLayout> {
  const place = blobPath(digest);
  const encrypted = isAge(blob);
  const frame = encrypted ? await decrypted(archive, place, blob, keys, 'it') : blob;
  try {
    const { contentSize } = readFrame(frame);
    if (contentSize > LARGEST_LAYOUT) throw new LayoutError(`has ${contentSize} bytes, more than any layout has`);
    const layout = decodeLayout(await zstd.decompress(frame, contentSize));
    if ((layout.salt !== undefined) !== encrypted)
      throw new LayoutError(encrypted ? 'has no salt' : 'has a salt, and is not encrypted');
    return layout;
  } catch (error) {
    if (error instanceof LayoutVersionError) throw new ArchiveVersionError(archive, error.version);
    if (error instanceof LayoutError || error instanceof FrameError)
      throw new ArchiveCorruptError(archive, place, error.message, error);
    throw error;
  }
}

/** @throws ArchiveCorruptError unless `blob` holds what the cell's data is */
export async function contentOf(
  archive: string,
  blob: Uint8Array,
  cell: Cell,
  { digest, content: wanted }: Pick<Segment, 'digest' | 'content'>,
  { keys, zstd, salt, room }: ContentOptions,
): Promise<Uint8Array> {
  const place = blobPath(digest);
  const frame = salt === undefined ? blob : await decrypted(archive, place, blob, keys);
  const content = await zstd.decompress(frame, cell.length, room).catch((error: unknown) => {
    if (error instanceof FrameError) throw new ArchiveCorruptError(archive, place, error.message, error);
    throw error;
  });
  if (contentDigest(content, salt) === wanted) return content;
  throw new ArchiveCorruptError(archive, place, `has other content than is written of ${cell.image} at byte ${cell.offset}`);
}

/** @throws ArchiveEncryptedError, WrongIdentityError, ArchiveCorruptError */
export function readBundle(archive: string, file: Uint8Array, { keys }: Pick<ReadOptions, 'keys'>): Promise<Uint8Array> {
  return decrypted(archive, blobPath(sha256(file)), file, keys, 'the profile in it');
}

/** `what` it is, for who has no key for it. Without: it has the keys of something that was decrypted already, or does not belong there. */
async function decrypted(
  archive: string,
  place: string,
  file: Uint8Array,
  { identities }: ArchiveKeys,
  what?: string,
): Promise<Uint8Array> {
  if (identities.length === 0) throw new ArchiveEncryptedError(archive, what);
  try {
    return await decryptWith(identities, file);
  } catch (error) {
    if (error instanceof NoIdentityError && what !== undefined) throw new WrongIdentityError(archive, what, error);
    if (error instanceof AgeError) throw new ArchiveCorruptError(archive, place, error.message, error);
    throw error;
  }
}
