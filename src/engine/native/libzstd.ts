/** libzstd, where the system has it; the calls run on the thread pool. Names and numbers from zstd.h. */
import { createRequire } from 'node:module';
import { callOnPool } from './foreign.ts';

const LIBRARY = 'libzstd.so.1';
const ZSTD_c_compressionLevel = 100;
const ZSTD_c_contentSizeFlag = 200;
const ZSTD_c_checksumFlag = 201;

const prototypes = {
  ZSTD_versionString: 'const char *ZSTD_versionString()',
  ZSTD_isError: 'uint ZSTD_isError(size_t code)',
  ZSTD_getErrorName: 'const char *ZSTD_getErrorName(size_t code)',
  ZSTD_compressBound: 'size_t ZSTD_compressBound(size_t size)',
  ZSTD_createCCtx: 'void *ZSTD_createCCtx()',
  ZSTD_CCtx_setParameter: 'size_t ZSTD_CCtx_setParameter(void *context, int parameter, int value)',
  ZSTD_compress2: 'size_t ZSTD_compress2(void *context, _Out_ uint8_t *into, size_t room, const uint8_t *from, size_t size)',
  ZSTD_createDCtx: 'void *ZSTD_createDCtx()',
  ZSTD_decompressDCtx:
    'size_t ZSTD_decompressDCtx(void *context, _Out_ uint8_t *into, size_t room, const uint8_t *from, size_t size)',
} as const;

// biome-ignore lint/suspicious/noExplicitAny: functions of a C library
type Functions = Record<keyof typeof prototypes, any>;
type Pointer = unknown;

/** libzstd refused; the message is its own. */
export class LibzstdError extends Error {}

/** Contexts are kept for the next call: making one takes longer than a small frame. They live as long as the program. */
export class Libzstd {
  readonly version: string;
  readonly #functions: Functions;
  readonly #compressors: Pointer[] = [];
  readonly #decompressors: Pointer[] = [];

  private constructor(functions: Functions) {
    this.#functions = functions;
    this.version = functions.ZSTD_versionString();
  }

  /** Undefined where the system has none. */
  static load(): Libzstd | undefined {
    const koffi = createRequire(import.meta.url)('koffi');
    let library: { func(prototype: string): unknown };
    try {
      // Deep: Node.js 22.15 has a libzstd of another version in it, whose functions this one would call.
      library = koffi.load(LIBRARY, { deep: true });
    } catch {
      return undefined;
    }
    const entries = Object.entries(prototypes).map(([name, prototype]) => [name, library.func(prototype)]);
    return new Libzstd(Object.fromEntries(entries));
  }

  /** One frame with the content size and a checksum. @throws LibzstdError */
  async compress(content: Uint8Array, level: number): Promise<Uint8Array> {
    const bound = Number(this.#functions.ZSTD_compressBound(content.length));
    const context = this.#compressors.pop() ?? this.#functions.ZSTD_createCCtx();
    // Pages that nobody writes to take no memory.
    const room = new Uint8Array(bound);
    try {
      const set = (parameter: number, value: number) => this.#functions.ZSTD_CCtx_setParameter(context, parameter, value);
      for (const [parameter, value] of [
        [ZSTD_c_compressionLevel, level],
        [ZSTD_c_contentSizeFlag, 1],
        [ZSTD_c_checksumFlag, 1],
      ] as const)
        this.#checked(set(parameter, value));
      const size = await this.#call('ZSTD_compress2', context, room, room.length, content, content.length);
      return room.subarray(0, size);
    } finally {
      this.#compressors.push(context);
    }
  }

  /** Fills `into` with the content of a frame. @throws LibzstdError */
  async decompress(frame: Uint8Array, into: Uint8Array): Promise<void> {
    const context = this.#decompressors.pop() ?? this.#functions.ZSTD_createDCtx();
    try {
      const size = await this.#call('ZSTD_decompressDCtx', context, into, into.length, frame, frame.length);
      if (size !== into.length) throw new LibzstdError(`the content has ${size} bytes instead of ${into.length}`);
    } finally {
      this.#decompressors.push(context);
    }
  }

  #call(name: 'ZSTD_compress2' | 'ZSTD_decompressDCtx', ...args: unknown[]): Promise<number> {
    return callOnPool(this.#functions[name], args, (code: number | bigint) => this.#checked(code));
  }

  #checked(code: number | bigint): number {
    if (this.#functions.ZSTD_isError(code) !== 0) throw new LibzstdError(this.#functions.ZSTD_getErrorName(code));
    return Number(code);
  }
}
