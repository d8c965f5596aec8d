/** Frames by whichever codec there is: all write what the others read. */
import { Libzstd } from '../native/libzstd.ts';
import { type Codec, checksumOf } from './codec.ts';
import { nodeCodec } from './codec-node.ts';
import { packagedCodec } from './codec-packaged.ts';
import { FrameError, readFrame } from './frame.ts';

/** From the fastest to the one that is always there. */
export const codecNames = ['libzstd', 'node', 'zstd-codec'] as const;
export type CodecName = (typeof codecNames)[number];

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

  /** The content of a frame that has `size` bytes, at the front of `room`. @throws FrameError when it is not that, or damaged */
  async decompress(frame: Uint8Array, size: number, room?: Uint8Array): Promise<Uint8Array> {
    const { contentSize, checksum } = readFrame(frame);
    if (contentSize !== size) throw new FrameError(`has ${contentSize} bytes of content instead of ${size}`);
    const content = room?.subarray(0, size) ?? new Uint8Array(size);
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

type Opened = { readonly name: string; readonly codec: Codec } | undefined;

const openers: Readonly<Record<CodecName, () => Opened>> = {
  libzstd: () => {
    const codec = Libzstd.load();
    return codec && { name: `libzstd ${codec.version}`, codec };
  },
  node: () => {
    const codec = nodeCodec();
    return codec && { name: `zstd of Node.js ${process.versions.node}`, codec };
  },
  'zstd-codec': () => ({ name: 'zstd-codec', codec: packagedCodec() }),
};
