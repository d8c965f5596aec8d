/** Answers what a registry asks for: Basic, or a token from the server that it names (Docker Registry v2 authentication, token and OAuth2). */
import type { IncomingMessage } from 'node:http';
import { z } from 'zod';
import { type Challenge, parseChallenges } from './challenge.ts';
import { RegistryAccessError, RegistryTlsError } from './errors.ts';
import { textOf } from './exchange.ts';
import { findLogin, type Login, type LoginSearch } from './login.ts';
import type { Reference } from './reference.ts';

export interface TokenRequest {
  readonly method: 'GET' | 'POST';
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
}

export interface AuthorizationOptions {
  /** What will be done there. */
  readonly actions: 'pull' | 'pull,push';
  /** Logins may go over plain HTTP. */
  readonly plainHttp: boolean;
  /** Asks a server of tokens; what passes is thrown. */
  readonly ask: (url: URL, request: TokenRequest) => Promise<IncomingMessage>;
}

const tokenSchema = z.object({
  token: z.string().optional(),
  access_token: z.string().optional(),
  expires_in: z.number().optional(),
});
/** Bytes of an answer with a token. */
const LONGEST_TOKEN = 1 << 20;
/** Seconds, where none are said. */
const USUAL_LIFE = 60;

export class Authorization {
  readonly #reference: Reference;
  readonly #options: AuthorizationOptions;
  #search: Promise<LoginSearch> | undefined;
  #header: string | undefined;
  /** When the header is too old to be sent with much behind it, as of `performance.now()`. */
  #stale = Number.POSITIVE_INFINITY;
  #challenge: Challenge | undefined;
  /** One at a time, however many were refused at once. */
  #renewal: Promise<string> | undefined;

  constructor(reference: Reference, options: AuthorizationOptions) {
    this.#reference = reference;
    this.#options = options;
  }

  /** What to send along, as far as it is known. */
  async header(): Promise<string | undefined> {
    const challenge = this.#challenge;
    if (challenge !== undefined && performance.now() > this.#stale) return this.#renew(challenge);
    return this.#header;
  }

  /** After a 401 to a request with the header `sent`: what to send instead. @throws RegistryAccessError, LoginError, RegistryTlsError */
  async answer(asked: string | undefined, sent: string | undefined): Promise<string> {
    if (this.#header !== undefined && this.#header !== sent) return this.#header;
    const challenges = parseChallenges(asked ?? '');
    const challenge = ['bearer', 'basic'].flatMap((scheme) => challenges.filter((each) => each.scheme === scheme))[0];
    if (challenge === undefined) throw await this.refusal('it does not say how to log in');
    return this.#renew(challenge);
  }

  /** `said` is what the registry says. */
  async refusal(said: string): Promise<RegistryAccessError> {
    const { login, looked } = await this.#login();
    return new RegistryAccessError(this.#reference.text, this.#reference.host, said, { login: login?.from, looked });
  }

  #login(): Promise<LoginSearch> {
    this.#search ??= findLogin(this.#reference.host, this.#reference.repository);
    return this.#search;
  }

  #renew(challenge: Challenge): Promise<string> {
    this.#renewal ??= this.#obtain(challenge).finally(() => {
      this.#renewal = undefined;
    });
    return this.#renewal;
  }

  async #obtain(challenge: Challenge): Promise<string> {
    const { login } = await this.#login();
    this.#challenge = challenge;
    if (challenge.scheme === 'basic') {
      if (login === undefined || 'identityToken' in login) throw await this.refusal('it wants a user and a password');
      this.#header = basic(login);
    } else {
      const { token, life } = await this.#token(challenge.parameters, login);
      this.#header = `Bearer ${token}`;
      this.#stale = performance.now() + life * 800;
    }
    return this.#header;
  }

  /** `life` in seconds. */
  async #token(parameters: Challenge['parameters'], login: Login | undefined): Promise<{ token: string; life: number }> {
    const realm = parameters.get('realm') ?? '';
    if (!URL.canParse(realm)) throw await this.refusal(`it names no server of tokens: ${JSON.stringify(realm)}`);
    const url = new URL(realm);
    if (url.protocol !== 'https:' && !this.#options.plainHttp)
      throw new RegistryTlsError(
        this.#reference.text,
        `its tokens come from ${url.origin}, in the clear`,
        'Let the registry name a server of tokens with https://. With --plain-http everything goes in the clear.',
      );
    const wanted = { service: parameters.get('service'), scopes: this.#scopes(parameters.get('scope')) };
    const answer = await this.#options.ask(url, tokenRequest(url, wanted, login));
    const text = await textOf(answer, LONGEST_TOKEN);
    if (answer.statusCode !== 200) throw await this.refusal(`${url.host} gives no token (${answer.statusCode})`);
    const { token, access_token, expires_in } = parsedToken(text) ?? {};
    const found = token || access_token;
    if (!found) throw await this.refusal(`${url.host} answered without a token`);
    return { token: found, life: Math.max(expires_in ?? USUAL_LIFE, USUAL_LIFE) };
  }

  /** What is going to be done, and what else was asked for. */
  #scopes(asked = ''): string[] {
    const repository = `repository:${this.#reference.repository}:`;
    return [
      repository + this.#options.actions,
      ...asked.split(' ').filter((each) => each !== '' && !each.startsWith(repository)),
    ];
  }
}

interface Wanted {
  readonly service: string | undefined;
  readonly scopes: readonly string[];
}

function tokenRequest(url: URL, { service, scopes }: Wanted, login: Login | undefined): TokenRequest {
  const named: [string, string][] = service === undefined ? [] : [['service', service]];
  if (login !== undefined && 'identityToken' in login) {
    const form = new URLSearchParams([
      ['grant_type', 'refresh_token'],
      ['client_id', 'doppel'],
      ['refresh_token', login.identityToken],
      ['scope', scopes.join(' ')],
      ...named,
    ]);
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    return { method: 'POST', headers, body: Buffer.from(form.toString()) };
  }
  for (const [name, value] of named) url.searchParams.append(name, value);
  for (const scope of scopes) url.searchParams.append('scope', scope);
  return { method: 'GET', headers: login === undefined ? {} : { authorization: basic(login) } };
}

function basic({ username, password }: Extract<Login, { username: string }>): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}

function parsedToken(text: string): z.infer<typeof tokenSchema> | undefined {
  try {
    return tokenSchema.safeParse(JSON.parse(text)).data;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
