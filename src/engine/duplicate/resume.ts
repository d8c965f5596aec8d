/** Whether a run can go on where an earlier one was killed: the journal is about the same disks, and the target is still fenced. */
import { isDeepStrictEqual } from 'node:util';
import type { ByteRange } from '../image/contract.ts';
import type { ImageIdentity } from '../image/identity.ts';
import type { DigestRecord } from '../lanes/digests.ts';
import { type FoundJournal, findJournal, Journal, type JournalFacts, readJournal } from './journal.ts';
import type { Sighting } from './preconditions.ts';

/** The disks that a journal is about. */
export interface JournalSubject {
  readonly stateDir: string;
  readonly source: Sighting;
  readonly target: ImageIdentity;
  /** Others may write to the source. */
  readonly inconsistent: boolean;
  /** Whether a fence would name it: a disk without a table has none, its run is found by the names of the disks. */
  readonly fenced: boolean;
}

/** The journal of the run to go on with, `incomplete` being the one that the target's fence names; undefined when there is none, or the source is another one than it was. */
export async function findResumable(request: JournalSubject, incomplete: string | undefined): Promise<FoundJournal | undefined> {
  const { stateDir, fenced } = request;
  const wanted = plain({ source: request.source, target: request.target });
  const isSame = (facts: JournalFacts): boolean => isDeepStrictEqual({ source: facts.source, target: facts.target }, wanted);
  if (!fenced) return findJournal(stateDir, isSame);
  if (incomplete === undefined) return undefined;
  const found = await readJournal(stateDir, incomplete);
  return found !== undefined && found.facts.runId === incomplete && isSame(found.facts) ? found : undefined;
}

export interface Resumption {
  readonly journal: Journal;
  readonly durable?: {
    find(piece: ByteRange): DigestRecord | undefined;
    readonly sourceUnchanged: boolean;
  };
  /** Whether the range was written by something else than the copy: then it is compared. */
  isDirty(range: ByteRange): boolean;
}

/** Opens the journal for the run `runId`, and what an earlier run with that id has left. @throws JournalError */
export async function openJournal(runId: string, request: JournalSubject): Promise<Resumption> {
  const found = await findResumable(request, runId);
  const facts: JournalFacts = {
    runId,
    ...(plain({ source: request.source, target: request.target }) as { source: unknown; target: unknown }),
  };
  const usable = found?.facts.runId === runId ? found : undefined;
  const journal = await Journal.open(request.stateDir, facts, usable, { durable: !request.fenced });
  if (usable === undefined) return { journal, isDirty: () => false };
  const { durable } = usable;
  return {
    journal,
    durable: {
      find: (piece) => durable.find(piece),
      sourceUnchanged: request.source.stamp !== undefined && !request.inconsistent,
    },
    isDirty: (range) => durable.dirty.touches(range),
  };
}

function plain(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value));
}
