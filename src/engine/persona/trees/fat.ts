/** A FAT file system (an ESP) through mtools, which needs no kernel driver and no mount. */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { ReadOnlyTreeError, TargetFileError, ToolFailedError, UnusableFileError } from '../errors.ts';
import type { FileStat, FileState, WritableTree } from '../tree.ts';
import { baseName, parentOf, resolveInside } from './resolve.ts';
import { hashOutput, runTool } from './tool.ts';

const maxFileSize = 16 * 1024 * 1024;

const environment = {
  MTOOLS_SKIP_CHECK: '1',
  MTOOLSRC: '/dev/null',
  MTOOLS_DATE_STRING: 'yyyy-mm-dd',
  MTOOLS_TWENTY_FOUR_HOUR_CLOCK: '1',
};

interface Entry {
  readonly name: string;
  readonly type: 'file' | 'directory';
  /** Bytes. */
  readonly size: number;
}

export interface FatOptions {
  /** Block device (a loop window) or image file that holds nothing but the file system. */
  readonly device: string;
  readonly readOnly?: boolean;
}

export class FatTree implements WritableTree {
  readonly #device: string;
  readonly #readOnly: boolean;
  readonly #listings = new Map<string, Promise<Entry[] | undefined>>();

  constructor({ device, readOnly = false }: FatOptions) {
    this.#device = device;
    this.#readOnly = readOnly;
  }

  #run(tool: string, args: readonly string[], input?: Uint8Array): Promise<Uint8Array> {
    const options = { env: environment, maxBuffer: maxFileSize + 1, ...(input === undefined ? {} : { input }) };
    return runTool(tool, ['-i', this.#device, ...args], options);
  }

  /** Nobody changes what is opened read-only, so that a directory is listed once. */
  #entries(directory: string): Promise<Entry[] | undefined> {
    if (!this.#readOnly) return this.#readEntries(directory);
    const listing = this.#listings.get(directory) ?? this.#readEntries(directory);
    this.#listings.set(directory, listing);
    return listing;
  }

  async #readEntries(directory: string): Promise<Entry[] | undefined> {
    if (directory !== '/' && (await this.#find(directory))?.type !== 'directory') return undefined;
    const listing = await this.#run('mdir', ['-a', mtoolsPath(directory === '/' ? '/' : `${directory}/`)]).catch(
      (error: unknown) => {
        // mdir calls an empty directory "not found" in some versions; that the directory exists is known already.
        if (error instanceof ToolFailedError && /not found/i.test(String(error.data.stderr))) return new Uint8Array();
        throw error;
      },
    );
    return parseListing(Buffer.from(listing).toString('utf8'));
  }

  async #find(canonical: string): Promise<Entry | undefined> {
    if (canonical === '/') return { name: '', type: 'directory', size: 0 };
    const wanted = baseName(canonical).toLowerCase();
    return (await this.#entries(parentOf(canonical)))?.find(({ name }) => name.toLowerCase() === wanted);
  }

  realpath(path: string): Promise<string> {
    return resolveInside(path, async () => undefined, true);
  }

  async lstat(path: string): Promise<FileStat | undefined> {
    const entry = await this.#find(await this.realpath(path));
    return (
      entry && {
        type: entry.type,
        mode: entry.type === 'directory' ? 0o755 : 0o644,
        uid: 0,
        gid: 0,
        size: entry.size,
        ownerless: true,
      }
    );
  }

  async readlink(_path: string): Promise<string | undefined> {
    return undefined;
  }

  async list(path: string): Promise<readonly string[] | undefined> {
    return (await this.#entries(await this.realpath(path)))?.map(({ name }) => name).sort();
  }

  async read(path: string): Promise<Uint8Array | undefined> {
    const canonical = await this.realpath(path);
    const entry = await this.#find(canonical);
    if (!entry) return undefined;
    if (entry.type !== 'file') throw new UnusableFileError(path, 'is not a regular file');
    if (entry.size > maxFileSize)
      throw new UnusableFileError(path, `is too large to be a configuration file (${entry.size} bytes)`);
    const content = await this.#run('mtype', [mtoolsPath(canonical)]);
    if (content.length !== entry.size)
      throw new UnusableFileError(path, `has ${entry.size} bytes in its directory and ${content.length} on the disk`);
    return content;
  }

  /** SHA-256 (hex) of a file of any size; undefined for what is missing or no file. */
  async digest(path: string): Promise<string | undefined> {
    const canonical = await this.realpath(path);
    if ((await this.#find(canonical))?.type !== 'file') return undefined;
    return hashOutput('mtype', ['-i', this.#device, mtoolsPath(canonical)], { env: environment });
  }

  async put(path: string, state: FileState): Promise<void> {
    const canonical = await this.realpath(path);
    if (this.#readOnly) throw new ReadOnlyTreeError(path);
    if (canonical === '/') throw new UnusableFileError(path, 'is the root directory');
    const old = await this.#find(canonical);
    const place = mtoolsPath(canonical);
    if (state.type === 'symlink') throw new UnusableFileError(path, 'is on a FAT file system, which has no symbolic links');
    if (old && state.type !== 'absent' && old.type !== state.type)
      throw new UnusableFileError(path, `is a ${old.type}, where a ${state.type} belongs`);
    if (state.type === 'absent') {
      if (!old) return;
      await this.#run(old.type === 'directory' ? 'mrd' : 'mdel', [place]);
    } else if (state.type === 'directory') {
      if (!old) await this.#run('mmd', [place]);
    } else {
      // Not atomic, as nothing is on FAT: after a crash the file is short or missing, and the next run writes it again.
      await this.#run('mcopy', ['-D', 'o', '-', place], state.content);
    }
    await this.#flush();
  }

  async #flush(): Promise<void> {
    const handle = await open(this.#device, constants.O_RDWR);
    try {
      await handle.sync();
    } catch (error) {
      throw new TargetFileError('flushing', this.#device, error);
    } finally {
      await handle.close();
    }
  }
}

/** mtools takes these for wildcards or separators, and cannot be talked out of it for a name that does not exist yet. */
function mtoolsPath(canonical: string): string {
  if (/[[\]*?\\]/.test(canonical))
    throw new UnusableFileError(canonical, 'has a character in its name that mtools does not take');
  return `::${canonical}`;
}

/** Lines as `BOOTX64  EFI   2588672 2025-06-15  12:00  BOOTX64.EFI`; the long name is missing where the short one says all. */
function parseListing(listing: string): Entry[] {
  const entries: Entry[] = [];
  for (const line of listing.split('\n')) {
    const match = /^(.{8}) (.{3}) +(<DIR>|\d+) +\d{4}-\d\d-\d\d +\d\d?:\d\d *(.*)$/.exec(line);
    if (!match) continue;
    const [, stem = '', extension = '', size = '', long] = match;
    const short = stem.trimEnd() + (extension.trim() === '' ? '' : `.${extension.trimEnd()}`);
    const name = long === undefined || long.trim() === '' ? short : long.trimEnd();
    if (name === '.' || name === '..' || stem.trim() === '.' || stem.trim() === '..') continue;
    entries.push({ name, type: size === '<DIR>' ? 'directory' : 'file', size: size === '<DIR>' ? 0 : Number(size) });
  }
  return entries;
}
