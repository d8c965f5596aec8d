/** The entries of a tar, one after the other, as far as an archive may have them. The format: POSIX pax, `ustar` headers. */
import { ArchiveCorruptError, NotAnArchiveError } from './errors.ts';

/** A tar, read from the front to the end. */
export interface TarBytes {
  /** Where the next byte stands. */
  readonly offset: number;
  /** Fills `into`. False when the tar ends before. */
  read(into: Uint8Array): Promise<boolean>;
  /** False when the tar ends before. */
  skip(length: number): Promise<boolean>;
}

export interface TarEntry {
  /** One of an image layout, without `./` before it. */
  readonly path: string;
  /** Where its bytes begin, and how many there are. Whoever wants them reads them before the next entry. */
  readonly offset: number;
  readonly size: number;
  /** Of its extended header. */
  readonly attributes: ReadonlyMap<string, string>;
}

const BLOCK = 512;
/** Bytes of one extended header. */
const LARGEST_EXTENSION = 1 << 20;
const fileName = /^(?:\.\/)?(oci-layout|index\.json|blobs\/sha256\/[0-9a-f]{64})$/;
const folderName = /^(?:\.\/?)?(?:blobs\/?|blobs\/sha256\/?)?$/;

/** @throws NotAnArchiveError, ArchiveCorruptError for what is cut off, damaged, or does not belong into an archive */
export async function* tarEntries(archive: string, bytes: TarBytes): AsyncGenerator<TarEntry, void, void> {
  const header = new Uint8Array(BLOCK);
  let attributes = new Map<string, string>();
  const start = bytes.offset;
  let isArchive = false;
  for (;;) {
    const place = `its entry at byte ${bytes.offset}`;
    const cutOff = (): ArchiveCorruptError => new ArchiveCorruptError(archive, place, `is cut off at byte ${bytes.offset}`);
    const first = bytes.offset === start;
    if (!(await bytes.read(header))) throw !first ? cutOff() : bytes.offset === start ? nothingCame(archive) : notTar(archive);
    const entry = decoded(archive, header, place, first);
    if (entry === null) return;
    const size = attributes.has('size') ? Number(attributes.get('size')) : entry.size;
    if (!Number.isSafeInteger(size) || size < 0) throw new ArchiveCorruptError(archive, place, 'does not say how large it is');
    const { offset } = bytes;
    const next = offset + Math.ceil(size / BLOCK) * BLOCK;
    if (entry.type === 'pax-header') {
      if (size > LARGEST_EXTENSION) throw new ArchiveCorruptError(archive, place, `is an extended header of ${size} bytes`);
      const text = new Uint8Array(size);
      if (!(await bytes.read(text))) throw cutOff();
      const found = parseExtension(Buffer.from(text));
      if (found === undefined) throw new ArchiveCorruptError(archive, place, 'is a damaged extended header');
      attributes = found;
    } else {
      const path = attributes.get('path') ?? entry.name;
      const [, name] = entry.type === 'file' ? (fileName.exec(path) ?? []) : [];
      if (name !== undefined) {
        isArchive = true;
        yield { path: name, offset, size, attributes };
      } else if (entry.type !== 'directory' || !folderName.test(path)) {
        const what = `(${entry.type} ${JSON.stringify(path)}) does not belong there`;
        throw isArchive ? new ArchiveCorruptError(archive, place, what) : new NotAnArchiveError(archive, `${place} ${what}`);
      }
      attributes = new Map();
    }
    if (!(await bytes.skip(next - bytes.offset))) throw cutOff();
  }
}

interface Header {
  readonly name: string;
  readonly size: number;
  readonly type: 'file' | 'directory' | 'pax-header' | 'other';
}

const CHECKSUM = { offset: 148, length: 8 } as const;

/** Null for a block of zeros, which ends a tar. */
function decoded(archive: string, block: Uint8Array, place: string, first: boolean): Header | null {
  const header = Buffer.from(block.buffer, block.byteOffset, block.length);
  if (header.every((byte) => byte === 0)) return null;
  // The checksum counts its own field as blanks.
  let sum = CHECKSUM.length * 0x20;
  for (let at = 0; at < BLOCK; at++)
    if (at < CHECKSUM.offset || at >= CHECKSUM.offset + CHECKSUM.length) sum += header[at] as number;
  if (octal(header, CHECKSUM.offset, CHECKSUM.length) !== sum) {
    throw first ? notTar(archive) : new ArchiveCorruptError(archive, place, 'has a header with a wrong checksum');
  }
  const prefix = header.toString('latin1', 257, 262) === 'ustar' ? textOf(header, 345, 155) : '';
  const name = textOf(header, 0, 100);
  return {
    name: prefix === '' ? name : `${prefix}/${name}`,
    size: octal(header, 124, 12),
    type: types[String.fromCharCode(header[156] as number)] ?? 'other',
  };
}

const types: Readonly<Record<string, Header['type']>> = { '\0': 'file', '0': 'file', '5': 'directory', x: 'pax-header' };

function textOf(header: Buffer, offset: number, length: number): string {
  const stop = header.indexOf(0, offset);
  return header.toString('utf8', offset, stop < 0 ? offset + length : Math.min(stop, offset + length));
}

/** NaN for what is no octal number; sizes from 8 GiB on stand in an extended header. */
function octal(header: Buffer, offset: number, length: number): number {
  const text = textOf(header, offset, length).trim();
  return /^[0-7]+$/.test(text) ? Number.parseInt(text, 8) : Number.NaN;
}

function nothingCame(archive: string): NotAnArchiveError {
  return new NotAnArchiveError(archive, 'it is empty', 'Behind a pipe: see what the command before it says.');
}

function notTar(archive: string): NotAnArchiveError {
  return new NotAnArchiveError(archive, 'it is neither a directory nor a tar file');
}

/** Records `LENGTH KEY=VALUE\n`, where LENGTH counts the whole record. */
function parseExtension(text: Buffer): Map<string, string> | undefined {
  const found = new Map<string, string>();
  for (let at = 0; at < text.length; ) {
    const [, digits] = /^([1-9][0-9]{0,6}) /.exec(text.toString('latin1', at, at + 8)) ?? [];
    const stop = at + Number(digits);
    if (digits === undefined || stop > text.length || text[stop - 1] !== 0x0a) return undefined;
    const record = text.toString('utf8', at + digits.length + 1, stop - 1);
    const equals = record.indexOf('=');
    if (equals < 1) return undefined;
    found.set(record.slice(0, equals), record.slice(equals + 1));
    at = stop;
  }
  return found;
}
