/** Sends one blob: HEAD, then POST, PATCH and PUT. What breaks off goes on where the registry says that it stopped. */
import type { IncomingMessage } from 'node:http';
import type { Descriptor } from '../oci.ts';
import type { RegistryClient } from './client.ts';
import { RegistryAnswerError, RegistryNotFoundError } from './errors.ts';
import { drain } from './exchange.ts';
import { PassingError } from './retry.ts';

/** An upload that has been begun. */
interface Session {
  /** Where the next request goes. */
  readonly url: URL;
  /** Bytes that are there. */
  readonly sent: number;
}

/** `false`: it was there already, and nothing was sent. @throws as RegistryClient tells */
export async function upload(client: RegistryClient, { digest }: Descriptor, bytes: Uint8Array): Promise<boolean> {
  let session: Session | undefined;
  let begun = false;
  let most = 0;
  const send = async (further: () => void): Promise<boolean> => {
    // After a break the last answer may be all that was lost.
    if (await isThere(client, digest)) return begun;
    begun = true;
    session = session === undefined ? undefined : await progressOf(client, session.url);
    if (session !== undefined && session.sent > most) {
      most = session.sent;
      further();
    }
    try {
      session ??= await open(client);
      if (session.sent < bytes.length) session = await append(client, session, bytes);
      await complete(client, session, digest);
    } catch (error) {
      // The registry does not know the upload any more, or not all that was sent: there is nothing to go on with.
      if (!(error instanceof RegistryNotFoundError) && !(error instanceof RegistryAnswerError)) throw error;
      session = undefined;
      throw new PassingError(error.message, { cause: error, lasting: error });
    }
    return true;
  };
  return client.retrying(send);
}

async function isThere(client: RegistryClient, digest: string): Promise<boolean> {
  const answer = await client.send({ method: 'HEAD', place: `blobs/${digest}`, expected: [200, 404] });
  await drain(answer);
  return answer.statusCode === 200;
}

async function open(client: RegistryClient): Promise<Session> {
  const answer = await client.send({ method: 'POST', place: 'blobs/uploads/', expected: [202] });
  return { url: await next(client, answer), sent: 0 };
}

async function append(client: RegistryClient, { url, sent }: Session, bytes: Uint8Array): Promise<Session> {
  const headers: Record<string, string> = { 'content-type': 'application/octet-stream' };
  if (sent > 0) headers['content-range'] = `${sent}-${bytes.length - 1}`;
  const answer = await client.send({ method: 'PATCH', place: url, headers, body: bytes.subarray(sent), expected: [202] });
  return { url: await next(client, answer), sent: bytes.length };
}

async function complete(client: RegistryClient, { url }: Session, digest: string): Promise<void> {
  const place = new URL(url);
  // The rest stays as it was written: it may be signed.
  place.search += `${place.search === '' ? '?' : '&'}digest=${encodeURIComponent(digest)}`;
  await drain(await client.send({ method: 'PUT', place, expected: [201, 204] }));
}

/** Undefined when the registry does not say: the upload is begun again. */
async function progressOf(client: RegistryClient, url: URL): Promise<Session | undefined> {
  const answer = await client.send({ method: 'GET', place: url, expected: [204, 200, 202, 400, 404, 405, 416] });
  const [, last] = /^(?:bytes[ =])?0-(\d+)$/.exec(answer.headers.range ?? '') ?? [];
  const found = answer.statusCode === 204 || answer.statusCode === 202;
  // "0-0" may stand for one byte, and for none.
  if (!found || last === undefined || last === '0') {
    await drain(answer);
    return undefined;
  }
  return { url: await next(client, answer, url), sent: Number(last) + 1 };
}

/** Every answer says where the next request goes. */
async function next(client: RegistryClient, answer: IncomingMessage, otherwise?: URL): Promise<URL> {
  await drain(answer);
  const { location } = answer.headers;
  if (location !== undefined) return client.locate(location);
  if (otherwise !== undefined) return otherwise;
  throw new PassingError('it does not say where an upload goes');
}
