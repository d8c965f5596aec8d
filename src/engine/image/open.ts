/** Opens what the user named as a source or a target, after asking who else uses it. */
import { stat } from 'node:fs/promises';
import { BlockImage } from './block.ts';
import { type Container, examineContainer } from './container.ts';
import { BlankImage, checkCreatable } from './create.ts';
import {
  ImageInUseError,
  ImageIoError,
  isMediumError,
  NoSuchPartError,
  NotAnImageError,
  openFailed,
  TruncatedImageError,
} from './errors.ts';
import { FileImage } from './file.ts';
import { formatHeadLength, refuseForeignFormat } from './format.ts';
import { NbdImage } from './nbd.ts';
import type { OpenImage, OpenMode } from './open-image.ts';
import { type PartFinder, partOf } from './part.ts';
import { openContainer } from './qemu-image.ts';
import { type ImageSpec, parseSpec } from './spec.ts';
import { type ImageUser, imageUsers } from './users.ts';

export interface OpenOptions {
  /** Needed for `DISK#PART`, which is refused without it: who opens an image knows no tables, see layout/. */
  readonly findPart?: PartFinder;
}

export interface OpenSourceOptions extends OpenOptions {
  /** Take a source that others may change meanwhile; what comes out is no consistent state. */
  readonly allowInconsistent?: boolean;
}

export interface OpenedSource {
  readonly image: OpenImage;
  /** Who may write to it meanwhile; empty unless `allowInconsistent`. */
  readonly writers: readonly ImageUser[];
}

export interface OpenTargetOptions extends OpenOptions {
  /** The target does not exist: a blank stand-in of `size` bytes is given, for planning. `createImage` makes the file. */
  readonly create?: { readonly size: number };
}

/**
 * Opens a source for reading, and locks it so that no other doppel takes it as its target meanwhile.
 * @throws ImageInUseError when it is mounted read-write, in use as swap, or a virtual machine runs from it
 * @throws NoSuchPartError, ForeignFormatError, UnusableImageError, NotAnImageError, MissingToolError, ImageIoError
 */
export async function openSource(text: string, options: OpenSourceOptions = {}): Promise<OpenedSource> {
  const spec = await parseSpec(text);
  const disk = await kindOf(spec);
  const writers = (await imageUsers(text)).filter((user) => user.writes);
  const users = writers.map((user) => user.what);
  const careless = options.allowInconsistent === true;
  if (writers.length > 0 && !careless) throw sourceInUse(text, users);
  if (writers.length > 0 && disk.kind === 'container') throw containerInUse(text, users);
  const image = await openWhole(spec, disk, 'read');
  if (!careless && !(await lockOrClose(image, 'shared'))) throw sourceInUse(text, ['another process has locked it']);
  return { image: await selectPart(spec, image, options, false), writers };
}

/**
 * Opens a target for reading and writing, block devices exclusively.
 * @throws ImageInUseError when anybody uses it
 * @throws NoSuchPartError, ForeignFormatError, UnusableImageError, NotAnImageError, MissingToolError, ImageIoError
 * @throws ImageExistsError when it was to be created
 */
export async function openTarget(text: string, options: OpenTargetOptions = {}): Promise<OpenImage> {
  if (options.create !== undefined) {
    await checkCreatable(text, options.create.size);
    return new BlankImage(text, options.create.size);
  }
  const spec = await parseSpec(text);
  const disk = await kindOf(spec);
  const users = await imageUsers(text);
  if (users.length > 0) {
    throw targetInUse(
      text,
      users.map((user) => user.what),
    );
  }
  const image = await openWhole(spec, disk, 'write').catch((error) => {
    const busy = error instanceof ImageIoError && (error.cause as NodeJS.ErrnoException)?.code === 'EBUSY';
    throw busy ? targetInUse(text, ['the kernel says that it is busy']) : error;
  });
  if (!(await lockOrClose(image, 'exclusive'))) throw targetInUse(text, ['another process has locked it']);
  return selectPart(spec, image, options, true);
}

/** Opens an image only to look at it; nobody's use of it matters. */
export async function openForInspection(text: string, options: OpenOptions = {}): Promise<OpenImage> {
  const spec = await parseSpec(text);
  return selectPart(spec, await openWhole(spec, await kindOf(spec), 'read', true), options, false);
}

async function lockOrClose(image: OpenImage, mode: 'exclusive' | 'shared'): Promise<boolean> {
  let locked = false;
  try {
    locked = await image.lock(mode);
  } finally {
    if (!locked) await image.close();
  }
  return locked;
}

