/** Small reads from /proc and /sys, where what was listed a moment ago may be gone. */
import { readdir, readFile } from 'node:fs/promises';

/** Trimmed text of a file; undefined when it does not exist (any more). */
export async function readOptional(path: string): Promise<string | undefined> {
  try {
    return (await readFile(path, 'utf8')).trim();
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** Sorted names in a folder; none when it does not exist (any more). */
export async function listOptional(path: string): Promise<string[]> {
  try {
    return (await readdir(path)).sort();
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

export function isMissing(error: unknown): boolean {
  return ['ENOENT', 'ENOTDIR', 'ENXIO', 'ENODEV'].includes((error as NodeJS.ErrnoException).code ?? '');
}

/** /proc writes blanks and backslashes in paths as three octal digits. */
export function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}
