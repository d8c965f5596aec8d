/** The outside of a Zstandard frame, as RFC 8878, section 3.1, has it. */

/** Not one frame, or none that an archive may hold. */
export class FrameError extends Error {}

export interface Frame {
  /** Bytes of the content, as the header says. */
  readonly contentSize: number;
  /** Of the content: the low 32 bits of XXH64. */
  readonly checksum: number;
}

const MAGIC = 0xfd2fb528;
const SINGLE_SEGMENT = 0x20;
const RESERVED = 0x08;
export const CHECKSUM_FLAG = 0x04;
const DICTIONARY = 0x03;
const RAW_BLOCK = 0;
const RLE_BLOCK = 1;
const COMPRESSED_BLOCK = 2;
/** Bytes of the content size by its flag; 0 stands for none, or for one byte in a single segment. */
const sizeLengths = [0, 2, 4, 8] as const;

/** Walks over all blocks. @throws FrameError unless `bytes` are one whole frame with its content size and a checksum, without a dictionary */
export function readFrame(bytes: Uint8Array): Frame {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const need = (end: number): void => {
    if (end > bytes.length) throw new FrameError(`ends after ${bytes.length} bytes, in the middle of its frame`);
  };
  need(5);
  if (view.getUint32(0, true) !== MAGIC) throw new FrameError('does not begin as a Zstandard frame');
  const descriptor = view.getUint8(4);
  if ((descriptor & RESERVED) !== 0) throw new FrameError('has a reserved bit set in its frame header');
  if ((descriptor & DICTIONARY) !== 0) throw new FrameError('needs a dictionary');
  if ((descriptor & CHECKSUM_FLAG) === 0) throw new FrameError('has no checksum');
  const single = (descriptor & SINGLE_SEGMENT) !== 0;
  const sizeLength = sizeLengths[descriptor >> 6] || (single ? 1 : 0);
  if (sizeLength === 0) throw new FrameError('does not say how large its content is');
  const sizeAt = single ? 5 : 6;
  need(sizeAt + sizeLength);
  let at = sizeAt + sizeLength;
  for (let last = false; !last; ) {
    need(at + 3);
    const header = view.getUint16(at, true) | (view.getUint8(at + 2) << 16);
    last = (header & 1) !== 0;
    const type = (header >> 1) & 3;
    if (type !== RAW_BLOCK && type !== RLE_BLOCK && type !== COMPRESSED_BLOCK)
      throw new FrameError('has a block of a reserved type');
    at += 3 + (type === RLE_BLOCK ? 1 : header >> 3);
  }
  need(at + 4);
  if (at + 4 < bytes.length) throw new FrameError(`goes on for ${bytes.length - at - 4} bytes behind its frame`);
  return { contentSize: contentSize(view, sizeAt, sizeLength), checksum: view.getUint32(at, true) };
}

function contentSize(view: DataView, at: number, length: number): number {
  switch (length) {
    case 1:
      return view.getUint8(at);
    case 2:
      return view.getUint16(at, true) + 256;
    case 4:
      return view.getUint32(at, true);
    default: {
      const size = view.getBigUint64(at, true);
      if (size > BigInt(Number.MAX_SAFE_INTEGER)) throw new FrameError(`says that its content has ${size} bytes`);
      return Number(size);
    }
  }
}
