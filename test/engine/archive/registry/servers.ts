/** Registries on this computer, and what may stand before them. Undone when the process ends. */
import { writeFileSync } from 'node:fs';
import * as http from 'node:http';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { tempDir } from '../../../fixtures/temp.ts';
import { freePort } from '../../image/nbd-certificates.ts';
import { start, until } from '../../image/processes.ts';

/** bcrypt of "secret". */
const SECRET = '$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a';

export interface Registry {
  readonly port: number;
  /** `127.0.0.1:PORT`. */
  readonly host: string;
  /** Where it keeps what it has. */
  readonly storage: string;
  stop(): Promise<void>;
}

export interface RegistryWishes {
  /** Let in: anna, with the password "secret". */
  readonly password?: boolean;
  /** Folder as of `makeCertificates`. */
  readonly tls?: string;
}

/** docker-registry 2.8, with a storage of its own. */
export async function startRegistry({ password, tls }: RegistryWishes = {}): Promise<Registry> {
  const folder = tempDir('registry');
  const storage = join(folder, 'storage');
  const port = await freePort();
  const host = `127.0.0.1:${port}`;
  writeFileSync(join(folder, 'htpasswd'), `anna:${SECRET}\n`);
  const config = {
    version: '0.1',
    log: { level: 'error', accesslog: { disabled: true } },
    storage: { filesystem: { rootdirectory: storage } },
    http: {
      addr: host,
      secret: 'of no use',
      ...(tls === undefined ? {} : { tls: { certificate: join(tls, 'server-cert.pem'), key: join(tls, 'server-key.pem') } }),
    },
    ...(password ? { auth: { htpasswd: { realm: 'a test', path: join(folder, 'htpasswd') } } } : {}),
  };
  // YAML has all of JSON.
  writeFileSync(join(folder, 'config.yml'), JSON.stringify(config));
  const running = start('sh', '-c', 'exec docker-registry serve "$0" 2> "$0.log"', join(folder, 'config.yml'));
  await until('the registry listens', () => listens(port));
  return { port, host, storage, stop: () => running.stop() };
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(true);
    }).on('error', () => resolve(false));
  });
}

interface Front {
  readonly port: number;
  readonly host: string;
  close(): Promise<void>;
}

async function listening(server: http.Server | ReturnType<typeof createServer>, end: () => void): Promise<Front> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const close = (): Promise<void> => {
    end();
    return new Promise((resolve) => server.close(() => resolve()));
  };
  return { port, host: `127.0.0.1:${port}`, close };
}

/** Bytes after which a connection is cut, by its number from 0 on; not at all when undefined. */
export interface Cuts {
  readonly toServer?: (connection: number) => number | undefined;
  readonly toClient?: (connection: number) => number | undefined;
  /** Milliseconds that everything takes longer, each way. */
  readonly delay?: number;
}

/** Passes on what comes, and cuts. */
export async function cutter(port: number, { toServer, toClient, delay = 0 }: Cuts): Promise<Front & { cuts(): number }> {
  const open = new Set<Socket>();
  let [connections, cuts] = [0, 0];
  const server = createServer((client) => {
    const number = connections++;
    const other = connect(port, '127.0.0.1');
    const end = (): void => {
      client.destroy();
      other.destroy();
    };
    for (const socket of [client, other]) {
      open.add(socket);
      socket.on('error', end).on('close', () => {
        open.delete(socket);
        end();
      });
    }
    const pass = (from: Socket, to: Socket, limit = Number.POSITIVE_INFINITY): void => {
      let passed = 0;
      from.on('data', async (chunk: Buffer) => {
        if (delay > 0) await sleep(delay);
        const room = limit - passed;
        passed += chunk.length;
        if (room <= 0) return;
        if (chunk.length < room) return void to.write(chunk);
        cuts++;
        to.write(chunk.subarray(0, room), () => setImmediate(end));
      });
    };
    pass(client, other, toServer?.(number));
    pass(other, client, toClient?.(number));
  });
  const front = await listening(server, () => {
    for (const socket of open) socket.destroy();
  });
  return { ...front, cuts: () => cuts };
}

/** Takes blobs as the OCI distribution specification 1.1 has it: what came of an upload before it broke off stays, and can be asked for. docker-registry 2.8 forgets it. */
export async function resumingRegistry(): Promise<
  Front & { readonly log: readonly string[]; blob(digest: string): Buffer | undefined }
> {
  const blobs = new Map<string, Buffer>();
  const uploads: Buffer[][] = [];
  const log: string[] = [];
  const server = http.createServer(async (request, response) => {
    const { method = '', url = '', headers } = request;
    const { pathname, searchParams } = new URL(url, 'http://here');
    const [, number] = /uploads\/(\d+)$/.exec(pathname) ?? [];
    const upload = uploads[Number(number)];
    const size = (): number => upload?.reduce((sum, { length }) => sum + length, 0) ?? 0;
    log.push(`${method} ${headers['content-range'] ?? ''}`.trim());
    const answer = (status: number, more: Readonly<Record<string, string>> = {}) =>
      response.writeHead(status, { 'content-length': '0', ...more }).end();
    // Without a host, as some do.
    const state = () => ({ location: pathname, range: `0-${size() - 1}` });
    if (method === 'HEAD') return answer(blobs.has(pathname.split('/').at(-1) ?? '') ? 200 : 404);
    if (method === 'POST') return answer(202, { location: `${pathname}${uploads.push([]) - 1}` });
    if (upload === undefined) return answer(404);
    if (method === 'GET') return answer(204, state());
    if (method === 'PATCH') {
      if (Number(headers['content-range']?.split('-')[0] ?? 0) !== size()) return answer(416, state());
      request.on('error', () => response.destroy()).on('data', (chunk: Buffer) => upload.push(chunk));
      return void request.on('end', () => answer(202, state()));
    }
    blobs.set(searchParams.get('digest') ?? '', Buffer.concat(upload));
    answer(201);
  });
  const front = await listening(server, () => server.closeAllConnections());
  return { ...front, log, blob: (digest) => blobs.get(digest) };
}

export interface Request {
  readonly method: string;
  readonly url: string;
  readonly headers: http.IncomingHttpHeaders;
}
export interface Answer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** Answers by itself what `answer` has an answer for; the registry gets the rest, with `more` headers. Notes what was asked. */
export async function front(
  port: number,
  answer: (request: Request) => Answer | undefined,
  more: Readonly<Record<string, string>> = {},
): Promise<Front & { readonly asked: readonly Request[] }> {
  const asked: Request[] = [];
  const server = http.createServer((request, response) => {
    const { method = '', url = '', headers } = request;
    asked.push({ method, url, headers });
    const own = answer({ method, url, headers });
    if (own !== undefined) {
      request.resume();
      response.writeHead(own.status, own.headers).end(method === 'HEAD' ? undefined : own.body);
      return;
    }
    const inner = http.request({ port, host: '127.0.0.1', method, path: url, headers: { ...headers, ...more } }, (from) => {
      response.writeHead(from.statusCode ?? 500, from.headers);
      from.on('error', () => response.destroy()).pipe(response);
    });
    inner.on('error', () => response.destroy());
    request.pipe(inner);
  });
  return { ...(await listening(server, () => server.closeAllConnections())), asked };
}
