/** Compares all parts of two disks, each in the way that what a clone did to it asks for. */
import type { OnEvent } from '../events.ts';
import type { Disk, Part } from './disk.ts';
import type { Layout } from './plan-layout.ts';
import type { ExpectedChanges } from './verify-changes.ts';
import {
  compareByBlocks,
  compareByFiles,
  compareOutside,
  type DiskPair,
  type FilesToCompare,
  sizeOf,
  skippedPart,
  uncomparable,
} from './verify-part.ts';
import { progressOver } from './verify-progress.ts';
import type { Replayed } from './verify-replay.ts';
import type { VerifiedPart } from './verify-result.ts';
import type { WantedWork } from './verify-work.ts';

export interface PartsToCompare {
  readonly layout: Layout;
  readonly target: Disk;
  readonly work: WantedWork;
  readonly changes: ExpectedChanges;
  readonly replayed: Replayed;
}

export interface CompareOptions {
  readonly onEvent: OnEvent;
  readonly signal: AbortSignal | undefined;
  /** Told once for each thing that is worth knowing. */
  readonly note: (sentence: string) => void;
}

/** In the order of the disk's numbers, what lies outside every part first. @throws the signal's reason, and what comparing throws */
export async function compareParts(
  pair: DiskPair,
  { layout, target, work, changes, replayed }: PartsToCompare,
  { onEvent, signal, note }: CompareOptions,
): Promise<VerifiedPart[]> {
  onEvent({ type: 'phase', phase: 'verify', title: 'Comparing' });
  const total = [...work.parts.values(), work.outside].reduce((sum, wanted) => sum + sizeOf(wanted), 0);
  const step = progressOver(total, onEvent, signal);
  const parts: VerifiedPart[] = [];
  const outside = sizeOf(work.outside);
  if (outside > 0) parts.push(await step(outside, (options) => compareOutside(pair, work.outside, layout.loaders, options)));
  for (const part of layout.copied) {
    signal?.throwIfAborted();
    const wanted = work.parts.get(part.number);
    if (wanted === undefined) {
      parts.push(skippedPart(part, 'the target has no such part at its place'));
      continue;
    }
    const there = target.parts.find(({ number }) => number === part.number);
    const files = filesToCompare(part, layout, changes, replayed);
    const reason = replayed.reasons.get(part.number);
    const refusal =
      reason === undefined ? files && uncomparable(part, there, files) : `its journal was to be replayed first: ${reason}`;
    const compared = await step(sizeOf(wanted), async (options) => {
      if (refusal !== undefined) return skippedPart(part, refusal);
      if (files === undefined) return compareByBlocks(pair, part, wanted, options);
      if (pair.exact) note(`${part.label} is compared by files, as the clone changed some; its free space is not compared`);
      return compareByFiles(pair, part, wanted, files, options);
    });
    parts.push(compared);
  }
  return parts;
}

/** Undefined for a part that nothing was written to but its blocks. */
function filesToCompare(part: Part, { grow }: Layout, changes: ExpectedChanges, replayed: Replayed): FilesToCompare | undefined {
  const growth = grow.find(({ number, method }) => number === part.number && method !== 'none');
  const written = changes.parts.get(part.number);
  const openSource = replayed.windows.get(part.number);
  if (growth === undefined && written === undefined && openSource === undefined) return undefined;
  const nothing = { mountPoint: part.mountPoint ?? '/', changes: new Map() };
  return {
    changes: written ?? nothing,
    ...(growth === undefined ? {} : { growth }),
    ...(openSource === undefined ? {} : { openSource }),
  };
}
