/** Zstandard of Node.js 22.15 and newer. */
import { promisify } from 'node:util';
import * as zlib from 'node:zlib';
import { type Codec, fill } from './codec.ts';

type Callback = (error: Error | null, bytes: Uint8Array) => void;
interface NodeZstd {
  readonly zstdCompress?: (from: Uint8Array, options: object, callback: Callback) => void;
  readonly zstdDecompress?: (from: Uint8Array, options: object, callback: Callback) => void;
  readonly constants: Readonly<Record<string, number>>;
}

/** Undefined where Node.js is older. */
export function nodeCodec(): Codec | undefined {
  const { zstdCompress, zstdDecompress, constants } = zlib as unknown as NodeZstd;
  if (zstdCompress === undefined || zstdDecompress === undefined) return undefined;
  const [compress, decompress] = [promisify(zstdCompress), promisify(zstdDecompress)];
  return {
    compress: (content, level) =>
      compress(content, {
        pledgedSrcSize: content.length,
        params: {
          [constants.ZSTD_c_compressionLevel as number]: level,
          [constants.ZSTD_c_contentSizeFlag as number]: 1,
          [constants.ZSTD_c_checksumFlag as number]: 1,
        },
      }),
    decompress: async (frame, into) => fill(into, await decompress(frame, { maxOutputLength: Math.max(into.length, 1) })),
  };
}
