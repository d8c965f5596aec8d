/**
 * What the certificate of an NBD server is checked with. libnbd (seen in 1.14, compare CVE-2024-7383) checks it, and the name of
 * the host in it, only where it finds a ca-cert.pem of its own and connects over TCP; without one, or over a Unix socket, it takes
 * any. So nobody is connected to before it is certain that there is something to check with, and libnbd is told where it is.
 */
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { openFailed, UnusableImageError } from './errors.ts';
import { type NbdAddress, parseNbdUri } from './nbd-uri.ts';
import { isMissing } from './sysfs.ts';

/** Absolute paths. */
export type NbdTls =
  | { readonly by: 'certificates'; readonly folder: string }
  | { readonly by: 'key'; readonly file: string; readonly user: string };

const AUTHORITY = 'ca-cert.pem';
const known: readonly string[] = ['tls-certificates', 'tls-psk-file'];

/**
 * Undefined for a connection without TLS. `name` is what the user wrote.
 * @throws UnusableImageError when nothing would be checked; ImageIoError when nobody may look
 */
export async function tlsOf(name: string, uri: string): Promise<NbdTls | undefined> {
  const address = parseNbdUri(uri);
  if (address === undefined) {
    throw new UnusableImageError(name, 'it is no URI of an NBD server', 'Write it as nbd://HOST:PORT/EXPORT.');
  }
  const named = address.parameters.filter((each) => /^tls-/i.test(each.name));
  const [first, second] = named;
  if (first !== undefined && (second !== undefined || !known.includes(first.name) || first.value === '')) {
    const why =
      second === undefined ? `${first.name}=${first.value} in it is not known` : 'it says twice how TLS is to be checked';
    throw new UnusableImageError(name, why, 'Give it one of tls-certificates=FOLDER and tls-psk-file=FILE.');
  }
  if (!address.tls) {
    if (first === undefined) return undefined;
    throw new UnusableImageError(
      name,
      `it asks for no TLS, so that ${first.name} means nothing`,
      'Begin it with "nbds" for TLS.',
    );
  }
  if (first?.name === 'tls-psk-file') return key(name, address, resolve(first.value));
  if (address.transport !== 'tcp') {
    const why = 'over a socket of this computer nobody could check that a certificate is that of the server';
    throw new UnusableImageError(name, why, 'Use nbds://HOST with its certificate, a key (tls-psk-file=FILE), or nbd+unix.');
  }
  if (address.host.includes(':')) {
    // libnbd sends it as the name of the host (SNI), which GnuTLS servers answer by hanging up.
    throw new UnusableImageError(
      name,
      'with TLS a server cannot be named by its IPv6 address',
      'Name the host as its certificate does.',
    );
  }
  return certificates(name, first === undefined ? undefined : resolve(first.value));
}

async function certificates(name: string, named: string | undefined): Promise<NbdTls> {
  const folders = named === undefined ? usual() : [named];
  for (const folder of folders) if (await readable(join(folder, AUTHORITY))) return { by: 'certificates', folder };
  const why = `there is no ${AUTHORITY} in ${folders.join(' or ')} to check the certificate of the server with, so that anybody could answer in its place`;
  const todo = `Put the certificate of the authority that signed the server's into a folder as ${AUTHORITY}, and name the folder in the URI: ${withFolder(name)}`;
  throw new UnusableImageError(name, why, todo, { folders });
}

/** Where libnbd itself looks (nbd_set_tls_certificates(3)). */
function usual(): string[] {
  if (process.geteuid?.() === 0) return ['/etc/pki/libnbd'];
  return [join(homedir(), '.pki/libnbd'), join(homedir(), '.config/pki/libnbd')];
}

function withFolder(name: string): string {
  const uri = name.replace(/#.*/, '').replace(/[?&]tls-certificates=[^&]*/, '');
  return `${uri}${uri.includes('?') ? '&' : '?'}tls-certificates=/etc/doppel/tls`;
}

async function key(name: string, { user }: NbdAddress, file: string): Promise<NbdTls> {
  if (user === '') {
    const why = `it does not say which key of ${file} is meant`;
    throw new UnusableImageError(name, why, 'Write the name that stands before the colon there into the URI: nbds://NAME@HOST');
  }
  await access(file, constants.R_OK).catch(openFailed(file));
  return { by: 'key', file, user };
}

async function readable(file: string): Promise<boolean> {
  try {
    await access(file, constants.R_OK);
    return true;
  } catch (cause) {
    if (isMissing(cause)) return false;
    return openFailed(file)(cause);
  }
}
