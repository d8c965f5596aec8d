/**
 * The logins that docker, podman and skopeo keep: containers-auth.json(5), and config.json of the docker command.
 * The most specific entry of the first file that has one counts.
 */
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { isMissing } from '../../image/sysfs.ts';
import { loginFromHelper } from './credential-helper.ts';
import { LoginError } from './errors.ts';

export type Login =
  | { readonly from: string; readonly username: string; readonly password: string }
  | { readonly from: string; readonly identityToken: string };

export interface LoginSearch {
  readonly login?: Login;
  /** The files, whether they are there or not. */
  readonly looked: readonly string[];
}

const fileSchema = z.object({
  auths: z.record(z.string(), z.object({ auth: z.string().optional(), identitytoken: z.string().optional() })).optional(),
  credHelpers: z.record(z.string(), z.string()).optional(),
  credsStore: z.string().optional(),
});
type LoginFile = z.infer<typeof fileSchema>;

/** @throws LoginError when a file or a program that has logins cannot be used */
export async function findLogin(host: string, repository: string): Promise<LoginSearch> {
  const looked = loginFiles(process.env);
  for (const path of looked) {
    const file = await readLogins(path);
    const login = file && (await loginIn(path, file, host, repository));
    if (login !== undefined) return { login, looked };
  }
  return { looked };
}

function loginFiles({ REGISTRY_AUTH_FILE, XDG_RUNTIME_DIR, XDG_CONFIG_HOME, DOCKER_CONFIG }: NodeJS.ProcessEnv): string[] {
  if (REGISTRY_AUTH_FILE) return [REGISTRY_AUTH_FILE];
  return [
    ...(XDG_RUNTIME_DIR ? [join(XDG_RUNTIME_DIR, 'containers/auth.json')] : []),
    join(XDG_CONFIG_HOME || join(homedir(), '.config'), 'containers/auth.json'),
    join(DOCKER_CONFIG || join(homedir(), '.docker'), 'config.json'),
  ];
}

async function readLogins(path: string): Promise<LoginFile | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw new LoginError(path, `cannot be read: ${(error as Error).message}`, 'Check its permissions.', error);
  }
  try {
    return fileSchema.parse(JSON.parse(text));
  } catch {
    // The error itself is not passed on: it quotes what may be a password.
    throw new LoginError(
      path,
      'is no file of logins as "docker login" writes it',
      'Mend the file, or remove it and log in again.',
    );
  }
}

async function loginIn(
  path: string,
  { auths = {}, credHelpers = {}, credsStore }: LoginFile,
  host: string,
  repository: string,
): Promise<Login | undefined> {
  const names = [...namesOf(repository).map((name) => `${host}/${name}`), host, ...(aliases[host] ?? [])];
  for (const name of names) {
    const helper = credHelpers[name];
    const fromHelper = helper && (await loginFromHelper(helper, name, path));
    if (fromHelper) return fromHelper;
    const [, entry] = Object.entries(auths).find(([key]) => bare(key) === bare(name)) ?? [];
    const login = entry && entryLogin(path, name, entry);
    if (login !== undefined) return login;
  }
  if (credsStore === undefined) return undefined;
  for (const name of [host, ...(aliases[host] ?? [])]) {
    const login = await loginFromHelper(credsStore, name, path);
    if (login !== undefined) return login;
  }
  return undefined;
}

/** As docker writes what everybody else calls docker.io. */
const aliases: Readonly<Record<string, readonly string[]>> = { 'docker.io': ['https://index.docker.io/v1/'] };

/** `a/b/c`, `a/b`, `a`. */
function namesOf(repository: string): string[] {
  const words = repository.split('/');
  return words.map((_, at) => words.slice(0, words.length - at).join('/'));
}

/** Older files have `https://HOST/v1/`. */
function bare(key: string): string {
  return key.replace(/^https?:\/\//, '').replace(/(?:\/v[12])?\/?$/, '');
}

function entryLogin(
  path: string,
  name: string,
  { auth, identitytoken }: NonNullable<LoginFile['auths']>[string],
): Login | undefined {
  const from = `${path} (${name})`;
  if (identitytoken) return { from, identityToken: identitytoken };
  if (!auth) return undefined;
  const text = Buffer.from(auth, 'base64').toString();
  const colon = text.indexOf(':');
  if (colon < 1) throw new LoginError(path, `has a login for ${name} that is not USER:PASSWORD in base64`, 'Log in again.');
  // Docker pads with NULs.
  return { from, username: text.slice(0, colon), password: text.slice(colon + 1).replace(/\0+$/, '') };
}
