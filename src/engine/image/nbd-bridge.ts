/**
 * A way to an NBD server with TLS for nbdfuse, which knows too little of certificates: a qemu-nbd of our own passes on to the
 * server what comes over a private socket. It refuses what has no good certificate of that host, and holds nothing back: it keeps
 * no data, and a flush goes through to the server. Options as in qemu-nbd(8) and "NBD" of QEMU's block drivers.
 */
import { symlink } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { UnusableImageError } from './errors.ts';
import { NbdFewClientsError } from './nbd-errors.ts';
import { type NbdEndpoint, usualPatience } from './nbd-pool.ts';
import type { NbdTls } from './nbd-tls.ts';
import { type NbdAddress, parseNbdUri } from './nbd-uri.ts';
import { type QemuServer, qemuOptions, serveNode } from './qemu-nbd.ts';

/** The name that QEMU wants a file of keys to have. */
const KEYS = 'keys.psk';

/** @throws MissingToolError, UnusableImageError, ImageIoError with what qemu-nbd said, NbdFewClientsError */
export function bridgeTo(
  { name, uri, patience }: NbdEndpoint,
  tls: NbdTls,
  { readOnly }: { readonly readOnly: boolean },
): Promise<QemuServer> {
  const address = parseNbdUri(uri);
  const server = address === undefined ? undefined : serverOf(address);
  if (address === undefined || server === undefined) {
    const why = 'file systems behind a server with TLS can be opened only over TCP or a Unix socket';
    throw new UnusableImageError(name, why, 'Make a plain copy (--as none).');
  }
  const { further } = patience ?? usualPatience;
  return serveNode({
    name,
    readOnly,
    image: { driver: 'nbd', ...server, export: address.exportName, 'tls-creds': 'tls' },
    more: async (folder) => ['--object', await credentials(tls, folder)],
    limit: { patience: further, error: () => new NbdFewClientsError(name, further) },
  });
}

function serverOf({ transport, host, port, parameters }: NbdAddress): Record<string, string> | undefined {
  if (transport === 'tcp') return { 'server.type': 'inet', 'server.host': host, 'server.port': port };
  const socket = parameters.find((each) => each.name === 'socket')?.value;
  return transport === 'unix' && socket !== undefined ? { 'server.type': 'unix', 'server.path': resolve(socket) } : undefined;
}

async function credentials(tls: NbdTls, folder: string): Promise<string> {
  const end = { id: 'tls', endpoint: 'client' };
  if (tls.by === 'certificates') {
    return `tls-creds-x509,${qemuOptions({ ...end, dir: tls.folder, 'verify-peer': 'on' })}`;
  }
  await symlink(tls.file, join(folder, KEYS));
  return `tls-creds-psk,${qemuOptions({ ...end, dir: folder, username: tls.user })}`;
}
