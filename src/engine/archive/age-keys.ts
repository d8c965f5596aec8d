/** Whom an archive is encrypted to, and with what it is read: as age takes both, but for keys of ssh and plugins. */
import { Decrypter, Encrypter } from 'age-encryption';
import { KeyFileError, readKeyFile } from './key-files.ts';

/** Recipients, and files with one on each line. @throws KeyFileError, KeyFileIoError */
export async function readRecipients(texts: readonly string[]): Promise<readonly string[]> {
  const found: string[] = [];
  for (const text of texts) {
    refuseSecret(text, 'Name who shall be able to read it: age1..., as "age-keygen -y FILE" prints it.');
    if (text.startsWith('age1')) {
      checkRecipient(text, text);
      found.push(text);
      continue;
    }
    const lines = linesOf(await readKeyFile(text));
    for (const { line, number } of lines) {
      refuseSecret(line, `Name a file of recipients: age-keygen -y ${text} prints the one that belongs to it.`, text);
      checkRecipient(line, `line ${number} of ${text}`);
      found.push(line);
    }
    if (lines.length === 0) throw new KeyFileError(`${text} holds no recipient`, aRecipient, { path: text });
  }
  return found;
}

const aRecipient =
  'A recipient of age begins with age1: "age-keygen -o key.txt" makes a key and prints it. Keys of ssh and plugins are not taken.';

function checkRecipient(recipient: string, place: string): void {
  try {
    new Encrypter().addRecipient(recipient);
  } catch (cause) {
    throw new KeyFileError(`${place} is no recipient of age that is known here`, aRecipient, { place }, cause);
  }
}

/** @throws KeyFileError, KeyFileIoError */
export async function readIdentities(paths: readonly string[]): Promise<readonly string[]> {
  const found: string[] = [];
  for (const path of paths) {
    refuseSecret(path, 'Name the file that holds it: what stands on the command line can be seen by everybody on this computer.');
    const text = await readKeyFile(path);
    refuseLocked(path, text);
    const lines = linesOf(text);
    for (const { line, number } of lines) {
      checkIdentity(line, path, number);
      found.push(line);
    }
    if (lines.length === 0) throw new KeyFileError(`${path} holds no identity`, anIdentity, { path });
  }
  return found;
}

const anIdentity =
  'Name a file that "age-keygen -o FILE" made; its lines begin with AGE-SECRET-KEY-1. Keys of ssh and plugins are not taken.';

function checkIdentity(line: string, path: string, number: number): void {
  try {
    new Decrypter().addIdentity(line);
  } catch {
    // What the library says repeats the key.
    throw new KeyFileError(`line ${number} of ${path} is no identity of age that is known here`, anIdentity, {
      path,
      line: number,
    });
  }
}

/** Whoever types a passphrase would have to do so for every process that opens the archive. */
function refuseLocked(path: string, text: string): void {
  if (!text.startsWith('age-encryption.org/v1\n') && !text.startsWith('-----BEGIN AGE ENCRYPTED FILE-----')) return;
  throw new KeyFileError(
    `${path} is protected by a passphrase`,
    `Take the passphrase away for as long as it is needed, in memory: age -d ${path} > /dev/shm/identity, then --identity /dev/shm/identity, then remove that.`,
    { path },
  );
}

function refuseSecret(text: string, todo: string, path?: string): void {
  // Also as the last part of a path that was made of it.
  if (!/(^|\/)AGE-SECRET-KEY-/i.test(text)) return;
  throw new KeyFileError(`${path === undefined ? 'what was given' : path} is a secret key itself`, todo);
}

/** Without empty ones and comments, numbered from 1. */
function linesOf(text: string): { readonly line: string; readonly number: number }[] {
  return text
    .split('\n')
    .map((line, index) => ({ line: line.trim(), number: index + 1 }))
    .filter(({ line }) => line !== '' && !line.startsWith('#'));
}
