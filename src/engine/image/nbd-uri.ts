/** The parts of the URI of an NBD server, taken apart as libnbd does it (doc/uri.md of the NBD protocol, nbd_connect_uri(3)). */
import { resolve } from 'node:path';

export interface NbdAddress {
  readonly tls: boolean;
  readonly transport: 'tcp' | 'unix' | 'vsock';
  /** Without the brackets of an IPv6 address. */
  readonly host: string;
  readonly port: string;
  readonly exportName: string;
  readonly user: string;
  /** What stands behind the question mark, in its order. */
  readonly parameters: readonly { readonly name: string; readonly value: string }[];
}

/** Scheme, user, host, port, path, query. The user may stand before an empty host, which the URLs of browsers know nothing of. */
const pattern = /^nbd(s?)(?:\+(unix|vsock))?:\/\/(?:([^@/?#]*)@)?(\[[^\]]*\]|[^:/?#]*)(?::(\d*))?(?:\/([^?#]*))?(?:\?([^#]*))?$/;

/** Undefined for what is no such URI. */
export function parseNbdUri(uri: string): NbdAddress | undefined {
  const match = pattern.exec(uri);
  if (match === null) return undefined;
  const [, s, transport = 'tcp', user = '', host = '', port = '', path = '', query = ''] = match;
  try {
    return {
      tls: s === 's',
      transport: transport as NbdAddress['transport'],
      host: decodeURIComponent(host.replace(/^\[(.*)\]$/, '$1')) || 'localhost',
      port: port || '10809',
      exportName: decodeURIComponent(path),
      user: decodeURIComponent(user),
      parameters: sections(query).map((section) => {
        const [name = '', ...value] = section.split('=');
        return { name: decodeURIComponent(name), value: decodeURIComponent(value.join('=')) };
      }),
    };
  } catch (error) {
    if (error instanceof URIError) return undefined;
    throw error;
  }
}

/** For programs that run in another folder: the path of the socket is absolute. */
export function withAbsoluteSocket(uri: string): string {
  return uri.replace(/(?<=[?&]socket=)[^&;]+/, (path) => encodeURIComponent(resolve(decodeURIComponent(path))));
}

/** libnbd separates by "&" as long as there is one, and what is left by ";". */
function sections(query: string): string[] {
  const parts = query.split('&');
  return [...parts.slice(0, -1), ...(parts.at(-1) ?? '').split(';')].filter((part) => part !== '');
}
