/** What files and block devices have in common: an open descriptor, whole reads and writes, typed errors. */
import type { FileHandle } from 'node:fs/promises';
import { setTimeout } from 'node:timers/promises';
import { SystemCallError, startWriteback, tryLock } from '../native/libc.ts';
import { isPageAligned, PAGE } from './aligned.ts';
import type { ByteRange, Extent, ReadBack, Window } from './contract.ts';
import { ImageIoError, type ImageOperation } from './errors.ts';
import { attachLoop } from './loop.ts';
import type { BackingFile } from './loop-backing.ts';
import type { OpenImage } from './open-image.ts';
import { checkRange, type RawIo, readFully, writeFully } from './raw-io.ts';
import { openReadBack } from './read-back.ts';

export interface DescriptorImageOptions {
  readonly name: string;
  readonly path: string;
  readonly size: number;
  readonly sectorSize: number;
  readonly physicalSectorSize: number;
  readonly file: FileHandle;
  /** The same, past the page cache: many whole pages in aligned memory are written through it. */
  readonly direct?: FileHandle | undefined;
  /** What caches even what went past the page cache. */
  readonly below?: BackingFile | undefined;
  readonly io: (file: FileHandle) => RawIo;
}

const ZEROS = 1 << 20;
/** One call to the kernel zeroes at most this much, so that a stop request is not kept waiting. */
const ZERO_STEP = 1 << 30;
/** Bytes; smaller writes are gathered by the page cache. */
const DIRECT_FROM = 1 << 16;
let zeros: Uint8Array | undefined;

export abstract class DescriptorImage implements OpenImage {
  readonly name: string;
  readonly path: string;
  readonly notes: readonly string[] = [];
  readonly size: number;
  readonly sectorSize: number;
  readonly physicalSectorSize: number;
  readonly sectorSizeAssumed: boolean = false;
  readonly #file: FileHandle;
  readonly #io: RawIo;
  readonly #directFile: FileHandle | undefined;
  readonly #below: BackingFile | undefined;
  #directIo: RawIo | undefined;
  /** Calls on the bare descriptor; closing waits for them, as its number may be another file's a moment later. */
  readonly #running = new Set<Promise<unknown>>();
  #closing: Promise<void> | undefined;

  constructor(options: DescriptorImageOptions) {
    this.name = options.name;
    this.path = options.path;
    this.size = options.size;
    this.sectorSize = options.sectorSize;
    this.physicalSectorSize = options.physicalSectorSize;
    this.#file = options.file;
    this.#io = options.io(options.file);
    this.#directFile = options.direct;
    this.#below = options.below;
    this.#directIo = options.direct && options.io(options.direct);
  }

  abstract extents(): AsyncIterable<Extent>;
  /** Makes the range read as zeros without writing them; false when the medium cannot. */
  protected abstract deallocate(offset: number, length: number): Promise<boolean>;
  /** Tells the medium that the range is not needed; no error when it does not care. */
  protected abstract giveBack(offset: number, length: number): Promise<void>;

  /** @throws ImageIoError when a part of the image is gone, though nobody reported an error */
  protected async checkWhole(_file: FileHandle): Promise<void> {}

  protected get fd(): number {
    this.check('examine', 0, 0);
    return this.#file.fd;
  }

  /** Also keeps udev from probing a disk whose table is being changed. */
  async lock(mode: 'exclusive' | 'shared' = 'exclusive'): Promise<boolean> {
    for (let attempt = 0; attempt < 20; attempt++) {
      if (await this.call('lock', 0, this.size, async () => tryLock(this.fd, mode))) return true;
      await setTimeout(100);
    }
    return false;
  }

