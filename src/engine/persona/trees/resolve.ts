/** Path resolution inside a root: no link, absolute or with "..", leads out of it. */
import { UnusableFileError } from '../errors.ts';

/** As many links as Linux follows in one path (path_resolution(7)). */
const maxLinks = 40;

/** The names of a path, without empty ones and ".". */
export function pathNames(path: string): string[] {
  return path.split('/').filter((name) => name !== '' && name !== '.');
}

/** Parent directory of an absolute canonical path. */
export function parentOf(path: string): string {
  const end = path.lastIndexOf('/');
  return end <= 0 ? '/' : path.slice(0, end);
}

export function baseName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

/**
 * Resolves every link of `path`. `readLink` gets canonical paths and answers a link's target, or undefined for whatever is no
 * link or does not exist. ".." at the root stays at the root; an absolute target starts again at the root.
 * @throws UnusableFileError on more than 40 links or a NUL in the path.
 */
export async function resolveInside(
  path: string,
  readLink: (canonical: string) => Promise<string | undefined>,
  followLast: boolean,
): Promise<string> {
  if (path.includes('\0')) throw new UnusableFileError(JSON.stringify(path), 'has a NUL byte in its name');
  const todo = pathNames(path).reverse();
  const done: string[] = [];
  let links = 0;
  for (let name = todo.pop(); name !== undefined; name = todo.pop()) {
    if (name === '..') {
      done.pop();
      continue;
    }
    const target = todo.length === 0 && !followLast ? undefined : await readLink(`/${[...done, name].join('/')}`);
    if (target === undefined) {
      done.push(name);
      continue;
    }
    links += 1;
    if (links > maxLinks) throw new UnusableFileError(path, `leads through more than ${maxLinks} symbolic links`);
    if (target.startsWith('/')) done.length = 0;
    todo.push(...pathNames(target).reverse());
  }
  return `/${done.join('/')}`;
}
