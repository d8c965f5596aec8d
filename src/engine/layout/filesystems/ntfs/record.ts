/**
 * Records of the master file table and the attributes in them.
 * Format: the NTFS documentation of the Linux-NTFS project, "FILE Record", "Fixup", "Attribute Header".
 */
import { insist, u64le } from '../bytes.ts';

/** Multi-sector structures are protected in strides of this many bytes, whatever the sector size. */
const stride = 512;
const headerBytes = 42;
const flagInUse = 1;
const endMark = 0xffffffff;

export const attributeType = {
  list: 0x20,
  volumeName: 0x60,
  volumeInformation: 0x70,
  data: 0x80,
  indexRoot: 0x90,
  indexAllocation: 0xa0,
} as const;

/** A file's number and the generation of its record. */
export interface FileReference {
  readonly number: number;
  readonly sequence: number;
}

export interface FileRecord {
  readonly number: number;
  readonly sequence: number;
  /** Set in records that only continue another one. */
  readonly base: FileReference | undefined;
  readonly attributes: readonly Attribute[];
}

export interface Attribute {
  readonly type: number;
  readonly name: string;
  /** Compressed, encrypted or sparse: not 0. */
  readonly flags: number;
  /** Present when the value stands in the record itself. */
  readonly value?: Buffer;
  /** Present when the value stands in clusters. */
  readonly extent?: {
    readonly firstVcn: number;
    readonly lastVcn: number;
    /** Bytes; only told in the extent with `firstVcn` 0. */
    readonly size: number;
    readonly initialized: number;
    /** The packed list of runs. */
    readonly pairs: Buffer;
  };
}

export function referenceAt(bytes: Buffer, at: number): FileReference {
  return { number: bytes.readUIntLE(at, 6), sequence: bytes.readUInt16LE(at + 6) };
}

/**
 * Puts the last two bytes of each 512-byte stride back in place (in `bytes` itself).
 * @throws NotMappableError when one of them is not what the update sequence says: the structure was torn while being written.
 */
export function applyFixups(bytes: Buffer, what: string): void {
  const at = bytes.readUInt16LE(4);
  const count = bytes.readUInt16LE(6);
  const fits = count === bytes.length / stride + 1 && at >= 8 && at % 2 === 0 && at + count * 2 <= stride - 2;
  insist(fits, `the update sequence of ${what} makes no sense`);
  for (let i = 1; i < count; i++) {
    const tail = i * stride - 2;
    insist(bytes.readUInt16LE(tail) === bytes.readUInt16LE(at), `${what} was torn while it was written (its fixups are wrong)`);
    bytes.copyWithin(tail, at + i * 2, at + i * 2 + 2);
  }
}

/** @throws NotMappableError for a record that is not in use, torn, or whose attributes run over its end. */
export function parseRecord(bytes: Buffer, number: number): FileRecord {
  const what = `record ${number} of the master file table`;
  insist(bytes.toString('latin1', 0, 4) === 'FILE', `${what} has no magic`);
  applyFixups(bytes, what);
  insist((bytes.readUInt16LE(22) & flagInUse) !== 0, `${what} is not in use`);
  const used = bytes.readUInt32LE(24);
  insist(used >= headerBytes && used <= bytes.length, `${what} says that it has ${used} bytes`);
  const base = referenceAt(bytes, 32);
  return {
    number,
    sequence: bytes.readUInt16LE(16),
    base: base.number === 0 && base.sequence === 0 ? undefined : base,
    attributes: [...parseAttributes(bytes.subarray(0, used), what)],
  };
}

function* parseAttributes(bytes: Buffer, what: string): Iterable<Attribute> {
  const broken = `the attributes of ${what} make no sense`;
  for (let at = bytes.readUInt16LE(20); ; ) {
    insist(at >= headerBytes && at % 4 === 0 && at + 4 <= bytes.length, broken);
    if (bytes.readUInt32LE(at) === endMark) return;
    insist(at + 24 <= bytes.length, broken);
    const length = bytes.readUInt32LE(at + 4);
    insist(length >= 24 && at + length <= bytes.length, broken);
    yield parseAttribute(bytes.subarray(at, at + length), broken);
    at += length;
  }
}

function parseAttribute(bytes: Buffer, broken: string): Attribute {
  const nameAt = bytes.readUInt16LE(10);
  const nameEnd = nameAt + (bytes[9] as number) * 2;
  insist(nameEnd <= bytes.length, broken);
  const common = {
    type: bytes.readUInt32LE(0),
    name: bytes.toString('utf16le', nameAt, nameEnd),
    flags: bytes.readUInt16LE(12),
  };
  if (bytes[8] === 0) {
    const from = bytes.readUInt16LE(20);
    const to = from + bytes.readUInt32LE(16);
    insist(to <= bytes.length, broken);
    return { ...common, value: bytes.subarray(from, to) };
  }
  insist(bytes[8] === 1 && bytes.length >= 64, broken);
  const pairsAt = bytes.readUInt16LE(32);
  insist(pairsAt >= 64 && pairsAt <= bytes.length, broken);
  const firstVcn = u64le(bytes, 16);
  const lastVcn = Number(bytes.readBigInt64LE(24));
  const size = u64le(bytes, 48);
  return { ...common, extent: { firstVcn, lastVcn, size, initialized: u64le(bytes, 56), pairs: bytes.subarray(pairsAt) } };
}
