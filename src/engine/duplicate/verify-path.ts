/** Compares one path of two file systems: type, permissions, owner, content, attributes. Reads only, follows no link. */
import { type BigIntStats, constants, lstatSync, readlinkSync } from 'node:fs';
import { getXattr, listXattrs } from '../native/xattr.ts';
import type { Change, FileState } from '../persona/tree.ts';
import {
  type ComparedBlocks,
  failed,
  firstDifferingByte,
  flagsOf,
  type HostPath,
  readUpTo,
  type Side,
  withOpen,
} from './verify-content.ts';
import type { PathAspect } from './verify-result.ts';

export interface Finding {
  readonly aspect: PathAspect;
  readonly detail: string;
}

/** Undefined when there is nothing. @throws TargetFileError */
export function statOf(path: HostPath): BigIntStats | undefined {
  try {
    return lstatSync(path, { bigint: true });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw failed(path, error);
  }
}

export interface Alike {
  readonly findings: Finding[];
  /** The source's content could not be read, and is not compared. */
  readonly lost: boolean;
}

/** What differs between a path that nobody wrote to and its copy. @throws TargetFileError */
export function compareAlike(source: Side, target: Side, blocks: ComparedBlocks | undefined): Alike {
  const type = typeOf(source.stat);
  if (type !== typeOf(target.stat))
    return { findings: [{ aspect: 'type', detail: `is a ${typeOf(target.stat)}, not a ${type}` }], lost: false };
  const findings = ownership(source.stat, target.stat, type);
  let lost = false;
  if (type === 'file' || type === 'directory') {
    const opened = compareOpened(source, target, type, blocks);
    findings.push(...opened.findings);
    lost = opened.lost;
  }
  if (type === 'symbolic link') {
    const [wanted, is] = [linkOf(source.path), linkOf(target.path)];
    if (!wanted.equals(is)) findings.push({ aspect: 'link', detail: `points to ${shown(is)}, not to ${shown(wanted)}` });
  }
  if (type.endsWith('device') && source.stat.rdev !== target.stat.rdev)
    findings.push({ aspect: 'device', detail: `is device ${target.stat.rdev}, not ${source.stat.rdev}` });
  findings.push(...compareAttributes(attributesOf(source.path), attributesOf(target.path)));
  return { findings, lost };
}

/** Content and flags. */
function compareOpened(source: Side, target: Side, type: 'file' | 'directory', blocks: ComparedBlocks | undefined): Alike {
  const findings: Finding[] = [];
  let lost = false;
  withOpen(source.path, (ours) =>
    withOpen(target.path, (theirs) => {
      if (type === 'file' && source.stat.size !== target.stat.size) {
        findings.push({ aspect: 'size', detail: `has ${target.stat.size} bytes, not ${source.stat.size}` });
      } else if (type === 'file') {
        const at = firstDifferingByte({ ...source, fd: ours }, { ...target, fd: theirs }, blocks);
        if (typeof at === 'object') {
          lost = at.unreadable === 'source';
          if (!lost) findings.push({ aspect: 'content', detail: 'cannot be read (EIO)' });
        } else if (at !== undefined) findings.push({ aspect: 'content', detail: `differs from byte ${at} on` });
        if (source.stat.mtimeNs !== target.stat.mtimeNs)
          findings.push({ aspect: 'time', detail: 'was modified at another time' });
      }
      findings.push(...compareFlags(flagsOf(ours), flagsOf(theirs)));
    }),
  );
  return { findings, lost };
}

function compareFlags(wanted: number, found: number): Finding[] {
  if (wanted === found) return [];
  const hex = (flags: number): string => `0x${flags.toString(16)}`;
  return [{ aspect: 'flags', detail: `has the flags ${hex(found)} (chattr), not ${hex(wanted)}` }];
}

/**
 * What differs between a path and what the persona writes there.
 * @param source what the persona replaced or found; undefined when there was nothing
 * @param directory of the source, whose label a new file gets
 */
export function compareWritten(
  { after, before }: Change,
  target: Side,
  source: HostPath | undefined,
  directory: HostPath,
): Finding[] {
  const type = typeOf(target.stat);
  if (after.type === 'absent') return [{ aspect: 'unexpected', detail: 'is there, and the persona removes it' }];
  if (type !== wrote[after.type])
    return [{ aspect: 'type', detail: `is a ${type}, not the ${wrote[after.type]} that the persona writes` }];
  if (after.type === 'symlink') {
    const is = linkOf(target.path);
    if (is.equals(Buffer.from(after.target))) return [];
    return [{ aspect: 'link', detail: `points to ${shown(is)}, not to ${JSON.stringify(after.target)}` }];
  }
  const found = ownership(
    { mode: BigInt(after.mode), uid: BigInt(after.uid), gid: BigInt(after.gid) },
    target.stat,
    wrote[after.type],
  );
  if (after.type === 'file' && !holds(target, after))
    found.push({ aspect: 'content', detail: 'does not hold what the persona writes' });
  found.push(...compareInherited(after, before, target.path, source, directory));
  return found;
}

