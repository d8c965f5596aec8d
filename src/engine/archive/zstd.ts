/** Frames by whichever codec there is: all write what the others read. */
import { createRequire } from 'node:module';
import { promisify } from 'node:util';
import * as zlib from 'node:zlib';
import { digestOf } from '../lanes/digests.ts';
import { Libzstd } from '../native/libzstd.ts';
import { CHECKSUM_FLAG, FrameError, readFrame } from './frame.ts';

/** From the fastest to the one that is always there. */
export const codecNames = ['libzstd', 'node', 'zstd-codec'] as const;
export type CodecName = (typeof codecNames)[number];

/** Levels as the zstd program has them. */
export const levels = { lowest: 1, highest: 19, usual: 3 } as const;

interface Codec {
  compress(content: Uint8Array, level: number): Promise<Uint8Array>;
  /** Fills `into`, which has the size that the frame's header says. */
  decompress(frame: Uint8Array, into: Uint8Array): Promise<void>;
}

export class Zstd {
  /** For people: `libzstd 1.5.4`. */
  readonly name: string;
  readonly #codec: Codec;

  private constructor(name: string, codec: Codec) {
    this.name = name;
    this.#codec = codec;
  }

  static #usual: Zstd | undefined;

  /** The fastest that is there. */
  static usual(): Zstd {
    Zstd.#usual ??= Zstd.open() as Zstd;
    return Zstd.#usual;
  }

  /** The first that is there, or the one that is named; undefined when that one is not there. */
  static open(name?: CodecName): Zstd | undefined {
    for (const each of name === undefined ? codecNames : [name]) {
      const found = openers[each]();
      if (found !== undefined) return new Zstd(found.name, found.codec);
    }
    return undefined;
  }

  /** One frame with its content size and a checksum. */
  async compress(content: Uint8Array, level: number): Promise<Uint8Array> {
    const frame = await this.#codec.compress(content, level);
    const { contentSize, checksum } = readFrame(frame);
    if (contentSize !== content.length || checksum !== checksumOf(content)) {
      throw new Error(`${this.name} made a frame of something else: ${contentSize} bytes instead of ${content.length}`);
    }
    return frame;
  }

  /** The content of a frame that has `size` bytes. @throws FrameError when it is not that, or damaged */
  async decompress(frame: Uint8Array, size: number): Promise<Uint8Array> {
    const { contentSize, checksum } = readFrame(frame);
    if (contentSize !== size) throw new FrameError(`has ${contentSize} bytes of content instead of ${size}`);
    const content = new Uint8Array(size);
    try {
      await this.#codec.decompress(frame, content);
    } catch (cause) {
      throw new FrameError(`cannot be decompressed: ${(cause as Error).message}`, { cause });
    }
    // Not every codec looks at it.
    if (checksumOf(content) !== checksum) throw new FrameError('has another checksum than its content');
    return content;
  }
}

function checksumOf(content: Uint8Array): number {
  return Number(digestOf(content) & 0xffff_ffffn);
}

type Opened = { readonly name: string; readonly codec: Codec } | undefined;

const openers: Readonly<Record<CodecName, () => Opened>> = {
  libzstd: () => {
    const codec = Libzstd.load();
    return codec && { name: `libzstd ${codec.version}`, codec };
  },
  node: () => {
    const { zstdCompress, zstdDecompress, constants } = zlib as unknown as NodeZstd;
    if (zstdCompress === undefined || zstdDecompress === undefined) return undefined;
    return { name: `zstd of Node.js ${process.versions.node}`, codec: nodeCodec(zstdCompress, zstdDecompress, constants) };
  },
  'zstd-codec': () => ({ name: 'zstd-codec', codec: packagedCodec() }),
};

type Callback = (error: Error | null, bytes: Uint8Array) => void;
/** Of Node.js 22.15 and newer. */
interface NodeZstd {
  readonly zstdCompress?: (from: Uint8Array, options: object, callback: Callback) => void;
  readonly zstdDecompress?: (from: Uint8Array, options: object, callback: Callback) => void;
  readonly constants: Readonly<Record<string, number>>;
}

function nodeCodec(
  zstdCompress: NonNullable<NodeZstd['zstdCompress']>,
  zstdDecompress: NonNullable<NodeZstd['zstdDecompress']>,
  constants: NodeZstd['constants'],
): Codec {
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

/** What the package zstd-codec makes of libzstd's functions; vectors live in the memory of the module. */
interface Binding {
  readonly ZstdCodec: new () => {
    compressBound(size: number): number;
    /** Negative when it fails, else the size. */
    compress(into: Vector, from: Vector, level: number): number;
    decompress(into: Vector, from: Vector): number;
  };
  readonly VectorU8: new () => Vector;
  cloneToVector(vector: Vector, bytes: Uint8Array): void;
  cloneAsTypedArray(vector: Vector): Uint8Array;
}
interface Vector {
  resize(size: number, value: number): void;
  delete(): void;
}

/** Bytes; pages that are not touched cost nothing. */
const MEMORY = 512 << 20;

/**
 * libzstd as JavaScript, in this thread: its WebAssembly has 16 MiB of memory for ever, too little for a segment. It writes no
 * checksum, and does not look at one.
 */
function packagedCodec(): Codec {
  // In an object: the binding has a method `then`, and a promise would call it for ever.
  let loading: Promise<{ readonly binding: Binding }> | undefined;
  const load = (): Promise<{ readonly binding: Binding }> => {
    loading ??= new Promise((resolve) => {
      const binding = {
        TOTAL_MEMORY: MEMORY,
        print: () => {},
        printErr: () => {},
        onRuntimeInitialized: () => resolve({ binding: binding as unknown as Binding }),
      };
      createRequire(import.meta.url)('zstd-codec/lib/zstd-codec-binding.js')(binding);
    });
    return loading;
  };
  const run = (binding: Binding, from: Uint8Array, room: number, work: (into: Vector, source: Vector) => number): Uint8Array => {
    const [source, into] = [new binding.VectorU8(), new binding.VectorU8()];
    try {
      binding.cloneToVector(source, from);
      into.resize(room, 0);
      const size = work(into, source);
      if (size < 0) throw new Error('zstd-codec refuses it');
      into.resize(size, 0);
      return binding.cloneAsTypedArray(into);
    } finally {
      source.delete();
      into.delete();
    }
  };
  return {
    async compress(content, level) {
      const { binding } = await load();
      const codec = new binding.ZstdCodec();
      const frame = run(binding, content, codec.compressBound(content.length), (into, from) => codec.compress(into, from, level));
      return withChecksum(frame, checksumOf(content));
    },
    async decompress(frame, into) {
      const { binding } = await load();
      const codec = new binding.ZstdCodec();
      fill(
        into,
        run(binding, frame, into.length, (target, from) => codec.decompress(target, from)),
      );
    },
  };
}

/** The checksum stands behind the last block; a flag in the header tells of it. */
function withChecksum(frame: Uint8Array, checksum: number): Uint8Array {
  const whole = new Uint8Array(frame.length + 4);
  whole.set(frame);
  whole[4] = (whole[4] as number) | CHECKSUM_FLAG;
  new DataView(whole.buffer).setUint32(frame.length, checksum, true);
  return whole;
}

function fill(into: Uint8Array, content: Uint8Array): void {
  if (content.length !== into.length) throw new Error(`the content has ${content.length} bytes instead of ${into.length}`);
  into.set(content);
}
