/** Space for the copy, where the medium has to find some: set aside before, so that it is in one piece; given back where zeros need none. */
import type { ByteRange, GuardedTarget } from '../image/contract.ts';
import { IntervalBuilder, IntervalSet } from '../protect/intervals.ts';
import { allocationOf } from './contents.ts';

/** Bytes; smaller pieces find their place by themselves. */
const WORTH_RESERVING = 1 << 16;
/** Runs of zeros that are remembered; the space of further ones is not given back. */
const MOST_RUNS = 1_000_000;
/** They come nearly in order: so many are merged at a time. */
const BATCH = 1 << 14;

export class SetAside {
  readonly #target: GuardedTarget;
  #space = IntervalSet.empty;
  #zeros = IntervalSet.empty;
  #recent: ByteRange[] = [];

  constructor(target: GuardedTarget) {
    this.#target = target;
  }

  /** Missing space is noticed before anything is written. @throws ImageIoError, and then the target is as it was */
  async reserve(copy: IntervalSet): Promise<void> {
    const holes = (await allocationOf(this.#target)).zero;
    const space = new IntervalBuilder();
    try {
      for (const { offset, length } of copy.intersect(holes)) {
        if (length < WORTH_RESERVING) continue;
        space.add(offset, length);
        await this.#target.reserve?.(offset, length);
      }
    } catch (error) {
      // A target that is not begun does not fill the disk below it.
      for (const { offset, length } of space.build()) await this.#target.zero(offset, length);
      throw error;
    }
    this.#space = space.build();
  }

  /** To be told of what stays zeros without having been written. */
  readonly unwritten = (range: ByteRange): void => {
    if (!this.#space.touches(range)) return;
    if (this.#recent.length === BATCH) this.#merge();
    if (this.#zeros.count < MOST_RUNS) this.#recent.push(range);
  };

  /**
   * Only by what the copy itself knows to be zeros: what the medium says of its holes may be behind what was just written (some
   * file systems were wrong about data that had not reached the medium), and data would be thrown away.
   */
  async giveBack(): Promise<void> {
    this.#merge();
    for (const { offset, length } of this.#zeros.intersect(this.#space)) {
      if (length >= WORTH_RESERVING) await this.#target.zero(offset, length);
    }
  }

  #merge(): void {
    this.#zeros = this.#zeros.union(IntervalSet.of(...this.#recent));
    this.#recent = [];
  }
}
