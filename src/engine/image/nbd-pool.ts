/** Several connections to one export, each of which does one thing at a time. */
import { NbdConnection, NbdError, type NbdExport } from '../native/libnbd.ts';
import { ImageIoError, type ImageOperation, NbdConnectionLostError } from './errors.ts';

/** As many as there are lanes. */
const CONNECTIONS = 4;

export interface NbdEndpoint {
  /** As the user named the image; for messages. */
  readonly name: string;
  readonly uri: string;
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
  readonly #endpoint: NbdEndpoint;
  readonly #all: readonly NbdConnection[];
  readonly #free: NbdConnection[];
  readonly #waiting: ((connection: NbdConnection) => void)[] = [];

  private constructor(endpoint: NbdEndpoint, connections: readonly NbdConnection[]) {
    this.#endpoint = endpoint;
    this.#all = connections;
    this.#free = [...connections];
    this.about = (connections[0] as NbdConnection).about;
  }

  /**
   * Several connections where the server promises that a flush on one covers all, or where nothing is written.
   * @throws MissingToolError, ImageIoError, NbdConnectionLostError
   */
  static async connect(endpoint: NbdEndpoint, readOnly: boolean): Promise<NbdPool> {
    const connections: NbdConnection[] = [];
    try {
      connections.push(await NbdConnection.connect(endpoint.uri));
      const { multiConnection } = (connections[0] as NbdConnection).about;
      while ((multiConnection || readOnly) && connections.length < CONNECTIONS) {
        connections.push(await NbdConnection.connect(endpoint.uri));
      }
      return new NbdPool(endpoint, connections);
    } catch (cause) {
      for (const connection of connections) await connection.close();
      if (!(cause instanceof NbdError)) throw cause;
      const detail = (await endpoint.failure?.()) ?? cause.message;
      const todo = 'Check the address, that its server runs and can be reached, and that it exports a disk of that name.';
      throw new ImageIoError(endpoint.name, 'open', { detail, cause, ...(endpoint.failure === undefined ? { todo } : {}) });
    }
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
