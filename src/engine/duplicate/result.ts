/** What a clone did. Bytes are those of the target. */
import type { ByteRange, CacheBypass } from '../image/contract.ts';

export interface CloneResult {
  readonly runId: string;
  readonly written: number;
  readonly zeroed: number;
  readonly discarded: number;
  /** Durable since an earlier run, and not copied again. */
  readonly resumed: number;
  /** Compared with the source (--delta) and found equal. */
  readonly same: number;
  /** How the read-back got past the cache; `skipped` with --no-verify. */
  readonly verified: CacheBypass | 'skipped';
  /** Files that the persona changed. */
  readonly filesChanged: number;
  /** The protected regions and the SHA-256 (hex) that they had before and after. */
  readonly regions: readonly { readonly name: string; readonly sha256: string }[];
  /** What the source could not give. */
  readonly unreadable: Damage;
  /** Why the map file that was asked for was not written; the target has nothing to do with it. */
  readonly mapProblem?: string;
  readonly seconds: number;
}

/** Bytes of the source that could not be read, and whose they were. */
export interface Damage {
  readonly bytes: number;
  readonly ranges: readonly ByteRange[];
  readonly parts: readonly DamagedPart[];
}

export interface DamagedPart {
  /** As in the plan; 0 for what lies outside every part. */
  readonly number: number;
  readonly label: string;
  readonly bytes: number;
  /** Paths on the part's file system, sorted, those of directories with a slash at the end; absent when it cannot tell. */
  readonly files?: readonly string[];
  /** Paths that the damage keeps from being looked at: these, and whatever is in them, may be damaged or gone. */
  readonly lost?: readonly string[];
  /** Bytes that belong to no file: metadata of the file system, or what it cannot tell. */
  readonly elsewhere: number;
}

export const noDamage: Damage = { bytes: 0, ranges: [], parts: [] };

/** What became of one target of several. */
export type CloneOutcome<Plan> =
  | { readonly plan: Plan; readonly result: CloneResult }
  | { readonly plan: Plan; readonly error: unknown };
