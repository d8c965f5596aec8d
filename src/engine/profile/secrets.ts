/**
 * The files that a profile takes its secrets from. They must be safe to trust: regular, root's, at most 0600, and on a path that
 * nobody but root can redirect.
 */
import { constants, type Stats } from 'node:fs';
import { lstat, open, realpath } from 'node:fs/promises';
import { dirname } from 'node:path';
import { passwordHash, quote } from './checks.ts';
import { type Diagnostic, diagnostic } from './diagnostic.ts';
import { child, type DocumentNode, items, type MapNode, textOf } from './document.ts';
import { decodeUtf8 } from './search.ts';

/** Bytes of one secret. */
const maxSecretBytes = 262_144;

export interface ReadSecrets {
  /** Contents by name; of the secrets that the profile refers to, no others. */
  readonly secrets: Readonly<Record<string, string>>;
  readonly diagnostics: readonly Diagnostic[];
}

/** `root` is the profile with its role applied. */
export async function readSecrets(root: MapNode): Promise<ReadSecrets> {
  const diagnostics: Diagnostic[] = [];
  const secrets: Record<string, string> = {};
  const passwords = items(child(root, 'users')).map((user) => child(user, 'hashed_passwd', 'secret'));
  const contents = items(child(root, 'write_files')).map((file) => child(file, 'content', 'secret'));
  const names = [...passwords, ...contents].map(textOf).filter((name) => name !== undefined);
  for (const name of new Set(names)) {
    const node = child(root, 'secrets', name, 'file');
    const file = textOf(node);
    if (node === undefined || file === undefined) continue;
    const result = await readSecretFile(file);
    if ('problem' in result) diagnostics.push(diagnostic('E017', result.problem, node.place.path, node.place));
    else secrets[name] = result.text;
  }
  for (const node of passwords) {
    const name = textOf(node);
    if (node === undefined || name === undefined || secrets[name] === undefined) continue;
    // A file ends with a newline, a hash does not.
    secrets[name] = secrets[name].replace(/\r?\n$/, '');
    checkPassword(secrets[name], name, node, diagnostics);
  }
  return { secrets, diagnostics };
}

function checkPassword(value: string, name: string, node: DocumentNode, diagnostics: Diagnostic[]): void {
  const finding = passwordHash(value);
  if (finding === undefined) return;
  diagnostics.push(diagnostic(finding.code, `the secret ${quote(name)} is ${finding.message}`, node.place.path, node.place));
}

type SecretFile = { readonly text: string } | { readonly problem: string };

async function readSecretFile(file: string): Promise<SecretFile> {
  const right = 'a secret is a regular file of root with mode 0600 or less';
  try {
    const unsafe = (await unsafePath(file)) ?? (await unsafePath(await realpath(dirname(file))));
    if (unsafe !== undefined) return { problem: `${unsafe}; ${right}, on a path that only root can change` };
    const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const stats = await handle.stat();
      const problem = unsafeFile(stats);
      if (problem !== undefined) return { problem: `${quote(file)} ${problem}; ${right}` };
      const buffer = Buffer.alloc(maxSecretBytes + 1);
      let length = 0;
      for (let read = -1; read !== 0 && length < buffer.length; length += read) {
        read = (await handle.read(buffer, length, buffer.length - length, length)).bytesRead;
      }
      if (length > maxSecretBytes) return { problem: `${quote(file)} is larger than ${maxSecretBytes} bytes` };
      const text = decodeUtf8(buffer.subarray(0, length));
      return text === undefined ? { problem: `${quote(file)} is not UTF-8 text` } : { text };
    } finally {
      await handle.close();
    }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    if (code === 'ELOOP') return { problem: `${quote(file)} is a symbolic link; name the file itself` };
    if (code === 'ENOENT') return { problem: `there is no file ${quote(file)}; ${right}` };
    return { problem: `${quote(file)} cannot be read: ${message}` };
  }
}

function unsafeFile(stats: Stats): string | undefined {
  if (!stats.isFile()) return 'is not a regular file';
  if (stats.uid !== 0) return `belongs to user ${stats.uid}, not to root`;
  const mode = stats.mode & 0o7777;
  return (mode & ~0o600) === 0 ? undefined : `has mode 0${mode.toString(8)}; "chmod 600" narrows it`;
}

/** The first directory (or link) on the way that somebody else could exchange. The last component is not looked at. */
async function unsafePath(file: string): Promise<string | undefined> {
  for (let directory = dirname(file); ; directory = dirname(directory)) {
    const stats = await lstat(directory);
    const shared = (stats.mode & 0o022) !== 0 && (stats.mode & 0o1000) === 0;
    if (stats.uid !== 0) return `${quote(directory)} belongs to user ${stats.uid}`;
    if (shared && !stats.isSymbolicLink()) return `${quote(directory)} can be written by others than root`;
    if (directory === dirname(directory)) return undefined;
  }
}