  async read(into: Uint8Array, offset: number): Promise<void> {
    this.check('read', offset, into.length);
    await readFully(this.#io, this.name, into, offset);
  }

  async write(from: Uint8Array, offset: number): Promise<void> {
    this.check('write', offset, from.length);
    if (await this.#writeDirect(from, offset)) return;
    await writeFully(this.#io, this.name, from, offset);
  }

  /** Copying through the page cache costs several times the CPU. False where that has to be. */
  async #writeDirect(from: Uint8Array, offset: number): Promise<boolean> {
    const io = this.#directIo;
    if (io === undefined || !isPageAligned(from) || !isWorthATrip(offset, from.length)) return false;
    try {
      await writeFully(io, this.name, from, offset);
      return true;
    } catch (error) {
      if (!(error instanceof ImageIoError) || (error.cause as NodeJS.ErrnoException | undefined)?.code !== 'EINVAL') throw error;
      this.#directIo = undefined;
      return false;
    }
  }

  async zero(offset: number, length: number): Promise<void> {
    this.check('zero', offset, length);
    for (let at = offset; at < offset + length; at += ZERO_STEP) {
      const step = Math.min(ZERO_STEP, offset + length - at);
      if (!(await this.call('zero', at, step, () => this.deallocate(at, step)))) await this.#writeZeros(at, step);
    }
  }

  async discard(offset: number, length: number): Promise<void> {
    this.check('discard', offset, length);
    if (length > 0) await this.call('discard', offset, length, () => this.giveBack(offset, length));
  }

  /** A hint: where the kernel refuses it, `flush` does the work and reports what is wrong. */
  async startWriteback(offset: number, length: number): Promise<void> {
    this.check('write', offset, length);
    // So small that the kernel does better to gather it.
    if (length < DIRECT_FROM) return;
    const direct = this.#directIo !== undefined && isWorthATrip(offset, length);
    const { file, offset: begin } = direct ? (this.#below ?? {}) : { file: this.#file, offset: 0 };
    if (file === undefined || begin === undefined) return;
    try {
      await this.#track(startWriteback(file.fd, begin + offset, length));
    } catch (error) {
      if (!(error instanceof SystemCallError)) throw error;
    }
  }

  async flush(): Promise<void> {
    this.check('flush', 0, 0);
    await this.call('flush', 0, this.size, async () => {
      await this.#file.sync();
      await this.checkWhole(this.#file);
    });
  }

  async readBack(only?: readonly ByteRange[]): Promise<ReadBack> {
    this.check('read', 0, 0);
    return openReadBack(this.path, this.size, only);
  }

  async openWindow(range: ByteRange, options: { readonly readOnly: boolean }): Promise<Window> {
    this.check('open', range.offset, range.length);
    return attachLoop(this.path, range, options);
  }

  close(): Promise<void> {
    this.#closing ??= Promise.allSettled(this.#running).then(() => this.#closeAll());
    return this.#closing;
  }

  async #closeAll(): Promise<void> {
    await this.#below?.file.close();
    await this.#directFile?.close();
    await this.#file.close();
  }

  /** @throws ImageIoError when the image was closed or the range does not lie inside it. */
  protected check(operation: ImageOperation, offset: number, length: number): void {
    if (this.#closing !== undefined) {
      throw new ImageIoError(this.name, operation, { offset, length, detail: 'the image was closed' });
    }
    checkRange(this.name, operation, offset, length, this.size);
  }

  async #writeZeros(offset: number, length: number): Promise<void> {
    zeros ??= new Uint8Array(ZEROS);
    for (let at = offset; at < offset + length; at += ZEROS) {
      await writeFully(this.#io, this.name, zeros.subarray(0, Math.min(ZEROS, offset + length - at)), at);
    }
  }

  async #track<T>(call: Promise<T>): Promise<T> {
    this.#running.add(call);
    try {
      return await call;
    } finally {
      this.#running.delete(call);
    }
  }

  /** Runs a step on the descriptor; its errors come out as ImageIoError. */
  protected async call<T>(operation: ImageOperation, offset: number, length: number, step: () => Promise<T>): Promise<T> {
    try {
      return await this.#track(step());
    } catch (cause) {
      if (cause instanceof ImageIoError) throw cause;
      throw new ImageIoError(this.name, operation, { offset, length, cause });
    }
  }
}

/** Moved past the page cache: whole pages only, and few enough that the kernel would gain nothing by gathering them. */
function isWorthATrip(offset: number, length: number): boolean {
  return offset % PAGE === 0 && length % PAGE === 0 && length >= DIRECT_FROM;
}
