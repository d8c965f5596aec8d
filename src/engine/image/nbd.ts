/** A disk behind an NBD server: somebody else's, or a qemu-nbd of our own over a file in another format. */
import type { NbdConnection } from '../native/libnbd.ts';
import { PAGE } from './aligned.ts';
import type { ByteRange, CacheBypass, Extent, ReadBack, Window } from './contract.ts';
import { ImageIoError, type ImageOperation, ReadOnlyImageError } from './errors.ts';
import { AnyRange } from './nbd-blocks.ts';
import { type NbdEndpoint, NbdPool } from './nbd-pool.ts';
import { openNbdWindow } from './nbd-window.ts';
import type { OpenImage, OpenMode } from './open-image.ts';
import { checkRange } from './raw-io.ts';

/** What stands behind the connections. */
export interface NbdBacking extends NbdEndpoint {
  readonly notes: readonly string[];
  /** The server would store the zeros that it is told to make: what holds zeros already is left alone. */
  readonly storesZeros?: boolean;
  lock(mode: 'exclusive' | 'shared'): Promise<boolean>;
  /** Forgets what is cached between the server and the medium; how a read-back through new connections gets past that. */
  dropCaches(): Promise<CacheBypass>;
  /** A hint to begin writing to the medium. */
  startWriteback(): Promise<void>;
  /** Called once, when all connections are closed. */
  close(): Promise<void>;
}

const SECTOR = 512;
/** One request zeroes at most this much, so that a stop request is not kept waiting; NBD has 32 bits for it. */
const ZERO_STEP = 1 << 30;
const ZEROS = 1 << 20;
let zeros: Uint8Array | undefined;

export class NbdImage implements OpenImage {
  readonly name: string;
  readonly size: number;
  readonly sectorSize: number;
  readonly sectorSizeAssumed = true;
  readonly physicalSectorSize: number;
  readonly notes: readonly string[];
  readonly #backing: NbdBacking;
  readonly #pool: NbdPool;
  readonly #any: AnyRange;
  readonly #running = new Set<Promise<unknown>>();
  #closing: Promise<void> | undefined;