function sourceInUse(image: string, users: readonly string[]): ImageInUseError {
  const todo =
    'It could change while it is copied. Unmount it or shut the machine down, copy a snapshot of it (LVM, btrfs or QEMU), or pass --allow-inconsistent to copy every byte as it happens to be.';
  return new ImageInUseError(image, 'source', users, todo);
}

/** The tables inside such a file, half written, would lead anywhere. */
function containerInUse(image: string, users: readonly string[]): ImageInUseError {
  const todo =
    'A disk in this format cannot be read while it is written, not even inconsistently. Shut the machine down, or let QEMU make a snapshot of it and copy that.';
  return new ImageInUseError(image, 'source', users, todo);
}

function targetInUse(image: string, users: readonly string[]): ImageInUseError {
  const todo =
    'Everything on it would be overwritten. Unmount and detach it first (umount, swapoff, losetup -d, vgchange -an), and make sure that it is the disk you mean.';
  return new ImageInUseError(image, 'target', users, todo);
}

type Disk =
  | { readonly kind: 'file' | 'block'; readonly path: string }
  | { readonly kind: 'container'; readonly path: string; readonly container: Container }
  | { readonly kind: 'nbd'; readonly uri: string };

async function kindOf({ base, text }: ImageSpec): Promise<Disk> {
  if (base.kind === 'registry') throw new NotAnImageError(text, 'an archive in a registry');
  if (base.kind !== 'path') return { kind: 'nbd', uri: base.uri };
  const { path } = base;
  const stats = await stat(path).catch(openFailed(path));
  if (stats.isBlockDevice()) return { kind: 'block', path };
  if (stats.isFile()) {
    const container = await examineContainer(path);
    return container.format === undefined ? { kind: 'file', path } : { kind: 'container', path, container };
  }
  throw new NotAnImageError(
    text,
    stats.isDirectory() ? 'a directory' : stats.isCharacterDevice() ? 'a character device' : 'a pipe or socket',
  );
}

async function openWhole(spec: ImageSpec, disk: Disk, mode: OpenMode, evenInUse = false): Promise<OpenImage> {
  // A part has the name that the user gave; messages about its disk have the disk's.
  const name = spec.part === undefined ? spec.text : spec.base.kind === 'path' ? spec.base.path : spec.base.uri;
  const image = await openDisk(name, disk, mode, evenInUse);
  try {
    if (image.size === 0) throw new TruncatedImageError(name, image.size);
    // A disk that once held an archive may be overwritten.
    if (disk.kind === 'block' && mode === 'read') {
      const head = new Uint8Array(Math.min(formatHeadLength, image.size));
      if (await canRead(image, head)) refuseForeignFormat(name, head);
    }
    if (image.size % 512 !== 0) throw new TruncatedImageError(name, image.size);
    return image;
  } catch (error) {
    await image.close();
    throw error;
  }
}

/** False where the medium fails: that says nothing about a format, and the copy will meet it again. */
async function canRead(image: OpenImage, head: Uint8Array): Promise<boolean> {
  try {
    await image.read(head, 0);
    return true;
  } catch (error) {
    if (!isMediumError(error)) throw error;
    return false;
  }
}

function openDisk(name: string, disk: Disk, mode: OpenMode, evenInUse: boolean): Promise<OpenImage> {
  switch (disk.kind) {
    case 'file':
      return FileImage.open(name, mode);
    case 'block':
      return BlockImage.open(name, mode);
    case 'container':
      return openContainer(name, disk.container, mode, { evenInUse: evenInUse && mode === 'read' });
    case 'nbd':
      return NbdImage.open(
        {
          name,
          uri: disk.uri,
          notes: [`nobody can tell here who else uses ${name}`],
          lock: async () => true,
          dropCaches: async () => 'none',
          startWriteback: async () => {},
          close: async () => {},
        },
        mode,
      );
  }
}

/** Closes the disk when the part is not found. */
async function selectPart(spec: ImageSpec, disk: OpenImage, options: OpenOptions, forWriting: boolean): Promise<OpenImage> {
  const { part, text } = spec;
  if (part === undefined) return disk;
  try {
    if (options.findPart === undefined) {
      throw new NoSuchPartError(text, part.text, 'a part of a disk cannot be named here', []);
    }
    return partOf(disk, await options.findPart(disk, part, { forWriting }), text);
  } catch (error) {
    await disk.close();
    throw error;
  }
}