const wrote = { file: 'file', symlink: 'symbolic link', directory: 'directory' } as const;

function holds({ path, stat }: Side, { content }: FileState & { type: 'file' }): boolean {
  if (stat.size !== BigInt(content.length)) return false;
  return withOpen(path, (fd) => {
    const bytes = new Uint8Array(content.length);
    return readUpTo(fd, bytes, 0) === bytes.length && Buffer.compare(bytes, content) === 0;
  });
}

/** Attributes that vouch for the old content go with it. */
const contentBound = new Set(['security.capability', 'security.ima', 'security.evm']);

/** A file keeps the attributes of the one that it replaces; a new one gets its directory's label. ACLs follow the mode. */
function compareInherited(
  after: FileState,
  before: FileState,
  target: HostPath,
  source: HostPath | undefined,
  directory: HostPath,
): Finding[] {
  const counts = (name: string): boolean => !contentBound.has(name) && !name.startsWith('system.posix_acl_');
  const kept = source !== undefined && before.type === after.type;
  const wanted = kept ? attributesOf(source) : labelOf(directory);
  const filtered = (all: ReadonlyMap<string, Uint8Array>) => new Map([...all].filter(([name]) => counts(name)));
  const findings = compareAttributes(filtered(wanted), filtered(attributesOf(target)));
  if (after.type === 'symlink' || after.type === 'absent') return findings;
  const locks = (path: HostPath): number => withOpen(path, flagsOf) & locked;
  return [...findings, ...compareFlags(kept ? locks(source) : 0, locks(target))];
}

/** Immutable and append-only: a file that is replaced gets these back. */
const locked = 0x10 | 0x20;

function labelOf(path: HostPath): Map<string, Uint8Array> {
  const label = getXattr(path, 'security.selinux');
  return new Map(label === undefined ? [] : [['security.selinux', label]]);
}

function attributesOf(path: HostPath): Map<string, Uint8Array> {
  return new Map(listXattrs(path).map((name) => [name, getXattr(path, name) ?? new Uint8Array()]));
}

function compareAttributes(wanted: ReadonlyMap<string, Uint8Array>, found: ReadonlyMap<string, Uint8Array>): Finding[] {
  const names = [...new Set([...wanted.keys(), ...found.keys()])].sort();
  const differing = names.filter((name) => {
    const [a, b] = [wanted.get(name), found.get(name)];
    return a === undefined || b === undefined || Buffer.compare(a, b) !== 0;
  });
  if (differing.length === 0) return [];
  return [{ aspect: 'attributes', detail: `has other extended attributes (${differing.join(', ')})` }];
}

function ownership(wanted: Pick<BigIntStats, 'mode' | 'uid' | 'gid'>, found: BigIntStats, type: string): Finding[] {
  const findings: Finding[] = [];
  const bits = (mode: bigint) => (mode & 0o7777n).toString(8).padStart(4, '0');
  if (type !== 'symbolic link' && bits(wanted.mode) !== bits(found.mode))
    findings.push({ aspect: 'mode', detail: `has mode ${bits(found.mode)}, not ${bits(wanted.mode)}` });
  if (wanted.uid !== found.uid || wanted.gid !== found.gid)
    findings.push({ aspect: 'owner', detail: `belongs to ${found.uid}:${found.gid}, not ${wanted.uid}:${wanted.gid}` });
  return findings;
}

function linkOf(path: HostPath): Buffer {
  try {
    return readlinkSync(path, { encoding: 'buffer' });
  } catch (error) {
    throw failed(path, error);
  }
}

function shown(bytes: Buffer): string {
  return JSON.stringify(bytes.toString('utf8'));
}

export function typeOf({ mode }: Pick<BigIntStats, 'mode'>): string {
  const format = Number(mode & BigInt(constants.S_IFMT));
  return types.get(format) ?? `file of unknown type ${format.toString(8)}`;
}

const types: ReadonlyMap<number, string> = new Map([
  [constants.S_IFREG, 'file'],
  [constants.S_IFDIR, 'directory'],
  [constants.S_IFLNK, 'symbolic link'],
  [constants.S_IFCHR, 'character device'],
  [constants.S_IFBLK, 'block device'],
  [constants.S_IFIFO, 'fifo'],
  [constants.S_IFSOCK, 'socket'],
]);
