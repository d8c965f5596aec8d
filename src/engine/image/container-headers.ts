/**
 * What a disk file in a format such as qcow2 says of itself, and what qemu-img says of it, as far as doppel decides by it. Whoever
 * wrote the image chose every byte: what is not understood is refused, so that QEMU follows nothing that was not looked at here.
 */
import { shellWord, UnusableImageError } from './errors.ts';
import { ImageToolError } from './tools.ts';

/** Of qemu-img info --output=json, what matters here. */
export interface ContainerInfo {
  /** Bytes. */
  readonly virtualSize: number;
  readonly encrypted: boolean;
  readonly backing?: { readonly said: string; readonly full: string; readonly format?: string };
  readonly snapshots: number;
  readonly corrupt: boolean;
  /** Of VMDK: `streamOptimized` and the like. */
  readonly createType?: string;
}

/** As much of a VMDK descriptor as QEMU reads, in bytes. */
export const longestDescriptor = 1 << 20;

/** The header of qcow2, big-endian; see docs/interop/qcow2.txt of QEMU. Looked at before QEMU opens what it names. @throws UnusableImageError */
export function checkQcow2(name: string, head: Buffer): void {
  if (head.length < 104) throw new UnusableImageError(name, 'its header is cut off', 'Was it copied whole? Copy it again.');
  if (head.readUInt32BE(32) !== 0) throw encrypted(name);
  if (head.readUInt32BE(4) >= 3 && (head.readUInt32BE(76) & 4) !== 0) {
    const todo = `Make one file of both: qemu-img convert -f qcow2 -O qcow2 ${shellWord(name)} ${shellWord(`${name}.whole.qcow2`)}`;
    throw new UnusableImageError(name, 'it keeps its data in another file', todo);
  }
}

export function encrypted(name: string): UnusableImageError {
  return new UnusableImageError(name, 'it is encrypted', 'Decrypt it first with qemu-img convert, see "secret" in its manual.');
}

/** Whether the first bytes are those of a sparse VMDK. Without a capacity of its own it is but a wrapped descriptor. @throws UnusableImageError */
export function isSparseVmdk(name: string, head: Buffer): boolean {
  if (head.toString('latin1', 0, 4) !== 'KDMV') return false;
  if (head.length < 20 || head.readBigUInt64LE(12) === 0n) throw elsewhere(name, 'it names other files in an unusual way');
  return true;
}

/**
 * The files that a VMDK descriptor names, all of them plain names; see VMware's "Virtual Disk Format". A line that only looks as
 * if it were an extent is refused: QEMU reads numbers and blanks more generously.
 * @throws UnusableImageError
 */
export function vmdkExtents(name: string, descriptor: Buffer): string[] {
  const extents: string[] = [];
  for (const line of descriptor.toString('utf8').split(/[\r\n]/)) {
    if (!/^\s*(?:RW|RDONLY|NOACCESS)(?![A-Za-z])/i.test(line)) continue;
    if (/^\s*(?:RW|RDONLY|NOACCESS)\s+\d+\s+ZERO\s*$/.test(line)) continue;
    const [, type, extent] = /^\s*(?:RW|RDONLY|NOACCESS)\s+\d+\s+(\w+)\s+"([^"]*)"(?:\s|$)/.exec(line) ?? [];
    const plain = extent !== undefined && /^(FLAT|SPARSE|VMFS|VMFSSPARSE|SESPARSE)$/.test(type as string) && isPlainName(extent);
    if (!plain)
      throw elsewhere(name, `it names ${shown(extent) ?? 'something'} (${shown(type) ?? 'unknown'}), which is no file beside it`);
    extents.push(extent);
  }
  return extents;
}

function isPlainName(extent: string): boolean {
  // U+FFFD stands for bytes that were no text: QEMU would look for another name than we.
  return /^[^/\\:\0\uFFFD]+$/.test(extent) && extent !== '.' && extent !== '..';
}

function shown(text: string | undefined): string | undefined {
  return text?.replace(/\p{C}/gu, '?').slice(0, 200);
}

function elsewhere(name: string, what: string): UnusableImageError {
  const todo = `Look at it, and make one file of it: qemu-img convert -O qcow2 ${shellWord(name)} ${shellWord(`${name}.qcow2`)}`;
  return new UnusableImageError(name, what, todo);
}

/** @throws ImageToolError when qemu-img says something that cannot be understood */
export function parseQemuInfo(text: string, doing: string): ContainerInfo {
  const fail = (what: string, cause?: unknown): never => {
    throw new ImageToolError('qemu-img', doing, `its answer is not understood (${what})`, cause);
  };
  let info: unknown;
  try {
    info = JSON.parse(text);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    fail('it is not JSON', error);
  }
  const top = isObject(info) ? info : fail('it is no object');
  const word = (from: Record<string, unknown>, key: string): string | undefined => {
    const value = from[key];
    // A path with a NUL byte cannot be opened.
    if (value === undefined || (typeof value === 'string' && value !== '' && !value.includes('\0'))) return value;
    return fail(`${key} is no text`);
  };
  const flag = (from: Record<string, unknown>, key: string): boolean => {
    const value = from[key] ?? false;
    return typeof value === 'boolean' ? value : fail(`${key} is neither true nor false`);
  };
  const size = top['virtual-size'];
  const specific = top['format-specific'] ?? {};
  const data = isObject(specific) ? (specific.data ?? {}) : fail('format-specific is no object');
  const details = isObject(data) ? data : fail('format-specific is no object');
  const snapshots = top.snapshots ?? [];
  const said = word(top, 'backing-filename');
  const format = word(top, 'backing-filename-format');
  const createType = word(details, 'create-type');
  return {
    virtualSize: typeof size === 'number' && Number.isSafeInteger(size) && size >= 0 ? size : fail('virtual-size is no size'),
    encrypted: flag(top, 'encrypted'),
    snapshots: Array.isArray(snapshots) ? snapshots.length : fail('snapshots are no list'),
    corrupt: flag(details, 'corrupt'),
    ...(createType === undefined ? {} : { createType }),
    ...(said === undefined
      ? {}
      : { backing: { said, full: word(top, 'full-backing-filename') ?? said, ...(format === undefined ? {} : { format }) } }),
  };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
