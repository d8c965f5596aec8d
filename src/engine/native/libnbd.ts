/**
 * Connections to NBD servers, through libnbd (libnbd(3)). The library is loaded at first use.
 *
 * Reads, writes and the like block a thread of the pool (UV_THREADPOOL_SIZE) and run on one connection at a time each. libnbd
 * keeps the reason of a failure in the thread that met it, where nobody can ask for it: a command that failed is therefore
 * given once more in steps that all run on the main thread (`driven`), and its second answer is what counts. Connecting works
 * in such steps from the start, so that a silent server keeps nobody from being interrupted.
 */
import { createRequire } from 'node:module';
import { constants } from 'node:os';
import { MissingToolError } from '../errors.ts';
import { callOnPool, type ForeignFunction } from './foreign.ts';
import { pollDescriptor } from './libc.ts';

/** A failed call of libnbd. `code` is the name of its errno, as ENOSPC. */
export class NbdError extends Error {
  readonly code: string;
  /** Whether the connection is gone, so that nothing more can be asked of it. */
  readonly lost: boolean;

  constructor(message: string, errno: number, lost: boolean) {
    super(message === '' ? 'the server gave no reason' : message);
    this.name = 'NbdError';
    this.code = errnoNames.get(errno) ?? `errno ${errno}`;
    this.lost = lost;
  }
}

/** Nobody answered within the time that was given for it. */
export class NbdUnansweredError extends NbdError {
  /** Milliseconds. */
  readonly patience: number;

  constructor(patience: number) {
    super(`no answer within ${patience / 1000} seconds`, constants.errno.ETIMEDOUT, true);
    this.patience = patience;
  }
}

const errnoNames = new Map(Object.entries(constants.errno).map(([name, value]) => [value, name]));

type Native = ((...args: unknown[]) => unknown) & ForeignFunction;
type Koffi = typeof import('koffi').default;
interface Libnbd {
  readonly koffi: Koffi;
  readonly functions: ReadonlyMap<string, Native>;
  readonly onExtents: ReturnType<Koffi['pointer']>;
}

