/** Talks to one repository of a registry: OCI distribution specification 1.1, and Docker Registry HTTP API V2 where that is silent. */
import * as http from 'node:http';
import * as https from 'node:https';
import { ignoreEvents, type RunOptions } from '../../events.ts';
import { mediaTypes } from '../oci.ts';
import { Authorization } from './authorization.ts';
import { RegistryAnswerError, RegistryLostError, RegistryNotFoundError, RegistryUnreachableError } from './errors.ts';
import { drain, exchange, textOf } from './exchange.ts';
import { isNobodyThere, tlsProblem } from './problems.ts';
import type { Reference } from './reference.ts';
import { PassingError, type RetryPolicy, retryAfter, retrying, usualRetries } from './retry.ts';
import { trustedFor } from './trust.ts';

export interface ClientOptions extends RunOptions {
  readonly actions: 'pull' | 'pull,push';
  readonly plainHttp: boolean;
  readonly retries?: RetryPolicy;
}

export interface Asked {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PATCH' | 'PUT';
  /** Below the repository, as `manifests/latest`; or where the registry said to go. */
  readonly place: string | URL;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  /** Statuses that are handled by who asks; any other is an error. */
  readonly expected: readonly number[];
}

/** What a tag may name: some registries make something else of what was not asked for. */
export const anyManifest = [
  mediaTypes.index,
  mediaTypes.manifest,
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.docker.distribution.manifest.v2+json',
].join(', ');

/** Milliseconds. A registry may have to move what was sent, or to look for a thousand blobs, before it answers. */
const PATIENCE = { reading: 60_000, writing: 300_000 } as const;
const MOST_REDIRECTS = 5;
/** Bytes of what is said about an error. */
const LONGEST_COMPLAINT = 64 << 10;
/** Whose names are for people only. */
const servers: Readonly<Record<string, string>> = { 'docker.io': 'registry-1.docker.io' };

export class RegistryClient {
  readonly reference: Reference;
  readonly #options: ClientOptions;
  readonly #origin: URL;
  readonly #agents: Readonly<Record<string, http.Agent>>;
  readonly #authorization: Authorization;
  readonly #closing = new AbortController();
  readonly #signal: AbortSignal;
  /** Somebody is there: what fails from now on may pass. */
  #answered = false;

