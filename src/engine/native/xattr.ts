/** Extended attributes of files, through libc (xattr(7)); links are not followed. Linux only. */
import { createRequire } from 'node:module';
import { getSystemErrorMap } from 'node:util';
import { IoError } from '../errors.ts';

type List = (path: string | Uint8Array, list: Uint8Array | null, size: number) => number | bigint;
type Get = (path: string | Uint8Array, name: string, value: Uint8Array | null, size: number) => number | bigint;
type SetValue = (path: string, name: string, value: Uint8Array, size: number, flags: number) => number;

interface Library {
  readonly list: List;
  readonly get: Get;
  readonly set: SetValue;
  readonly errno: () => number;
}

let library: Library | undefined;

function load(): Library {
  if (library) return library;
  const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi').default;
  const libc = koffi.load(null);
  library = {
    list: libc.func('int64 llistxattr(const char *path, void *list, size_t size)') as unknown as List,
    get: libc.func('int64 lgetxattr(const char *path, const char *name, void *value, size_t size)') as unknown as Get,
    set: libc.func(
      'int lsetxattr(const char *path, const char *name, const void *value, size_t size, int flags)',
    ) as unknown as SetValue,
    errno: () => koffi.errno(),
  };
  return library;
}

const ENODATA = 61;
const EOPNOTSUPP = 95;
/** Largest list and largest value that Linux allows, bytes (XATTR_LIST_MAX, XATTR_SIZE_MAX). */
const maxSize = 65536;
/** The calls are synchronous, so that one buffer does for all. */
const scratch = new Uint8Array(maxSize);

/** A path that need not be UTF-8, as the C library takes it. */
function terminated(path: string | Uint8Array): string | Uint8Array {
  return typeof path === 'string' ? path : Buffer.concat([path, new Uint8Array(1)]);
}

function shown(path: string | Uint8Array): string {
  return typeof path === 'string' ? path : Buffer.from(path).toString('utf8');
}

export class XattrError extends IoError {
  readonly errno: number;
  constructor(call: string, path: string, name: string, errno: number) {
    const text = getSystemErrorMap().get(-errno)?.[1] ?? `errno ${errno}`;
    super(`${call} ${path}${name === '' ? '' : ` ${name}`}: ${text}`, {
      code: 'XATTR_FAILED',
      todo: 'Check that the file system supports extended attributes and is not full.',
      data: { call, path, name, errno },
    });
    this.errno = errno;
  }
}

/** Names of the attributes of `path`; none where the file system has no attributes. @throws XattrError */
export function listXattrs(path: string | Uint8Array): string[] {
  const { list, errno } = load();
  const size = Number(list(terminated(path), scratch, scratch.length));
  if (size < 0) {
    const code = errno();
    if (code === EOPNOTSUPP) return [];
    throw new XattrError('llistxattr', shown(path), '', code);
  }
  return Buffer.from(scratch.buffer, 0, size)
    .toString('utf8')
    .split('\0')
    .filter((name) => name !== '');
}

/** Value of one attribute, or undefined if the file has none of that name. @throws XattrError */
export function getXattr(path: string | Uint8Array, name: string): Uint8Array | undefined {
  const { get, errno } = load();
  const size = Number(get(terminated(path), name, scratch, scratch.length));
  if (size < 0) {
    const code = errno();
    if (code === ENODATA || code === EOPNOTSUPP) return undefined;
    throw new XattrError('lgetxattr', shown(path), name, code);
  }
  return scratch.slice(0, size);
}

/** Creates or replaces one attribute. @throws XattrError */
export function setXattr(path: string, name: string, value: Uint8Array): void {
  const { set, errno } = load();
  if (set(path, name, value, value.length, 0) < 0) throw new XattrError('lsetxattr', path, name, errno());
}