  private constructor(backing: NbdBacking, pool: NbdPool) {
    const { size, minimumBlock } = pool.about;
    this.name = backing.name;
    this.size = size;
    this.sectorSize = Math.max(SECTOR, minimumBlock);
    this.physicalSectorSize = Math.max(PAGE, minimumBlock);
    this.notes = [...backing.notes, ...(pool.short ? [shortNote(backing.name, pool.size)] : [])];
    this.#backing = backing;
    this.#pool = pool;
    this.#any = new AnyRange(pool.about, {
      read: (into, offset) => inPieces(pool, 'read', into, offset, (connection, piece, at) => connection.read(piece, at)),
      write: (from, offset) => inPieces(pool, 'write', from, offset, (connection, piece, at) => connection.write(piece, at)),
    });
  }

  /** Takes over `backing`, which is closed when opening fails. @throws ImageIoError, ReadOnlyImageError, MissingToolError */
  static async open(backing: NbdBacking, mode: OpenMode): Promise<NbdImage> {
    let pool: NbdPool | undefined;
    try {
      pool = await NbdPool.connect(backing, mode === 'read');
      if (mode === 'write' && pool.about.readOnly) throw new ReadOnlyImageError(backing.name);
      return new NbdImage(backing, pool);
    } catch (error) {
      await pool?.close();
      await backing.close();
      throw error;
    }
  }

  async *extents(): AsyncIterable<Extent> {
    this.#check('examine', 0, this.size);
    const { blockStatus } = this.#pool.about;
    let last: { offset: number; length: number; state: 'data' | 'zero' } | undefined;
    for (let offset = 0; offset < this.size; ) {
      const length = this.size - offset;
      const place = { operation: 'examine', offset, length } as const;
      const told = blockStatus
        ? await this.#track(() => this.#pool.use(place, (connection) => connection.blockStatus(offset, length)))
        : [{ length, zero: false }];
      for (const { length: run, zero } of told) {
        const state = zero ? 'zero' : 'data';
        if (last?.state === state) last.length += run;
        else {
          if (last !== undefined) yield last;
          last = { offset, length: run, state };
        }
        offset += run;
      }
      this.#check('examine', 0, this.size);
    }
    if (last !== undefined) yield last;
  }

  async read(into: Uint8Array, offset: number): Promise<void> {
    this.#check('read', offset, into.length);
    await this.#track(() => this.#any.read(into, offset));
  }

  async write(from: Uint8Array, offset: number): Promise<void> {
    this.#check('write', offset, from.length);
    await this.#track(() => this.#any.write(from, offset));
  }

  async zero(offset: number, length: number): Promise<void> {
    this.#check('zero', offset, length);
    await this.#track(async () => {
      for (let at = offset; at < offset + length; at += ZERO_STEP) {
        await this.#zeroStep(at, Math.min(ZERO_STEP, offset + length - at));
      }
    });
  }

  async discard(offset: number, length: number): Promise<void> {
    this.#check('discard', offset, length);
    const blocks = this.#any.inside(offset, length);
    if (blocks.length === 0 || !this.#pool.about.canTrim) return;
    await this.#track(async () => {
      for (let at = blocks.offset; at < blocks.offset + blocks.length; at += ZERO_STEP) {
        const step = Math.min(ZERO_STEP, blocks.offset + blocks.length - at);
        await this.#pool.use({ operation: 'discard', offset: at, length: step }, (connection) => connection.trim(at, step));
      }
    });
  }

  async startWriteback(offset: number, length: number): Promise<void> {
    this.#check('write', offset, length);
    await this.#track(() => this.#backing.startWriteback());
  }

  async flush(): Promise<void> {
    this.#check('flush', 0, 0);
    if (!this.#pool.about.canFlush) return;
    const place = { operation: 'flush', offset: 0, length: this.size } as const;
    await this.#track(() => this.#pool.use(place, (connection) => connection.flush()));
  }

  async readBack(): Promise<ReadBack> {
    this.#check('read', 0, 0);
    return this.#track(async () => {
      const bypass = await this.#backing.dropCaches();
      // Somebody else's server would show new connections the same, and may have no place for them.
      if (this.#backing.failure === undefined) return new NbdReadBack(bypass, this, { read: (into, at) => this.read(into, at) });
      const pool = await NbdPool.connect(this.#backing, true);
      const any = new AnyRange(pool.about, {
        read: (into, at) => inPieces(pool, 'read', into, at, (connection, piece, from) => connection.read(piece, from)),
        write: () => Promise.reject(new TypeError('a read-back does not write')),
      });
      return new NbdReadBack(bypass, this, { read: (into, at) => any.read(into, at), close: () => pool.close() });
    });
  }

  lock(mode: 'exclusive' | 'shared' = 'exclusive'): Promise<boolean> {
    this.#check('lock', 0, 0);
    return this.#track(() => this.#backing.lock(mode));
  }

  async openWindow(range: ByteRange, options: { readonly readOnly: boolean }): Promise<Window> {
    this.#check('open', range.offset, range.length);
    return this.#track(() => openNbdWindow(this.#backing, range, options));
  }

  close(): Promise<void> {
    this.#closing ??= (async () => {
      await Promise.allSettled(this.#running);
      await this.#pool.close();
      await this.#backing.close();
    })();
    return this.#closing;
  }

  async #zeroStep(offset: number, length: number): Promise<void> {
    const { canZero } = this.#pool.about;
    const blocks = canZero ? this.#any.inside(offset, length) : { offset, length: 0 };
    if (blocks.length === 0) return this.#writeZeros(offset, length);
    const tail = blocks.offset + blocks.length;
    await this.#writeZeros(offset, blocks.offset - offset);
    if (this.#backing.storesZeros === true) await this.#zeroWhatIsNot(blocks);
    else await this.#zeroBlocks(blocks);
    await this.#writeZeros(tail, offset + length - tail);
  }

  async #zeroBlocks({ offset, length }: ByteRange): Promise<void> {
    await this.#pool.use({ operation: 'zero', offset, length }, (connection) => connection.zero(offset, length));
  }

  async #zeroWhatIsNot({ offset, length }: ByteRange): Promise<void> {
    const found = new Uint8Array(Math.min(ZEROS, length));
    for (let at = offset; at < offset + length; at += ZEROS) {
      const there = found.subarray(0, Math.min(ZEROS, offset + length - at));
      await this.#any.read(there, at);
      if (Buffer.compare(there, zerosOf(there.length)) !== 0) await this.#zeroBlocks({ offset: at, length: there.length });
    }
  }

  async #writeZeros(offset: number, length: number): Promise<void> {
    for (let at = offset; at < offset + length; at += ZEROS) {
      await this.#any.write(zerosOf(Math.min(ZEROS, offset + length - at)), at);
    }
  }

  #check(operation: ImageOperation, offset: number, length: number): void {
    if (this.#closing !== undefined) {
      throw new ImageIoError(this.name, operation, { offset, length, detail: 'the image was closed' });
    }
    checkRange(this.name, operation, offset, length, this.size);
  }

  async #track<T>(step: () => Promise<T>): Promise<T> {
    const call = step();
    this.#running.add(call);
    try {
      return await call;
    } finally {
      this.#running.delete(call);
    }
  }
}

