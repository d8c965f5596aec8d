/**
 * The 512-byte header of a slot, little-endian. The table stands in docs/profile.md. Every version keeps the magic at 0, the
 * version at 8 and the CRC-32 of bytes 0 to 507 at 508, so that an older program can tell "newer" from "damaged".
 */
import { crc32 } from 'node:zlib';

export const headerBytes = 512;
export const containerVersion = 1;
/** "DOPL", then bytes that text tools and 7-bit transports change. */
export const containerMagic = Uint8Array.of(0x44, 0x4f, 0x50, 0x4c, 0x8f, 0x0d, 0x0a, 0x1a);
/** Payload codec: a bundle as zlib-compressed JSON (bundle-codec.ts). */
export const codecZlibJson = 1;

const at = {
  version: 8,
  headerLength: 10,
  flags: 12,
  generation: 16,
  payloadLength: 24,
  codec: 32,
  reserved16: 34,
  alignment: 36,
  targetId: 40,
  sha256: 56,
  keyId: 88,
  signature: 120,
  reserved: 184,
  crc: 508,
} as const;

export interface SlotHeader {
  readonly generation: number;
  /** Bytes. */
  readonly payloadLength: number;
  readonly codec: number;
  /** Bytes; the payload begins this far behind the slot's start, and slots begin at multiples of it. */
  readonly alignment: number;
  /** Lower-case UUID. */
  readonly targetId: string;
  readonly sha256: Uint8Array;
}

export type HeaderReading =
  /** All zero: never written, or blanked. */
  | { readonly state: 'blank' }
  | { readonly state: 'no magic' }
  | { readonly state: 'bad CRC' }
  | { readonly state: 'bad header'; readonly reason: string }
  | { readonly state: 'newer'; readonly what: string }
  | { readonly state: 'header'; readonly header: SlotHeader };

export function encodeHeader(header: SlotHeader): Uint8Array {
  const bytes = new Uint8Array(headerBytes);
  const view = new DataView(bytes.buffer);
  bytes.set(containerMagic);
  view.setUint16(at.version, containerVersion, true);
  view.setUint16(at.headerLength, headerBytes, true);
  view.setBigUint64(at.generation, BigInt(header.generation), true);
  view.setBigUint64(at.payloadLength, BigInt(header.payloadLength), true);
  view.setUint16(at.codec, header.codec, true);
  view.setUint32(at.alignment, header.alignment, true);
  bytes.set(uuidToBytes(header.targetId), at.targetId);
  bytes.set(header.sha256, at.sha256);
  view.setUint32(at.crc, crc32(bytes.subarray(0, at.crc)), true);
  return bytes;
}

/** Never throws: whatever 512 bytes say is an answer. */
export function decodeHeader(bytes: Uint8Array): HeaderReading {
  const view = new DataView(bytes.buffer, bytes.byteOffset, headerBytes);
  if (!hasMagic(bytes)) {
    if (bytes.subarray(0, headerBytes).every((byte) => byte === 0)) return { state: 'blank' };
    const mended = bytes.slice(0, at.crc);
    mended.set(containerMagic);
    const ours = view.getUint32(at.crc, true) === crc32(mended);
    return ours ? { state: 'bad header', reason: 'the magic is damaged' } : { state: 'no magic' };
  }
  if (view.getUint32(at.crc, true) !== crc32(bytes.subarray(0, at.crc))) return { state: 'bad CRC' };
  const version = view.getUint16(at.version, true);
  if (version > containerVersion)
    return { state: 'newer', what: `container version ${version}, this one reads ${containerVersion}` };
  if (version === 0) return { state: 'bad header', reason: 'the version is 0' };
  const headerLength = view.getUint16(at.headerLength, true);
  if (headerLength !== headerBytes)
    return { state: 'bad header', reason: `the header length is ${headerLength}, not ${headerBytes}` };
  const flags = view.getUint32(at.flags, true);
  if (flags !== 0) return { state: 'newer', what: `the flags 0x${flags.toString(16)} (signed or encrypted) are not known here` };
  const unused = [bytes.subarray(at.reserved16, at.alignment), bytes.subarray(at.keyId, at.crc)];
  if (unused.some((part) => part.some((byte) => byte !== 0))) {
    return { state: 'newer', what: 'a header field that must be zero (key id, signature, reserved) is used' };
  }
  const codec = view.getUint16(at.codec, true);
  if (codec !== codecZlibJson) return { state: 'newer', what: `the payload codec ${codec} is not known here` };
  const generation = view.getBigUint64(at.generation, true);
  if (generation === 0n || generation > BigInt(Number.MAX_SAFE_INTEGER)) {
    return { state: 'bad header', reason: `the generation ${generation} is out of range` };
  }
  const payloadLength = view.getBigUint64(at.payloadLength, true);
  if (payloadLength > BigInt(Number.MAX_SAFE_INTEGER))
    return { state: 'bad header', reason: `the payload length ${payloadLength} is absurd` };
  return {
    state: 'header',
    header: {
      generation: Number(generation),
      payloadLength: Number(payloadLength),
      codec,
      alignment: view.getUint32(at.alignment, true),
      targetId: bytesToUuid(bytes.subarray(at.targetId, at.sha256)),
      sha256: bytes.slice(at.sha256, at.keyId),
    },
  };
}

export function hasMagic(bytes: Uint8Array): boolean {
  return containerMagic.every((byte, index) => bytes[index] === byte);
}

const uuidPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** Whether this is a UUID in lower case that is not all zero. */
export function isTargetId(text: string): boolean {
  return uuidPattern.test(text) && /[1-9a-f]/.test(text);
}

/** RFC 9562 byte order. @throws RangeError */
function uuidToBytes(uuid: string): Uint8Array {
  if (!isTargetId(uuid)) throw new RangeError(`${uuid} is not a UUID in lower case`);
  return Buffer.from(uuid.replaceAll('-', ''), 'hex');
}

function bytesToUuid(bytes: Uint8Array): string {
  return Buffer.from(bytes)
    .toString('hex')
    .replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