  private constructor(reference: Reference, options: ClientOptions, trusted: string[] | undefined) {
    this.reference = reference;
    this.#options = options;
    this.#origin = new URL(`${options.plainHttp ? 'http' : 'https'}://${servers[reference.host] ?? reference.host}`);
    this.#agents = {
      'http:': new http.Agent({ keepAlive: true }),
      'https:': new https.Agent({ keepAlive: true, ...(trusted === undefined ? {} : { ca: trusted }) }),
    };
    const { signal } = this.#closing;
    this.#signal = options.signal === undefined ? signal : AbortSignal.any([options.signal, signal]);
    this.#authorization = new Authorization(reference, {
      ...options,
      ask: (url, request) => this.#exchanged(url, { ...request, patience: PATIENCE.reading }),
    });
  }

  /** Nothing is asked yet. @throws LoginError */
  static async of(reference: Reference, options: ClientOptions): Promise<RegistryClient> {
    return new RegistryClient(reference, options, await trustedFor(reference.host));
  }

  /** Asks until there is an answer. @throws as `retrying` and `send` */
  ask<T>(asked: Asked, use: (answer: http.IncomingMessage) => Promise<T>): Promise<T> {
    return this.retrying(async () => use(await this.send(asked)));
  }

  /** `action` may fail with PassingErrors, as `send` does. @throws RegistryLostError when they do not pass; the signal's reason */
  async retrying<T>(action: (further: () => void) => Promise<T>): Promise<T> {
    const onWait = (wait: number, { message }: PassingError): void => {
      if (wait < TOLD) return;
      const { onEvent = ignoreEvents } = this.#options;
      onEvent({ type: 'note', message: `${this.reference.host}: ${message}; trying again in ${Math.round(wait / 1000)} s` });
    };
    try {
      return await retrying(this.#options.retries ?? usualRetries, action, { signal: this.#signal, onWait });
    } catch (error) {
      throw error instanceof PassingError ? (error.lasting ?? new RegistryLostError(this.reference.text, error)) : error;
    }
  }

  /**
   * Asks once. The answer is to be read, or drained.
   * @throws PassingError; RegistryAccessError, RegistryNotFoundError, RegistryAnswerError, RegistryTlsError, RegistryUnreachableError, LoginError
   */
  async send(asked: Asked): Promise<http.IncomingMessage> {
    let url = typeof asked.place === 'string' ? this.#urlOf(asked.place) : asked.place;
    for (let redirects = 0; ; redirects++) {
      const answer = await this.#authorized(url, asked);
      const status = answer.statusCode ?? 0;
      const { location } = answer.headers;
      if (status < 301 || status > 308 || status === 304 || location === undefined || redirects === MOST_REDIRECTS)
        return asked.expected.includes(status) ? answer : this.#complain(url, asked, answer);
      await drain(answer);
      url = this.locate(location, url);
    }
  }

  /** Where a header Location leads: never from TLS to plain HTTP. @throws RegistryTlsError */
  locate(location: string, from = this.#origin): URL {
    const url = new URL(location, from);
    if (from.protocol === 'http:' || url.protocol === 'https:') return url;
    // A registry behind a proxy that ends TLS does not know how it is called.
    if (url.hostname === this.#origin.hostname) return new URL(url.pathname + url.search, this.#origin);
    throw tlsProblem.downgrade(this.reference.text, url.origin);
  }

  /** Ends what is under way. Idempotent. */
  close(): void {
    this.#closing.abort(new Error('the registry is not needed any more'));
    for (const agent of Object.values(this.#agents)) agent.destroy();
  }

  #urlOf(place: string): URL {
    return new URL(`/v2/${this.reference.repository}/${place}`, this.#origin);
  }

  /** Logins are for the registry itself, not for where it sends us. */
  async #authorized(url: URL, { method, headers, body }: Asked): Promise<http.IncomingMessage> {
    const patience = method === 'GET' || method === 'HEAD' ? PATIENCE.reading : PATIENCE.writing;
    const request = (authorization: string | undefined) => ({
      method,
      patience,
      headers: { ...headers, ...(authorization === undefined ? {} : { authorization }) },
      ...(body === undefined ? {} : { body }),
    });
    if (url.origin !== this.#origin.origin) return this.#exchanged(url, request(undefined));
    const sent = await this.#authorization.header();
    const answer = await this.#exchanged(url, request(sent));
    if (answer.statusCode !== 401) return answer;
    await drain(answer);
    return this.#exchanged(url, request(await this.#authorization.answer(answer.headers['www-authenticate'], sent)));
  }

  /** @throws PassingError for what may pass */
  async #exchanged(
    url: URL,
    request: {
      readonly method: string;
      readonly headers: Readonly<Record<string, string>>;
      readonly body?: Uint8Array;
      readonly patience: number;
    },
  ): Promise<http.IncomingMessage> {
    const agent = this.#agents[url.protocol] as http.Agent;
    const answer = await exchange(url, { ...request, agent, signal: this.#signal }).catch((error: Error) => {
      this.#signal.throwIfAborted();
      const { text } = this.reference;
      const problem = tlsProblem.of(text, url, error, this.#answered);
      if (problem !== undefined) throw problem;
      if (!this.#answered && isNobodyThere(error)) throw new RegistryUnreachableError(text, error);
      throw new PassingError(error.message, { cause: error });
    });
    this.#answered = true;
    const status = answer.statusCode ?? 0;
    if (status !== 408 && status !== 429 && status < 500) return answer;
    const wait = retryAfter(answer.headers['retry-after']);
    const said = complaint(await textOf(answer, LONGEST_COMPLAINT)) || http.STATUS_CODES[status] || '';
    const { text } = this.reference;
    throw new PassingError(
      `it answered ${status}: ${said}${wait === undefined ? '' : `, and asks to wait ${Math.round(wait / 1000)} s`}`,
      {
        ...(wait === undefined ? {} : { wait }),
        // It is there, and fails.
        ...(status === 500 ? { lasting: new RegistryAnswerError(text, request.method, url.pathname, status, said) } : {}),
      },
    );
  }

  async #complain(url: URL, { method }: Asked, answer: http.IncomingMessage): Promise<never> {
    const status = answer.statusCode ?? 0;
    const text = await textOf(answer, LONGEST_COMPLAINT);
    const said = complaint(text) || http.STATUS_CODES[status] || '';
    const { text: name } = this.reference;
    // Addresses with a signature are good for a while: the registry gives a new one.
    if (url.origin !== this.#origin.origin) throw new PassingError(`${url.host} answered ${status}: ${said}`);
    if (status === 401 || status === 403) throw await this.#authorization.refusal(said);
    if (status === 404) throw new RegistryNotFoundError(this.reference, said);
    if (url.protocol === 'http:' && /https/i.test(text)) throw tlsProblem.wanted(name);
    throw new RegistryAnswerError(name, method, url.pathname, status, said);
  }
}

/** Milliseconds: what is waited longer is told. */
const TOLD = 3000;

/** What is said about an error: of the document that registries answer with, else of a short text. */
function complaint(text: string): string {
  return messageIn(text) ?? (/^[\x20-\x7e\s]{1,200}$/.test(text) ? text.trim() : '');
}

function messageIn(text: string): string | undefined {
  try {
    const { code, message } = JSON.parse(text).errors[0];
    return [message, code].find((each) => typeof each === 'string' && each !== '')?.slice(0, 500);
  } catch {
    // Any server may stand in between, with any text.
    return undefined;
  }
}
