/** Which number each entry of a merged table gets. */
import type { TableEntry } from './contract.ts';
import { mbrPartUuid } from './mbr.ts';
import { TableFullError } from './table-errors.ts';
import type { ArraySize } from './table-space.ts';

/** An entry of the target that stays. */
export interface Stay {
  readonly from: TableEntry;
  readonly origin: 'kept' | 'protected';
}

export interface MergedPart {
  /** As it stands in the merged table. */
  readonly entry: TableEntry;
  /** As it stood in the source's or the target's table. */
  readonly from: TableEntry;
  readonly origin: 'source' | 'kept' | 'protected';
}

/**
 * The numbers of a merged GPT. Source entries keep theirs. Protected entries take the highest free ones, kept entries then their own or else the highest
 * free one, so that merging a second time changes nothing. Sorted by number.
 *
 * @throws TableFullError
 */
export function numberParts(brought: readonly TableEntry[], stays: readonly Stay[], array: ArraySize): MergedPart[] {
  const slots = array.count;
  const taken = new Set(brought.map((entry) => entry.number));
  const parts: MergedPart[] = brought.map((entry) => ({ entry, from: entry, origin: 'source' }));

  const highestFirst = [...stays].sort((a, b) => b.from.number - a.from.number);
  for (const origin of ['protected', 'kept'] as const) {
    for (const { from } of highestFirst.filter((stay) => stay.origin === origin)) {
      const own = origin === 'kept' && from.number <= slots && !taken.has(from.number);
      const number = own ? from.number : highestFree(taken, slots);
      if (number === undefined) throw new TableFullError(from, slots);
      taken.add(number);
      parts.push({ entry: { ...from, number }, from, origin });
    }
  }
  return parts.sort((a, b) => a.entry.number - b.entry.number);
}

/** The disk signature is the source's, so the kernel's name for the partition changes; only one entry of a disk is active. */
export function inMbr(from: TableEntry, number: number, diskId: string, activeSource: boolean): TableEntry {
  return { ...from, number, guid: mbrPartUuid(diskId, number), attributes: activeSource ? 0n : from.attributes };
}

export function highestFree(taken: ReadonlySet<number>, slots: number): number | undefined {
  for (let number = slots; number >= 1; number--) if (!taken.has(number)) return number;
  return undefined;
}
