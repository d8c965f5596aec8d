/**
 * Small reads from /proc and /sys, where what was listed a moment ago may be gone. The kernel has the answers at hand: nobody waits
 * for a medium, and a trip to another thread takes many times as long as the read.
 */
import { readdirSync, readFileSync } from 'node:fs';

/** Trimmed text of a file; undefined when it does not exist (any more). */
export function readOptional(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** Sorted names in a folder; none when it does not exist (any more). */
export function listOptional(path: string): string[] {
  try {
    return readdirSync(path).sort();
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
