/** What somebody asks of a clone. */

import type { ArchiveAccess } from '../archive/access.ts';
import type { OpenArchive } from '../archive/archive.ts';
import type { ReadErrorPolicy } from '../lanes/source-reader.ts';
import type { PartKind } from '../layout/contract.ts';
import type { Expectation } from './expect.ts';
import type { IdentityRequest } from './identity.ts';
import type { UnusedMode } from './plan.ts';
import type { KindChoice } from './plan-table.ts';

/** One target and who it shall be. */
export interface TargetRequest {
  /** File, block device, URI, or a part of one of them. */
  readonly target: string;
  readonly identity: IdentityRequest;
  readonly expect: readonly Expectation[];
  /** Make it, with this many bytes: it must not exist yet. */
  readonly create?: { readonly size: number };
}

/** What holds for all targets. */
export interface CopyRequest {
  readonly source: string;
  /** The archive of that name, where it is open already; whoever opened it closes it. */
  readonly archive?: OpenArchive;
  /** How to open it, where it is not. */
  readonly access?: ArchiveAccess;
  readonly kinds: KindChoice;
  /** Kinds of source parts by number, over everything else. */
  readonly kindOverrides: ReadonlyMap<number, PartKind>;
  readonly unused: UnusedMode;
  readonly exact: boolean;
  readonly verify: boolean;
  readonly allowInconsistent: boolean;
  /** Compare with what the target holds, and write only what differs. */
  readonly delta?: boolean;
  /** Default: fail. */
  readonly readErrors?: ReadErrorPolicy;
  /** A ddrescue map of the source: what it calls unfinished counts as unreadable. */
  readonly sourceMap?: string;
  /** Where to write such a map of this run. */
  readonly mapFile?: string;
  /** Directory of the journal; absent: no journal. */
  readonly stateDir?: { readonly path: string; readonly required: boolean };
  /** Parts of the source, by number or label, that take the space behind them. */
  readonly grow?: readonly string[];
  /** Draw new GUIDs for the disk and the copied parts. */
  readonly newGuids?: boolean;
}

export type CloneRequest = CopyRequest & TargetRequest;
