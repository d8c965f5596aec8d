/** What the ways in which a connection fails mean. */
import { RegistryTlsError } from './errors.ts';

const codeOf = (error: Error): string => (error as NodeJS.ErrnoException).code ?? '';

/** No server, host or network, as far as this computer knows. */
export function isNobodyThere(error: Error): boolean {
  return ['ENOTFOUND', 'EAI_AGAIN', 'ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'EADDRNOTAVAIL', 'EINVAL'].includes(
    codeOf(error),
  );
}

/** As Node.js and OpenSSL call what is wrong with a certificate. */
const certificateCodes =
  /^(?:CERT_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|INVALID_CA|INVALID_PURPOSE|HOSTNAME_MISMATCH|ERR_TLS_CERT_)/;
const handshakeCodes = /^(?:EPROTO|ERR_SSL_)/;

const TRUST =
  'If it is signed by an authority of your own: NODE_EXTRA_CA_CERTS=FILE.pem (on Debian /etc/ssl/certs/ca-certificates.crt has what the system trusts)';

export const tlsProblem = {
  /** Undefined when the connection failed for another reason. `answered`: TLS worked before. */
  of(archive: string, { host, protocol }: URL, error: Error, answered: boolean): RegistryTlsError | undefined {
    if (protocol !== 'https:') return undefined;
    if (certificateCodes.test(codeOf(error))) {
      const todo = `${TRUST}, or put its certificate into /etc/docker/certs.d/${host}/ca.crt.`;
      return new RegistryTlsError(archive, `the certificate of ${host} is not trusted: ${error.message}`, todo, error);
    }
    if (answered || !handshakeCodes.test(codeOf(error))) return undefined;
    const plain = /wrong version number|packet length too long|record layer failure|http request/i.test(error.message);
    return plain
      ? new RegistryTlsError(archive, `${host} does not speak TLS`, 'If the network to it is safe: --plain-http.', error)
      : new RegistryTlsError(archive, `no TLS connection to ${host}: ${error.message}`, 'Check its TLS settings.', error);
  },
  /** Plain HTTP was spoken to a server that speaks TLS. */
  wanted: (archive: string) => new RegistryTlsError(archive, 'its server speaks TLS', 'Leave --plain-http away.'),
  downgrade: (archive: string, origin: string) =>
    new RegistryTlsError(
      archive,
      `its server leads to ${origin}, in the clear`,
      'Let the registry say where it is with https://.',
    ),
};