function shortNote(name: string, connections: number): string {
  const fewer = `${name} has no place for as many connections as would be quickest; ${connections === 1 ? 'one is' : `${connections} are`} used`;
  return `${fewer} (a qemu-nbd takes more when it is started with --shared=8)`;
}

/** At most 1 MiB; not to be written to. */
function zerosOf(length: number): Uint8Array {
  zeros ??= new Uint8Array(ZEROS);
  return zeros.subarray(0, length);
}

/** Longer transfers than the server takes at once go in pieces. */
async function inPieces(
  pool: NbdPool,
  operation: 'read' | 'write',
  bytes: Uint8Array,
  offset: number,
  step: (connection: NbdConnection, piece: Uint8Array, at: number) => Promise<void>,
): Promise<void> {
  const { maximumBlock } = pool.about;
  for (let done = 0; done < bytes.length; done += maximumBlock) {
    const piece = bytes.subarray(done, done + maximumBlock);
    const at = offset + done;
    await pool.use({ operation, offset: at, length: piece.length }, (connection) => step(connection, piece, at));
  }
}

interface ReadBackWay {
  read(into: Uint8Array, offset: number): Promise<void>;
  close?(): Promise<void>;
}

class NbdReadBack implements ReadBack {
  readonly bypass: CacheBypass;
  readonly #image: { readonly name: string; readonly size: number };
  readonly #way: ReadBackWay;
  readonly #running = new Set<Promise<void>>();
  #closing: Promise<void> | undefined;

  constructor(bypass: CacheBypass, image: { readonly name: string; readonly size: number }, way: ReadBackWay) {
    this.bypass = bypass;
    this.#image = image;
    this.#way = way;
  }

  async read(into: Uint8Array, offset: number): Promise<void> {
    const { name, size } = this.#image;
    if (this.#closing !== undefined) {
      throw new ImageIoError(name, 'read', { offset, length: into.length, detail: 'the image was closed' });
    }
    checkRange(name, 'read', offset, into.length, size);
    const call = this.#way.read(into, offset);
    this.#running.add(call);
    try {
      await call;
    } finally {
      this.#running.delete(call);
    }
  }

  close(): Promise<void> {
    this.#closing ??= Promise.allSettled(this.#running).then(() => this.#way.close?.());
    return this.#closing;
  }
}
