/** Where profiles are found by name: the given directories, then /etc/doppel/profiles, then the ones that ship with the tool. */
import { existsSync } from 'node:fs';
import { open, readdir, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ProfileError } from '../errors.ts';
import { child, textOf } from './document.ts';
import { maxProfileBytes, parseProfileText } from './parse.ts';

export const systemProfiles = '/etc/doppel/profiles';
const extensions = ['.yaml', '.yml'];

/** The `profiles` directory of the package that this module belongs to, from the sources and from a bundle alike. */
export function shippedProfiles(from = import.meta.url): string {
  for (let directory = dirname(fileURLToPath(from)); ; directory = dirname(directory)) {
    if (existsSync(join(directory, 'package.json'))) return join(directory, 'profiles');
    if (directory === dirname(directory)) return join(directory, 'profiles');
  }
}

/** Absolute directories in the order of search. */
export function searchDirectories(searchPath: readonly string[], shipped = shippedProfiles()): string[] {
  return [...new Set([...searchPath, systemProfiles, shipped].map((directory) => resolve(directory)))];
}

/** The file of a profile name, or undefined. A name never leads out of the directories. */
export async function findProfile(name: string, directories: readonly string[]): Promise<string | undefined> {
  if (!isProfileName(name)) return undefined;
  for (const directory of directories) {
    for (const extension of extensions) {
      const file = join(directory, `${name}${extension}`);
      if (await isFile(file)) return file;
    }
  }
  return undefined;
}

export function isProfileName(name: string): boolean {
  return /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/.test(name);
}

async function isFile(file: string): Promise<boolean> {
  try {
    return (await stat(file)).isFile();
  } catch (error) {
    if (isMissing(error)) return false;
    throw unreadable(file, error);
  }
}

const codeOf = (error: unknown) => (error as NodeJS.ErrnoException | undefined)?.code;
const isMissing = (error: unknown) => ['ENOENT', 'ENOTDIR'].includes(codeOf(error) ?? '');

function unreadable(file: string, cause: unknown): ProfileError {
  const missing = isMissing(cause);
  if (codeOf(cause) === 'EISDIR') {
    return new ProfileError(`${file} is a directory, not a profile`, {
      code: 'PROFILE_UNREADABLE',
      todo: `Name the YAML file in it, as ${join(file, 'web-07.yaml')}.`,
      data: { file },
    });
  }
  return new ProfileError(
    missing ? `there is no profile ${file}` : `cannot read the profile ${file}: ${(cause as Error).message}`,
    {
      code: missing ? 'PROFILE_NOT_FOUND' : 'PROFILE_UNREADABLE',
      todo: missing ? 'Check the path; "doppel profile list" shows the profiles that exist.' : 'Check its permissions.',
      data: { file },
      cause,
    },
  );
}

/** At most one byte more than a profile may have, so that what is too large is seen. @throws ProfileError */
export async function readProfileBytes(file: string): Promise<Uint8Array> {
  try {
    const handle = await open(file, 'r');
    try {
      const buffer = Buffer.alloc(maxProfileBytes + 1);
      let length = 0;
      for (;;) {
        const { bytesRead } = await handle.read(buffer, length, buffer.length - length, null);
        length += bytesRead;
        if (bytesRead === 0 || length === buffer.length) return buffer.subarray(0, length);
      }
    } finally {
      await handle.close();
    }
  } catch (error) {
    const base = isMissing(error) ? await findProfile(file, searchDirectories([])) : undefined;
    if (base === undefined) throw unreadable(file, error);
    throw new ProfileError(`there is no file ${file}; a base of that name is for other profiles to extend`, {
      code: 'PROFILE_NOT_FOUND',
      todo: `Name a file, as web-07.yaml, that says "extends: [${file}]" and who the target is. The base is ${base}.`,
      data: { file, base },
    });
  }
}

/** Undefined where the bytes are not UTF-8. */
export function decodeUtf8(bytes: Uint8Array): string | undefined {
  const text = new TextDecoder().decode(bytes);
  const bom = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0;
  return Buffer.compare(Buffer.from(text), bytes.subarray(bom)) === 0 ? text : undefined;
}

export interface ListedProfile {
  readonly name: string;
  readonly file: string;
  /** The `description` of the profile. */
  readonly description: string | undefined;
  readonly directory: string;
  /** A profile of the same name in an earlier directory is found instead. */
  readonly shadowed: boolean;
  /** Why its description could not be read. */
  readonly problem: string | undefined;
}

/** Every profile in the search path, in the order of search and then by name. @throws ProfileError for an unreadable directory */
export async function listProfiles(searchPath: readonly string[], shipped = shippedProfiles()): Promise<ListedProfile[]> {
  const listed: ListedProfile[] = [];
  const seen = new Set<string>();
  for (const directory of searchDirectories(searchPath, shipped)) {
    for (const entry of await profileFiles(directory, searchPath)) {
      const name = entry.replace(/\.ya?ml$/, '');
      const file = join(directory, entry);
      listed.push({ name, file, directory, shadowed: seen.has(name), ...(await describe(file)) });
      seen.add(name);
    }
  }
  return listed;
}

/** A directory that the user named must exist; the two standard ones need not. */
async function profileFiles(directory: string, named: readonly string[]): Promise<string[]> {
  try {
    const entries = await readdir(directory);
    const wanted = entries.filter((entry) => /\.ya?ml$/.test(entry) && isProfileName(entry.replace(/\.ya?ml$/, '')));
    return wanted.sort();
  } catch (error) {
    if (isMissing(error) && !named.some((one) => resolve(one) === directory)) return [];
    if (!isMissing(error)) throw unreadable(directory, error);
    throw new ProfileError(`the directory ${directory} does not exist`, {
      code: 'PROFILE_NOT_FOUND',
      todo: 'Check --profiles: it names a directory with profiles.',
      data: { file: directory },
    });
  }
}

async function describe(file: string): Promise<Pick<ListedProfile, 'description' | 'problem'>> {
  if (!(await isFile(file))) return { description: undefined, problem: 'not a regular file' };
  const text = decodeUtf8(await readProfileBytes(file));
  if (text === undefined) return { description: undefined, problem: 'not UTF-8 text' };
  const { root, diagnostics } = parseProfileText(text, file);
  return { description: textOf(child(root, 'description')), problem: diagnostics[0]?.message };
}
