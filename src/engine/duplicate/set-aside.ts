/** Space for the copy, where the medium has to find some: set aside before, so that it is in one piece; given back when it was not needed. */
import type { ByteRange, GuardedTarget } from '../image/contract.ts';
import type { IntervalSet } from '../protect/intervals.ts';
import { allocationOf } from './contents.ts';

/** Bytes; smaller pieces find their place by themselves. */
const WORTH_RESERVING = 1 << 16;

/** Missing space is noticed before anything is written. @throws ImageIoError, and then the target is as it was */
export async function setAside(target: GuardedTarget, copy: IntervalSet): Promise<void> {
  if (target.reserve === undefined) return;
  const holes = (await allocationOf(target)).zero;
  const reserved: ByteRange[] = [];
  try {
    for (const range of copy.intersect(holes)) {
      if (range.length < WORTH_RESERVING) continue;
      reserved.push(range);
      await target.reserve(range.offset, range.length);
    }
  } catch (error) {
    // A target that is not begun does not fill the disk below it.
    for (const { offset, length } of reserved) await target.zero(offset, length);
    throw error;
  }
}

/** Gives back what turned out to be zeros. `holes` is what read as zeros before the copy. */
export async function giveBack(target: GuardedTarget, copy: IntervalSet, holes: IntervalSet): Promise<void> {
  const fresh = copy.intersect(holes);
  for (const range of fresh.intersect((await allocationOf(target)).zero)) {
    if (range.length >= WORTH_RESERVING) await target.zero(range.offset, range.length);
  }
}
