/** What a comparison of two disks found, as data, and the error made from it. Offsets and lengths are bytes. */
import type { ByteRange, CacheBypass } from '../image/contract.ts';
import type { IdRename } from './adapt-source.ts';
import { TargetDiffersError } from './errors.ts';

/** A difference that lies in no part's contents. */
export interface DiskDifference {
  readonly what: 'unfinished' | 'table' | 'boot code' | 'profile';
  /** A clause for people. */
  readonly message: string;
}

/** The first differing bytes of a part. */
export interface BlockDifference {
  /** On the disk. */
  readonly range: ByteRange;
  /** Of the first byte, in the part. */
  readonly offsetInPart: number;
  /** Whether the source's file system uses the bytes; `unknown` where nothing can tell. */
  readonly used: 'used' | 'free' | 'unknown';
}

export type PathAspect =
  | 'missing'
  | 'unexpected'
  | 'type'
  | 'mode'
  | 'owner'
  | 'size'
  | 'content'
  | 'link'
  | 'device'
  | 'hard links'
  | 'attributes'
  | 'flags'
  | 'time';

/** A file that is not as it shall be. Never holds contents. */
export interface PathDifference {
  /** On the system, with the part's mount point; bytes that are no UTF-8 are replaced. */
  readonly path: string;
  readonly aspect: PathAspect;
  /** A clause: `is 0600, not 0644`. */
  readonly detail: string;
  /** The persona writes this file, and this is not what it writes. */
  readonly byPersona: boolean;
}

export interface VerifiedPart {
  /** On the target, see `label` for the source's. 0 for the whole of a disk without a table, and for the space outside every partition. */
  readonly number: number;
  readonly label: string;
  /** `blocks`: byte for byte. `files`: file by file, as the persona rewrote some. `skipped`: see `reason`. */
  readonly method: 'blocks' | 'files' | 'skipped';
  /** False also when it could not be compared. */
  readonly equal: boolean;
  /** Why it was skipped; a clause. */
  readonly reason?: string;
  /** Bytes that were compared, those included that both media say are zeros. */
  readonly bytes: number;
  /** Files, directories and links that were compared. */
  readonly files: number;
  readonly difference?: BlockDifference;
  /** The first differing paths, at most `shownPaths`. */
  readonly paths?: readonly PathDifference[];
  /** All differing paths. */
  readonly pathCount?: number;
  /** Paths of files whose content the source could not give: not compared. */
  readonly lost?: readonly string[];
}

/** So many differing paths of a part are told. */
export const shownPaths = 20;

export interface VerifyResult {
  readonly source: string;
  readonly target: string;
  readonly equal: boolean;
  /** Whom the persona makes the target; absent when it is compared as a plain copy. */
  readonly host?: string;
  readonly differences: readonly DiskDifference[];
  readonly parts: readonly VerifiedPart[];
  /** Parts that are larger than on the source, as --grow makes them. Bytes. */
  readonly grown: readonly { readonly number: number; readonly label: string; readonly before: number; readonly after: number }[];
  /** Ids that are others than on the source: with --new-guids, or because logical partitions moved up. */
  readonly renames: readonly IdRename[];
  /** Bytes of the source that could not be read. */
  readonly unreadable: number;
  /** Protected regions: never compared. */
  readonly regions: readonly { readonly name: string; readonly range: ByteRange }[];
  readonly notes: readonly string[];
  /** How the reads of the target got past the cache. */
  readonly bypass: CacheBypass;
  readonly seconds: number;
}

/** The error of a result that is not equal: exit code 8. */
export function differenceError(result: VerifyResult): TargetDiffersError {
  const { target, source, differences } = result;
  const found = [...differences.map(({ message }) => message), ...result.parts.filter((part) => !part.equal).map(describePart)];
  const more = found.length > 1 ? `; and ${found.length - 1} more` : '';
  const range = result.parts.find((part) => part.difference !== undefined)?.difference?.range;
  const part = result.parts.find((each) => !each.equal)?.label;
  const unfinished = differences.some(({ what }) => what === 'unfinished');
  return new TargetDiffersError(
    `${target} is not what a clone of ${source} would be: ${found[0] ?? 'they differ'}${more}`,
    unfinished
      ? 'Run the command of the clone again: it finishes what was begun.'
      : 'Was the target used after the clone, or the source? If not, its medium may be failing. Run the clone again to make them equal.',
    { ...(range === undefined ? {} : { range }), ...(part === undefined ? {} : { part }), result },
  );
}

/** One clause about a part that is not equal. */
export function describePart(part: VerifiedPart): string {
  if (part.difference !== undefined) {
    const { range, offsetInPart, used } = part.difference;
    const space = used === 'unknown' ? '' : `, ${used} space`;
    return `${part.label} differs: ${range.length} ${range.length === 1 ? 'byte' : 'bytes'} from byte ${range.offset} on (byte ${offsetInPart} of it${space})`;
  }
  const [first] = part.paths ?? [];
  if (first !== undefined) {
    const count = part.pathCount ?? 1;
    return `${count} ${count === 1 ? 'file differs' : 'files differ'} in ${part.label}: ${first.path} ${first.detail}`;
  }
  return `${part.label} was not compared: ${part.reason ?? 'no reason is known'}`;
}
