/** New disk images in files. While a run is planned a blank stand-in takes the place of the file, which is made when it begins. */

import { constants, link, open, realpath, rename, stat } from 'node:fs/promises';
import { basename, dirname, extname, join } from 'node:path';
import { PAGE } from './aligned.ts';
import { parseQemuInfo } from './container-headers.ts';
import type { Extent, ReadBack, Window } from './contract.ts';
import { ImageExistsError, ImageIoError, openFailed, UnusableImageError } from './errors.ts';
import type { DiskFormat } from './format.ts';
import { endLease, leasedFolder } from './leased-folder.ts';
import type { OpenImage } from './open-image.ts';
import { checkRange } from './raw-io.ts';
import { exists, parseSpec } from './spec.ts';
import { runTool } from './tools.ts';

const SECTOR = 512;

const byExtension: Readonly<Record<string, DiskFormat | 'raw'>> = {
  '.qcow2': 'qcow2',
  '.vmdk': 'vmdk',
  '.vhdx': 'vhdx',
  '.vdi': 'vdi',
  '.img': 'raw',
  '.raw': 'raw',
};

/** Options of qemu-img create that make a file which grows with what is written. */
const creation: Readonly<Partial<Record<DiskFormat, readonly string[]>>> = {
  qcow2: ['-o', 'compat=1.1'],
  vhdx: ['-o', 'subformat=dynamic'],
  vmdk: ['-o', 'subformat=monolithicSparse'],
};

/** The format of a file that is to be made, by its name. @throws UnusableImageError */
export function formatForName(path: string): DiskFormat | 'raw' {
  const format = byExtension[extname(path).toLowerCase()];
  if (format !== undefined) return format;
  const known = Object.keys(byExtension).join(', ');
  throw new UnusableImageError(path, 'its name does not say which format it shall have', `Let it end with one of ${known}.`);
}

/**
 * Whether an image can be created there. Changes nothing.
 * @throws ImageExistsError, UnusableImageError, ImageIoError
 */
export async function checkCreatable(text: string, size: number): Promise<void> {
  const { base, part } = await parseSpec(text);
  if (base.kind !== 'path' || part !== undefined) {
    throw new UnusableImageError(text, 'only files can be created', 'Leave --size away.');
  }
  if (!Number.isSafeInteger(size) || size <= 0 || size % SECTOR !== 0) {
    throw new UnusableImageError(text, `a disk of ${size} bytes cannot be made`, 'Give a size that is a multiple of 512 bytes.');
  }
  formatForName(text);
  if (await exists(text)) throw new ImageExistsError(text);
  const folder = dirname(text);
  const stats = await stat(folder).catch((cause) => {
    throw new ImageIoError(folder, 'open', { cause });
  });
  if (!stats.isDirectory()) throw new ImageIoError(text, 'open', { detail: `${folder} is no folder` });
}

/**
 * Makes a new, blank disk of `size` bytes in the format that the name says, and makes sure that it stays. It gets its name when
 * it is whole: nobody ever sees half of it.
 * @throws ImageExistsError, UnusableImageError, MissingToolError, ImageToolError, ImageIoError
 */
export async function createImage(text: string, size: number): Promise<void> {
  await checkCreatable(text, size);
  const format = formatForName(text);
  const folder = await realpath(dirname(text));
  const path = join(folder, basename(text));
  const workshop = await leasedFolder(join(folder, '.doppel-new-')).catch(openFailed(folder));
  // Under its final name: a VMDK has it inside.
  const draft = join(workshop, basename(text));
  try {
    if (format === 'raw') await makeRaw(draft, size);
    else await makeContainer(draft, format, size, text);
    await claimName(draft, path, text);
  } finally {
    await endLease(workshop);
  }
}

async function makeRaw(path: string, size: number): Promise<void> {
  try {
    const file = await open(path, 'wx');
    try {
      await file.truncate(size);
      await file.sync();
    } finally {
      await file.close();
    }
  } catch (cause) {
    throw new ImageIoError(path, 'open', { cause });
  }
}

async function makeContainer(path: string, format: DiskFormat, size: number, name: string): Promise<void> {
  const options = creation[format] ?? [];
  // A name with a colon before the first slash would be a protocol; this one is absolute.
  await runTool('qemu-img', ['create', '-q', '-f', format, ...options, path, String(size)], `creating ${name}`);
  const image = `driver=${format},file.driver=file,file.filename=${path.replaceAll(',', ',,')}`;
  const doing = `creating ${name}`;
  const { virtualSize } = parseQemuInfo(
    await runTool('qemu-img', ['info', '--output=json', '--image-opts', image], doing),
    doing,
  );
  if (virtualSize !== size) {
    const why = `${format} makes a disk of ${virtualSize} bytes when asked for ${size}`;
    throw new UnusableImageError(name, why, `Ask for --size ${virtualSize}.`);
  }
  try {
    const file = await open(path, constants.O_RDWR);
    try {
      await file.sync();
    } finally {
      await file.close();
    }
  } catch (cause) {
    throw new ImageIoError(name, 'flush', { cause });
  }
}

/** Gives the draft its name, unless somebody else has taken it meanwhile; the name is on stable storage then. */
export async function claimName(draft: string, path: string, name: string): Promise<void> {
  try {
    await linkOrRename(draft, path);
    const folder = await open(dirname(path), constants.O_RDONLY);
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EEXIST') throw new ImageExistsError(name);
    throw new ImageIoError(name, 'open', { cause });
  }
}

/** Only a link never replaces what is there; some file systems (FAT) have none. */
async function linkOrRename(from: string, to: string): Promise<void> {
  try {
    await link(from, to);
  } catch (error) {
    if (!['EPERM', 'EOPNOTSUPP', 'ENOTSUP', 'ENOSYS'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
    await (await open(to, 'wx')).close();
    await rename(from, to);
  }
}

/** Stands for an image that will be created: all zeros, and nothing can be written yet. */
export class BlankImage implements OpenImage {
  readonly name: string;
  readonly size: number;
  readonly sectorSize = SECTOR;
  readonly sectorSizeAssumed = true;
  readonly physicalSectorSize = PAGE;
  readonly notes: readonly string[];

  constructor(name: string, size: number) {
    this.name = name;
    this.size = size;
    this.notes = [`${name} will be created (${formatForName(name)})`];
  }

  async *extents(): AsyncIterable<Extent> {
    yield { offset: 0, length: this.size, state: 'zero' };
  }

  async read(into: Uint8Array, offset: number): Promise<void> {
    checkRange(this.name, 'read', offset, into.length, this.size);
    into.fill(0);
  }

  write(_: Uint8Array, offset: number): Promise<void> {
    return this.#notYet('write', offset);
  }

  zero(offset: number): Promise<void> {
    return this.#notYet('zero', offset);
  }

  discard(offset: number): Promise<void> {
    return this.#notYet('discard', offset);
  }

  startWriteback(offset: number): Promise<void> {
    return this.#notYet('write', offset);
  }

  flush(): Promise<void> {
    return this.#notYet('flush', 0);
  }

  readBack(): Promise<ReadBack> {
    return this.#notYet('read', 0);
  }

  openWindow(): Promise<Window> {
    return this.#notYet('open', 0);
  }

  async lock(): Promise<boolean> {
    return true;
  }

  async close(): Promise<void> {}

  #notYet(operation: 'write' | 'zero' | 'discard' | 'flush' | 'read' | 'open', offset: number): Promise<never> {
    return Promise.reject(new ImageIoError(this.name, operation, { offset, length: 0, detail: 'it has not been created yet' }));
  }
}
