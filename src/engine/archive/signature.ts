/**
 * The signature of an archive: ed25519 over the digest of the document that names everything else, in an annotation of that very
 * document, so that it goes wherever the archive goes. See docs/archive.md.
 */
import { type KeyObject, sign, verify } from 'node:crypto';
import { ArchiveCorruptError, ArchiveSignatureError, ArchiveUnsignedError, UnknownSignerError } from './errors.ts';
import { annotations, blobPath, DocumentError, parseAnnotated, sha256 } from './oci.ts';

export interface Signer {
  /** SHA-256 of the raw public key, hexadecimal. */
  readonly id: string;
  readonly key: KeyObject;
}

/** Whose signatures count. */
export interface Trust {
  /** Public keys by their ids. */
  readonly keys: ReadonlyMap<string, KeyObject>;
  /** What nobody of them signed is refused. */
  readonly required: boolean;
}

/** `unchecked`: there was no key to check it with. */
export type Signature =
  | { readonly state: 'unsigned' }
  | { readonly state: 'trusted' | 'unknown' | 'unchecked'; readonly key: string };

const FIELD = `"${annotations.signature}":"`;

/** The document of an archive that names everything else, with its signature. */
export function signed(document: Signable, { id, key }: Signer): Signable {
  const withSignature = (signature: string): Signable => ({
    ...document,
    annotations: { ...document.annotations, [annotations.key]: id, [annotations.signature]: signature },
  });
  return withSignature(sign(null, signedText(Buffer.from(JSON.stringify(withSignature('')))), key).toString('base64'));
}

/** Annotations are all that is looked at. */
type Signable = object & { readonly annotations?: Readonly<Record<string, string>> };

/**
 * `document`: the bytes of the manifest or index whose digest is the archive's. Pure.
 * @throws ArchiveSignatureError for a signature that does not fit, ArchiveCorruptError for half of one; where one is required,
 * ArchiveUnsignedError, UnknownSignerError
 */
export function checkSignature(archive: string, document: Uint8Array, { keys, required }: Trust): Signature {
  const place = blobPath(sha256(document));
  const { [annotations.key]: id, [annotations.signature]: signature } = annotationsOf(archive, place, document);
  if (id === undefined && signature === undefined) {
    if (required) throw new ArchiveUnsignedError(archive);
    return { state: 'unsigned' };
  }
  if (id === undefined || signature === undefined || !/^[0-9a-f]{64}$/.test(id))
    throw new ArchiveCorruptError(archive, place, 'has half a signature');
  const key = keys.get(id);
  if (key === undefined) {
    if (required) throw new UnknownSignerError(archive, id);
    return { state: keys.size === 0 ? 'unchecked' : 'unknown', key: id };
  }
  const bytes = Buffer.from(signature, 'base64');
  const unsigned = withoutSignature(document, signature);
  if (unsigned === undefined || bytes.toString('base64') !== signature || !verify(null, signedText(unsigned), key, bytes))
    throw new ArchiveSignatureError(archive, place, id);
  return { state: 'trusted', key: id };
}

function annotationsOf(archive: string, place: string, document: Uint8Array): Readonly<Record<string, string>> {
  try {
    return parseAnnotated(document).annotations ?? {};
  } catch (error) {
    if (error instanceof DocumentError) throw new ArchiveCorruptError(archive, place, error.message, error);
    throw error;
  }
}

/** The bytes that were signed: all of the document but the signature, which stands in it once. */
function withoutSignature(document: Uint8Array, signature: string): Uint8Array | undefined {
  const parts = Buffer.from(document).toString('latin1').split(`${FIELD}${signature}"`);
  return parts.length === 2 ? Buffer.from(parts.join(`${FIELD}"`), 'latin1') : undefined;
}

function signedText(document: Uint8Array): Uint8Array {
  return Buffer.from(`doppel archive signature 1\n${sha256(document)}\n`);
}