const prototypes = {
  nbd_create: 'void *nbd_create()',
  nbd_close: 'void nbd_close(void *h)',
  nbd_get_error: 'const char *nbd_get_error()',
  nbd_get_errno: 'int nbd_get_errno()',
  nbd_add_meta_context: 'int nbd_add_meta_context(void *h, const char *name)',
  nbd_set_tls_certificates: 'int nbd_set_tls_certificates(void *h, const char *folder)',
  nbd_set_uri_allow_local_file: 'int nbd_set_uri_allow_local_file(void *h, bool allow)',
  nbd_aio_connect_uri: 'int nbd_aio_connect_uri(void *h, const char *uri)',
  nbd_aio_is_ready: 'int nbd_aio_is_ready(void *h)',
  nbd_aio_is_dead: 'int nbd_aio_is_dead(void *h)',
  nbd_aio_is_closed: 'int nbd_aio_is_closed(void *h)',
  nbd_aio_get_fd: 'int nbd_aio_get_fd(void *h)',
  nbd_aio_get_direction: 'uint nbd_aio_get_direction(void *h)',
  nbd_aio_notify_read: 'int nbd_aio_notify_read(void *h)',
  nbd_aio_notify_write: 'int nbd_aio_notify_write(void *h)',
  nbd_aio_command_completed: 'int nbd_aio_command_completed(void *h, uint64_t cookie)',
  nbd_get_size: 'int64_t nbd_get_size(void *h)',
  nbd_get_block_size: 'int64_t nbd_get_block_size(void *h, int which)',
  nbd_is_read_only: 'int nbd_is_read_only(void *h)',
  nbd_can_flush: 'int nbd_can_flush(void *h)',
  nbd_can_trim: 'int nbd_can_trim(void *h)',
  nbd_can_zero: 'int nbd_can_zero(void *h)',
  nbd_can_multi_conn: 'int nbd_can_multi_conn(void *h)',
  nbd_can_meta_context: 'int nbd_can_meta_context(void *h, const char *name)',
  nbd_pread: 'int nbd_pread(void *h, void *buffer, size_t count, uint64_t offset, uint32_t flags)',
  nbd_pwrite: 'int nbd_pwrite(void *h, const void *buffer, size_t count, uint64_t offset, uint32_t flags)',
  nbd_zero: 'int nbd_zero(void *h, uint64_t count, uint64_t offset, uint32_t flags)',
  nbd_trim: 'int nbd_trim(void *h, uint64_t count, uint64_t offset, uint32_t flags)',
  nbd_flush: 'int nbd_flush(void *h, uint32_t flags)',
  nbd_shutdown: 'int nbd_shutdown(void *h, uint32_t flags)',
  nbd_block_status: 'int nbd_block_status(void *h, uint64_t count, uint64_t offset, nbd_extent_callback extents, uint32_t flags)',
  nbd_aio_pread:
    'int64_t nbd_aio_pread(void *h, void *buffer, size_t count, uint64_t offset, nbd_completion_callback done, uint32_t flags)',
  nbd_aio_pwrite:
    'int64_t nbd_aio_pwrite(void *h, const void *buffer, size_t count, uint64_t offset, nbd_completion_callback done, uint32_t flags)',
  nbd_aio_zero: 'int64_t nbd_aio_zero(void *h, uint64_t count, uint64_t offset, nbd_completion_callback done, uint32_t flags)',
  nbd_aio_trim: 'int64_t nbd_aio_trim(void *h, uint64_t count, uint64_t offset, nbd_completion_callback done, uint32_t flags)',
  nbd_aio_flush: 'int64_t nbd_aio_flush(void *h, nbd_completion_callback done, uint32_t flags)',
  nbd_aio_block_status:
    'int64_t nbd_aio_block_status(void *h, uint64_t count, uint64_t offset, nbd_extent_callback extents, nbd_completion_callback done, uint32_t flags)',
} as const;
type FunctionName = keyof typeof prototypes;

let loaded: Libnbd | undefined;

/** @throws MissingToolError when the library is not installed */
function libnbd(): Libnbd {
  loaded ??= load();
  return loaded;
}

function load(): Libnbd {
  const koffi = createRequire(import.meta.url)('koffi') as Koffi;
  let library: ReturnType<Koffi['load']>;
  try {
    library = koffi.load('libnbd.so.0');
  } catch (cause) {
    throw new MissingToolError('libnbd.so.0', 'libnbd0', 'libnbd', cause);
  }
  const extents = koffi.proto(
    'int nbd_on_extents(void *user, const char *context, uint64_t offset, void *entries, size_t count, int *error)',
  );
  koffi.struct('nbd_extent_callback', { callback: koffi.pointer(extents), user_data: 'void *', free: 'void *' });
  koffi.struct('nbd_completion_callback', { callback: 'void *', user_data: 'void *', free: 'void *' });
  const functions = Object.entries(prototypes).map(([name, prototype]) => [name, library.func(prototype)] as const);
  return { koffi, functions: new Map(functions as unknown as [string, Native][]), onExtents: koffi.pointer(extents) };
}

function native(name: FunctionName): Native {
  return libnbd().functions.get(name) as Native;
}

/** Completion callbacks are not used: libnbd is asked instead. */
const noCallback = { callback: null, user_data: null, free: null };

const allocationContext = 'base:allocation';
/** Bits of base:allocation, and of nbd_aio_get_direction and poll(2). */
const STATE_ZERO = 2;
const DIRECTION_READ = 1;
const DIRECTION_WRITE = 2;
const POLLIN = 1;
const POLLOUT = 4;
/** A forgotten connection attempt is looked at again after this many milliseconds. */
const POLL_STEP = 500;

