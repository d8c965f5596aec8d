/** Zstandard of the package zstd-codec, which is always there. */
import { createRequire } from 'node:module';
import { type Codec, checksumOf, fill } from './codec.ts';
import { CHECKSUM_FLAG } from './frame.ts';

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
export function packagedCodec(): Codec {
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
