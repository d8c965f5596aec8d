/** Certificates and keys for servers with TLS, made by openssl, and nbdkits that have them. Undone when the process ends. */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { tempDir } from '../../fixtures/temp.ts';
import { type Running, start, until } from './processes.ts';

export interface Certificates {
  /** Folders for servers: for this computer under all its names, and for another one. */
  readonly here: string;
  readonly elsewhere: string;
  /** Folders for clients: with the authority of both, with another authority, with none. */
  readonly client: string;
  readonly stranger: string;
  readonly nothing: string;
}

export function makeCertificates(): Certificates {
  const folder = tempDir();
  const openssl = (...args: string[]): void => void execFileSync('openssl', args, { cwd: folder, stdio: 'ignore' });
  for (const name of ['authority', 'stranger']) {
    const files = ['-keyout', `${name}.key`, '-out', `${name}.pem`];
    openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', `/CN=${name}`, ...files);
  }
  const make = (name: string, files: Readonly<Record<string, string>>): string => {
    mkdirSync(join(folder, name));
    for (const [to, from] of Object.entries(files)) copyFileSync(join(folder, from), join(folder, name, to));
    return join(folder, name);
  };
  const server = (name: string, names: string): string => {
    const [key, request, certificate] = [`${name}.key`, `${name}.request`, `${name}.pem`];
    openssl('req', '-newkey', 'rsa:2048', '-nodes', '-subj', `/CN=${name}`, '-keyout', key, '-out', request);
    writeFileSync(join(folder, 'names'), `subjectAltName=${names}\n`);
    const by = ['-CA', 'authority.pem', '-CAkey', 'authority.key', '-CAcreateserial'];
    openssl('x509', '-req', '-in', request, ...by, '-days', '2', '-extfile', 'names', '-out', certificate);
    return make(`server-${name}`, { 'ca-cert.pem': 'authority.pem', 'server-cert.pem': certificate, 'server-key.pem': key });
  };
  return {
    here: server('here', 'DNS:localhost,IP:127.0.0.1'),
    elsewhere: server('elsewhere', 'DNS:elsewhere.example'),
    client: make('client', { 'ca-cert.pem': 'authority.pem' }),
    stranger: make('strange', { 'ca-cert.pem': 'stranger.pem' }),
    nothing: make('nothing', {}),
  };
}

/** A file of keys for TLS, in which `user` has one. */
export function makeKey(user: string): string {
  const path = join(tempDir(), 'a file, of keys');
  writeFileSync(path, `${user}:${randomBytes(32).toString('hex')}\n`, { mode: 0o600 });
  return path;
}

/** nbdkit on a free port of this computer; `args` as of nbdkit(1). */
export async function nbdkitOnPort(args: readonly string[]): Promise<Running & { readonly port: number }> {
  const port = await freePort();
  const ready = join(tempDir(), 'ready');
  const running = start('nbdkit', '--foreground', '--ipaddr=127.0.0.1', `--port=${port}`, `--pidfile=${ready}`, ...args);
  await until('nbdkit listens', () => existsSync(ready));
  return { ...running, port };
}

export function freePort(): Promise<number> {
  const server = createServer();
  return new Promise((resolve, reject) => {
    server.once('error', reject).listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

/** Takes every connection, counts them, and says nothing. */
export async function silentServer(): Promise<{ readonly port: number; readonly taken: () => number; close(): Promise<void> }> {
  const sockets: Socket[] = [];
  const server = createServer((socket) => sockets.push(socket.on('error', () => undefined)));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as { port: number }).port,
    taken: () => sockets.length,
    close: () => {
      for (const socket of sockets) socket.destroy();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}