/** What the server says of the export. Sizes in bytes. */
export interface NbdExport {
  readonly size: number;
  /** Smallest unit of reads and writes; 1 where the server takes any. */
  readonly minimumBlock: number;
  readonly preferredBlock: number;
  /** Longest read or write. */
  readonly maximumBlock: number;
  readonly readOnly: boolean;
  readonly canFlush: boolean;
  readonly canTrim: boolean;
  readonly canZero: boolean;
  /** A flush on one connection also covers what others wrote. */
  readonly multiConnection: boolean;
  /** Whether it tells what is allocated. */
  readonly blockStatus: boolean;
}

/** A run of bytes of the same kind, as the server tells it. */
export interface NbdExtent {
  readonly length: number;
  readonly zero: boolean;
}

export interface ConnectOptions {
  /** Milliseconds until the server has answered everything that there is to ask before use. */
  readonly patience: number;
  /** Folder of ca-cert.pem and the like, for TLS. */
  readonly certificates?: string;
  readonly signal?: AbortSignal;
}

/** nbd_block_status takes lengths of 32 bits. */
const STATUS_STEP = 2 ** 31;
const LONGEST = 32 << 20;

/** One connection. Only one call may run at a time. */
export class NbdConnection {
  readonly about: NbdExport;
  readonly #handle: unknown;

