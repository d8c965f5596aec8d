/** Several connections to one export, each of which does one thing at a time. */
import { NbdConnection, NbdError, type NbdExport, NbdUnansweredError } from '../native/libnbd.ts';
import { ImageIoError, type ImageOperation, NbdConnectionLostError } from './errors.ts';
import { NbdSilentError } from './nbd-errors.ts';
import { tlsOf } from './nbd-tls.ts';

/** As many as there are lanes. */
const CONNECTIONS = 4;
/** Milliseconds until a connection must be answered: the first; a further one; a further one that the server did not promise. */
export interface NbdPatience {
  readonly first: number;
  readonly further: number;
  readonly unpromised: number;
}
export const usualPatience: NbdPatience = { first: 30_000, further: 10_000, unpromised: 3_000 };

export interface NbdEndpoint {
  /** As the user named the image; for messages. */
  readonly name: string;
  readonly uri: string;
  readonly patience?: NbdPatience;
  /** Of a server of our own: why it ended, in its own words. */
  readonly failure?: () => Promise<string | undefined>;
}

export interface Place {
  readonly operation: ImageOperation;
  readonly offset: number;
  readonly length: number;
}

export class NbdPool {
  readonly about: NbdExport;
  /** The server answers no more connections than there are here. */
  readonly short: boolean;
  readonly #endpoint: NbdEndpoint;
  readonly #all: readonly NbdConnection[];
  readonly #free: NbdConnection[];
  readonly #waiting: ((connection: NbdConnection) => void)[] = [];

  private constructor(endpoint: NbdEndpoint, connections: readonly NbdConnection[], short: boolean) {
    this.#endpoint = endpoint;
    this.short = short;
    this.#all = connections;
    this.#free = [...connections];
    this.about = (connections[0] as NbdConnection).about;
  }

  /**
   * Several connections where the server promises that a flush on one covers all, or where nothing is written; fewer where it
   * takes fewer.
   * @throws MissingToolError, UnusableImageError, ImageIoError, NbdSilentError
   */
  static async connect(endpoint: NbdEndpoint, readOnly: boolean): Promise<NbdPool> {
    const connections: NbdConnection[] = [];
    try {
      const connect = await connector(endpoint);
      const patience = endpoint.patience ?? usualPatience;
      connections.push(await connect(patience.first));
      const { multiConnection } = (connections[0] as NbdConnection).about;
      if (!multiConnection && !readOnly) return new NbdPool(endpoint, connections, false);
      // All at once, so that a server that takes few is waited for once.
      const further = Array.from({ length: CONNECTIONS - 1 }, () =>
        connect(patience[multiConnection ? 'further' : 'unpromised']),
      );
      const results = await Promise.allSettled(further);
      for (const result of results) if (result.status === 'fulfilled') connections.push(result.value);
      for (const { reason } of results.filter((result) => result.status === 'rejected')) {
        if (endpoint.failure !== undefined || !(reason instanceof NbdError)) throw reason;
      }
      const short = connections.length < CONNECTIONS;
      // The window of a file system needs a place too.
      if (short && connections.length > 1) await connections.pop()?.close();
      return new NbdPool(endpoint, connections, short);
    } catch (cause) {
      for (const connection of connections) await connection.close();
      throw await openError(endpoint, cause);
    }
  }

  get size(): number {
    return this.#all.length;
  }

  /** Waits for a free connection. Errors of NBD come out as ImageIoError or NbdConnectionLostError. */
  async use<T>(place: Place, action: (connection: NbdConnection) => Promise<T>): Promise<T> {
    const connection = this.#free.pop() ?? (await new Promise<NbdConnection>((resolve) => this.#waiting.push(resolve)));
    try {
      return await action(connection);
    } catch (cause) {
      throw cause instanceof NbdError ? await this.#error(place, cause) : cause;
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free.push(connection);
      else next(connection);
    }
  }

  /** The caller has waited for everything that it began. */
  async close(): Promise<void> {
    for (const connection of this.#all) await connection.close();
  }

  async #error({ operation, offset, length }: Place, cause: NbdError): Promise<Error> {
    const { name, failure } = this.#endpoint;
    if (cause.lost && failure === undefined) return new NbdConnectionLostError(name, operation, { offset, length, cause });
    const detail = cause.lost ? ((await failure?.()) ?? cause.message) : cause.message;
    return new ImageIoError(name, operation, { offset, length, detail, cause });
  }
}

/** Nothing is connected to before it is certain that its certificate will be checked. */
async function connector({ name, uri, failure }: NbdEndpoint): Promise<(patience: number) => Promise<NbdConnection>> {
  const tls = failure === undefined ? await tlsOf(name, uri) : undefined;
  const certificates = tls?.by === 'certificates' ? { certificates: tls.folder } : {};
  return (patience) => NbdConnection.connect(uri, { patience, ...certificates });
}

async function openError({ name, failure }: NbdEndpoint, cause: unknown): Promise<unknown> {
  if (!(cause instanceof NbdError)) return cause;
  if (cause instanceof NbdUnansweredError && failure === undefined) return new NbdSilentError(name, cause.patience);
  const detail = (await failure?.()) ?? cause.message;
  const todo = 'Check the address, that its server runs and can be reached, and that it exports a disk of that name.';
  return new ImageIoError(name, 'open', { detail, cause, ...(failure === undefined ? { todo } : {}) });
}
