/** One request and the beginning of its answer. */
import * as http from 'node:http';
import * as https from 'node:https';
import { PassingError } from './retry.ts';

export interface ExchangeOptions {
  readonly method: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  readonly agent: http.Agent;
  /** Milliseconds that the server may be silent, also in the middle of its answer. */
  readonly patience: number;
  readonly signal: AbortSignal;
}

export class SilentServerError extends Error {
  constructor(patience: number) {
    super(`nothing came within ${patience / 1000} seconds`);
  }
}

/** The body is to be read, or drained. @throws what Node.js says when the connection fails; SilentServerError; the signal's reason */
export function exchange(
  url: URL,
  { method, headers = {}, body, agent, patience, signal }: ExchangeOptions,
): Promise<http.IncomingMessage> {
  return new Promise((resolve, reject) => {
    const length = body?.length ?? (method === 'GET' || method === 'HEAD' ? undefined : 0);
    const request = (url.protocol === 'https:' ? https : http).request(url, {
      method,
      agent,
      headers: { ...headers, 'user-agent': 'doppel', ...(length === undefined ? {} : { 'content-length': String(length) }) },
    });
    let answer: http.IncomingMessage | undefined;
    const stop = (error: Error): void => void (answer ?? request).destroy(error);
    const onAbort = (): void => stop(signal.reason);
    request.setTimeout(patience, () => stop(new SilentServerError(patience)));
    request.on('error', (error) => {
      signal.removeEventListener('abort', onAbort);
      reject(error);
    });
    request.on('response', (response) => {
      answer = response;
      response.once('close', () => signal.removeEventListener('abort', onAbort));
      resolve(response);
    });
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort);
    request.end(body);
  });
}

/** The body. @throws PassingError when it breaks off */
export async function* chunksOf(answer: http.IncomingMessage): AsyncGenerator<Buffer, void, void> {
  try {
    yield* answer;
  } catch (error) {
    throw new PassingError(`its answer broke off: ${(error as Error).message}`, { cause: error });
  }
}

/** At most `most` bytes; what follows is let go. @throws PassingError */
export async function textOf(answer: http.IncomingMessage, most: number): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of chunksOf(answer)) {
    chunks.push(chunk);
    length += chunk.length;
    if (length >= most) break;
  }
  return Buffer.concat(chunks).toString();
}

/** So that its connection can be used again. @throws PassingError */
export async function drain(answer: http.IncomingMessage): Promise<void> {
  await textOf(answer, 1 << 20);
}