  private constructor(handle: unknown) {
    this.#handle = handle;
    const ask = (name: FunctionName, ...args: unknown[]): number => Number(this.#must(native(name)(handle, ...args)));
    const preferred = ask('nbd_get_block_size', 1);
    const longest = ask('nbd_get_block_size', 2);
    this.about = {
      size: ask('nbd_get_size'),
      minimumBlock: Math.max(1, ask('nbd_get_block_size', 0)),
      preferredBlock: preferred === 0 ? 4096 : preferred,
      maximumBlock: longest === 0 ? LONGEST : Math.min(longest, LONGEST),
      readOnly: ask('nbd_is_read_only') === 1,
      canFlush: ask('nbd_can_flush') === 1,
      canTrim: ask('nbd_can_trim') === 1,
      canZero: ask('nbd_can_zero') === 1,
      multiConnection: ask('nbd_can_multi_conn') === 1,
      blockStatus: ask('nbd_can_meta_context', allocationContext) === 1,
    };
  }

  /** @throws NbdError, NbdUnansweredError, MissingToolError, the signal's reason */
  static async connect(uri: string, { patience, certificates, signal }: ConnectOptions): Promise<NbdConnection> {
    const handle = native('nbd_create')();
    if (handle === null) throw lastError(undefined);
    try {
      const must = (result: unknown): void => {
        if (Number(result) === -1) throw lastError(handle);
      };
      must(native('nbd_add_meta_context')(handle, allocationContext));
      must(native('nbd_set_uri_allow_local_file')(handle, true));
      if (certificates !== undefined) must(native('nbd_set_tls_certificates')(handle, certificates));
      must(native('nbd_aio_connect_uri')(handle, uri));
      await driven(handle, () => native('nbd_aio_is_ready')(handle) === 1, { patience, ...(signal ? { signal } : {}) });
      return new NbdConnection(handle);
    } catch (error) {
      native('nbd_close')(handle);
      throw error;
    }
  }

  /** Fills `into`; at most `maximumBlock` bytes. @throws NbdError */
  read(into: Uint8Array, offset: number): Promise<void> {
    return this.#run('nbd_pread', 'nbd_aio_pread', () => [into, into.length, offset]);
  }

  /** Writes all of `from`; at most `maximumBlock` bytes. @throws NbdError */
  write(from: Uint8Array, offset: number): Promise<void> {
    return this.#run('nbd_pwrite', 'nbd_aio_pwrite', () => [from, from.length, offset]);
  }

  /** Makes the range read as zeros; the server may deallocate it. Less than 4 GiB. @throws NbdError */
  zero(offset: number, length: number): Promise<void> {
    return this.#run('nbd_zero', 'nbd_aio_zero', () => [length, offset]);
  }

  /** Gives the range back; less than 4 GiB. @throws NbdError */
  trim(offset: number, length: number): Promise<void> {
    return this.#run('nbd_trim', 'nbd_aio_trim', () => [length, offset]);
  }

  /** @throws NbdError */
  flush(): Promise<void> {
    return this.#run('nbd_flush', 'nbd_aio_flush', () => []);
  }

  /** Runs from `offset` on, at least one, together at most `length` bytes. @throws NbdError */
  async blockStatus(offset: number, length: number): Promise<NbdExtent[]> {
    const { koffi, onExtents } = libnbd();
    const asked = Math.min(length, STATUS_STEP);
    const found: NbdExtent[] = [];
    let total = 0;
    const collect = (_: unknown, context: string, __: unknown, entries: unknown, count: number | bigint): number => {
      if (context !== allocationContext) return 0;
      // The memory belongs to libnbd and is gone after the call.
      const words = new Uint32Array(koffi.view(entries, Number(count) * 4).slice(0));
      for (let i = 0; i + 1 < words.length && total < asked; i += 2) {
        const run = Math.min(words[i] as number, asked - total);
        if (run > 0) found.push({ length: run, zero: ((words[i + 1] as number) & STATE_ZERO) !== 0 });
        total += run;
      }
      return 0;
    };
    const callback = koffi.register(collect, onExtents);
    try {
      await this.#run('nbd_block_status', 'nbd_aio_block_status', () => {
        found.length = total = 0;
        return [asked, offset, { ...noCallback, callback }];
      });
    } finally {
      koffi.unregister(callback);
    }
    if (total === 0) throw new NbdError('the server told nothing about the blocks', constants.errno.EPROTO, false);
    return found;
  }

  /** Says goodbye and frees everything; no call may be running. Errors do not matter any more. */
  async close(): Promise<void> {
    await blocking('nbd_shutdown', this.#handle, 0);
    native('nbd_close')(this.#handle);
  }

  async #run(quick: FunctionName, steps: FunctionName, args: () => readonly unknown[]): Promise<void> {
    if ((await blocking(quick, this.#handle, ...args(), 0)) !== -1) return;
    const cookie = Number(this.#must(native(steps)(this.#handle, ...args(), noCallback, 0)));
    await driven(this.#handle, () => Number(this.#must(native('nbd_aio_command_completed')(this.#handle, cookie))) === 1);
  }

  #must<T>(result: T): T {
    if (Number(result) === -1) throw lastError(this.#handle);
    return result;
  }
}

/** Runs on a thread of the pool. */
function blocking(name: FunctionName, ...args: unknown[]): Promise<number> {
  return callOnPool(native(name), args, Number);
}

/** Lets a connection work until `done`, all of libnbd on this thread; only the waiting is done elsewhere. @throws NbdError */
async function driven(
  handle: unknown,
  done: () => boolean,
  { patience = Number.POSITIVE_INFINITY, signal }: { readonly patience?: number; readonly signal?: AbortSignal } = {},
): Promise<void> {
  const begun = performance.now();
  while (!done()) {
    signal?.throwIfAborted();
    const left = patience - (performance.now() - begun);
    if (left <= 0) throw new NbdUnansweredError(patience);
    const direction = Number(native('nbd_aio_get_direction')(handle));
    const fd = Number(native('nbd_aio_get_fd')(handle));
    if (fd === -1 || direction === 0) throw lastError(handle);
    const wanted = (direction & DIRECTION_READ ? POLLIN : 0) | (direction & DIRECTION_WRITE ? POLLOUT : 0);
    const ready = await pollDescriptor(fd, wanted, Math.ceil(Math.min(POLL_STEP, left)));
    if (ready === 0) continue;
    const writes = (direction & DIRECTION_WRITE) !== 0 && (ready & POLLIN) === 0;
    if (native(writes ? 'nbd_aio_notify_write' : 'nbd_aio_notify_read')(handle) === -1) throw lastError(handle);
  }
}

function lastError(handle: unknown): NbdError {
  const message = String(native('nbd_get_error')() ?? '');
  const errno = Number(native('nbd_get_errno')());
  const lost = handle === undefined || native('nbd_aio_is_dead')(handle) === 1 || native('nbd_aio_is_closed')(handle) === 1;
  return new NbdError(message, errno, lost);
}
