/** A plan: everything that a clone will do, as data, made before the first byte is written. Offsets and lengths are bytes. */
import type { ArchiveAccess } from '../archive/access.ts';
import type { OpenArchive } from '../archive/archive.ts';
import type { ByteRange } from '../image/contract.ts';
import type { ImageIdentity } from '../image/identity.ts';
import type { ReadErrorPolicy } from '../lanes/source-reader.ts';
import type { PartitionTable, PartKind } from '../layout/contract.ts';
import type { PersonaPlan } from '../persona/plan.ts';
import type { SystemInfo } from '../persona/system.ts';
import type { Bundle } from '../profile/model.ts';
import type { IntervalSet } from '../protect/intervals.ts';
import type { Region } from '../protect/region.ts';
import type { IdRename } from './adapt-source.ts';
import type { PlannedGrowth } from './grow.ts';
import type { Preconditions } from './preconditions.ts';
import type { JournalSubject } from './resume.ts';
import type { TableLoss } from './table-loss.ts';

/** What becomes of a part of the target. */
export type Fate = 'copied' | 'kept' | 'protected' | 'removed';

export interface PlannedPart {
  /** On the target after the run; 0 for the whole of a disk without a table. For `removed`: before it. */
  readonly number: number;
  readonly label: string;
  readonly fate: Fate;
  readonly range: ByteRange;
  readonly kind: PartKind;
  /** File system type, or a description of the partition's type. */
  readonly holds: string;
  readonly mountPoint?: string;
  /** Bytes to copy, to zero, and left as they are on the target (or discarded). */
  readonly copy: number;
  readonly zero: number;
  readonly unused: number;
  /** How the bytes to copy were chosen, or why the part stays. */
  readonly how: string;
}

/** Where the identity of the target comes from. */
export type IdentityChoice = 'target' | 'source' | 'file' | 'none';

export interface PlannedIdentity {
  readonly choice: IdentityChoice;
  readonly bundle?: Bundle;
  /** The region gets this bundle before anything is copied; absent: the region already holds what it shall. */
  readonly write?: { readonly region: Region; readonly reason: string };
  /** Generation of the profile that was read from the target's region. */
  readonly generation?: number;
}

/** What becomes of bytes that belong to nobody. */
export const unusedModes = ['skip', 'zero', 'discard'] as const;
export type UnusedMode = (typeof unusedModes)[number];

export interface ClonePlan {
  /** GUID, upper case. */
  readonly runId: string;
  readonly source: ImageIdentity;
  /** The source, where it is an archive that is open already: carrying the plan out closes it. */
  readonly archive?: OpenArchive;
  /** How to open it, where it is not. */
  readonly access?: ArchiveAccess;
  readonly target: ImageIdentity;
  /** The target does not exist yet: it is made with this many bytes. */
  readonly create?: { readonly size: number };
  readonly sourceSystem?: SystemInfo;
  readonly targetSystem?: SystemInfo;
  /** The table after the commit; absent for disks without one. */
  readonly table?: PartitionTable;
  /** The table during the run; absent for disks without one. */
  readonly fence?: PartitionTable;
  /** The table that the target has now. */
  readonly before?: PartitionTable;
  readonly parts: readonly PlannedPart[];
  readonly regions: readonly Region[];
  readonly identity: PlannedIdentity;
  /** What the persona will change, as far as it can be seen before the copy; absent with `--as none`. */
  readonly persona?: PersonaPlan;
  /** Numbers of the parts (after the run) whose files the persona changes. */
  readonly personaParts: ReadonlySet<number>;
  /** Numbers of copied parts that were not cleanly unmounted: their journals may have to be replayed on the target. */
  readonly replay: ReadonlySet<number>;
  readonly copy: IntervalSet;
  readonly zero: IntervalSet;
  readonly discard: IntervalSet;
  /** First bytes of a disk without a table, withheld until the rest is verified. */
  readonly withheld: number;
  /** Parts that are larger on the target, with their file systems. */
  readonly grow: readonly PlannedGrowth[];
  /** Ids of disk and parts that are others on the target: the files that name them are rewritten. */
  readonly renames: readonly IdRename[];
  /** Parts of the target that stay: the copy may not write there either. */
  readonly kept: IntervalSet;
  /** Others may write to the source meanwhile, and the user said that this is fine. */
  readonly inconsistent: boolean;
  /** Read what was written back from the medium. */
  readonly verify: boolean;
  /** Compare with what the target holds, and write only what differs. */
  readonly delta: boolean;
  readonly readErrors: ReadErrorPolicy;
  /** Bytes of the source that a map file says to be lost. */
  readonly knownBad: IntervalSet;
  /** What could not be read of the source's table. */
  readonly tableLoss: TableLoss;
  /** Where to write a map of what could be read, in ddrescue's format. */
  readonly mapFile?: string;
  /** Where the run notes what is durable; `required`: the user named the directory. */
  readonly journal?: JournalSubject & { readonly required: boolean };
  /** Bytes that an earlier run has made durable and that are not copied again. */
  readonly durable: number;
  /** Seconds, from a sample of the source's speed; absent when there is nothing to copy. */
  readonly expectedSeconds?: number;
  readonly notes: readonly string[];
  readonly warnings: readonly string[];
  readonly preconditions: Preconditions;
}
