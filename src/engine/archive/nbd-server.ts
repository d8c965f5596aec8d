/**
 * Serves an image to NBD clients, read-only. As much of the protocol as every client must be able to do with: fixed newstyle
 * negotiation, NBD_OPT_GO, simple replies. From doc/proto.md of the NBD project; numbers on the wire are big-endian.
 */
import { createServer, type Server, type Socket } from 'node:net';
import type { ImageSource } from '../image/contract.ts';

const NBDMAGIC = 0x4e42444d41474943n;
const IHAVEOPT = 0x49484156454f5054n;
const OPTION_REPLY = 0x0003e889045565a9n;
const REQUEST = 0x25609513;
const REPLY = 0x67446698;

const FIXED_NEWSTYLE = 1;
const NO_ZEROES = 2;
const Option = { exportName: 1, abort: 2, info: 6, go: 7 } as const;
const Answer = { ack: 1, info: 3, unsupported: 0x80000001 } as const;
const INFO_EXPORT = 0;
/** NBD_FLAG_HAS_FLAGS, READ_ONLY, CAN_MULTI_CONN. */
const FLAGS = 1 | 2 | 0x100;
const Command = { read: 0, disconnect: 2, flush: 3 } as const;
const Errno = { EIO: 5, EINVAL: 22 } as const;
/** Bytes of one option's data, and of one read. */
const LONGEST_OPTION = 1 << 16;
const LONGEST_READ = 32 << 20;

/** Listens on a Unix socket; `onError` is told what clients get as an I/O error. */
export function serveImage(image: ImageSource, socketPath: string, onError: (error: unknown) => void): Promise<Server> {
  const server = createServer((socket) => {
    new Connection(image, socket, onError).run().catch(() => socket.destroy());
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(socketPath, () => resolve(server));
  });
}

/** The client left, or says what no client says. */
class Ended extends Error {}

class Connection {
  readonly #image: ImageSource;
  readonly #socket: Socket;
  readonly #onError: (error: unknown) => void;
  readonly #chunks: AsyncIterator<Buffer>;
  #buffered: Buffer = Buffer.alloc(0);

  constructor(image: ImageSource, socket: Socket, onError: (error: unknown) => void) {
    this.#image = image;
    this.#onError = onError;
    this.#socket = socket;
    this.#chunks = socket[Symbol.asyncIterator]();
  }

  async run(): Promise<void> {
    try {
      if (await this.#negotiate()) await this.#serve();
    } finally {
      this.#socket.end();
    }
  }

  /** Whether the client wants the image. */
  async #negotiate(): Promise<boolean> {
    const hello = Buffer.alloc(18);
    hello.writeBigUInt64BE(NBDMAGIC, 0);
    hello.writeBigUInt64BE(IHAVEOPT, 8);
    hello.writeUInt16BE(FIXED_NEWSTYLE | NO_ZEROES, 16);
    this.#socket.write(hello);
    const zeroes = ((await this.#take(4)).readUInt32BE(0) & NO_ZEROES) === 0;
    for (;;) {
      const head = await this.#take(16);
      const [option, length] = [head.readUInt32BE(8), head.readUInt32BE(12)];
      if (head.readBigUInt64BE(0) !== IHAVEOPT || length > LONGEST_OPTION) throw new Ended();
      await this.#take(length);
      switch (option) {
        case Option.exportName:
          this.#socket.write(Buffer.concat([this.#exported(), Buffer.alloc(zeroes ? 124 : 0)]));
          return true;
        case Option.abort:
          this.#answer(option, Answer.ack);
          return false;
        case Option.info:
        case Option.go: {
          const type = Buffer.alloc(2);
          type.writeUInt16BE(INFO_EXPORT);
          this.#answer(option, Answer.info, Buffer.concat([type, this.#exported()]));
          this.#answer(option, Answer.ack);
          if (option === Option.go) return true;
          break;
        }
        default:
          this.#answer(option, Answer.unsupported);
      }
    }
  }

  /** Size and flags. */
  #exported(): Buffer {
    const bytes = Buffer.alloc(10);
    bytes.writeBigUInt64BE(BigInt(this.#image.size), 0);
    bytes.writeUInt16BE(FLAGS, 8);
    return bytes;
  }

  #answer(option: number, type: number, data: Uint8Array = new Uint8Array(0)): void {
    const head = Buffer.alloc(20);
    head.writeBigUInt64BE(OPTION_REPLY, 0);
    head.writeUInt32BE(option, 8);
    head.writeUInt32BE(type, 12);
    head.writeUInt32BE(data.length, 16);
    this.#socket.write(Buffer.concat([head, data]));
  }

  async #serve(): Promise<void> {
    for (;;) {
      const request = await this.#take(28);
      if (request.readUInt32BE(0) !== REQUEST) throw new Ended();
      const [type, cookie] = [request.readUInt16BE(6), request.readBigUInt64BE(8)];
      const [offset, length] = [Number(request.readBigUInt64BE(16)), request.readUInt32BE(24)];
      if (type === Command.disconnect) return;
      if (type === Command.read) await this.#read(cookie, offset, length);
      // What somebody wants to write follows its request: it would be taken for the next one.
      else if (type === Command.flush) this.#reply(cookie, 0);
      else throw new Ended();
    }
  }

  async #read(cookie: bigint, offset: number, length: number): Promise<void> {
    if (length > LONGEST_READ || offset + length > this.#image.size) return this.#reply(cookie, Errno.EINVAL);
    const bytes = new Uint8Array(length);
    try {
      await this.#image.read(bytes, offset);
    } catch (error) {
      this.#onError(error);
      return this.#reply(cookie, Errno.EIO);
    }
    this.#reply(cookie, 0, bytes);
    if (this.#socket.writableNeedDrain) await new Promise((resolve) => this.#socket.once('drain', resolve));
  }

  #reply(cookie: bigint, error: number, data?: Uint8Array): void {
    const head = Buffer.alloc(16);
    head.writeUInt32BE(REPLY, 0);
    head.writeUInt32BE(error, 4);
    head.writeBigUInt64BE(cookie, 8);
    this.#socket.write(head);
    if (data !== undefined) this.#socket.write(data);
  }

  /** The next `length` bytes that the client sends. @throws Ended */
  async #take(length: number): Promise<Buffer> {
    while (this.#buffered.length < length) {
      const { done, value } = await this.#chunks.next();
      if (done === true) throw new Ended();
      this.#buffered = Buffer.concat([this.#buffered, value]);
    }
    const taken = this.#buffered.subarray(0, length);
    this.#buffered = this.#buffered.subarray(length);
    return taken;
  }
}
