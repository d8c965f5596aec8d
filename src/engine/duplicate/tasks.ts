/** The work of a plan in the order of the disk. */
import type { Action, Task } from '../lanes/blocks.ts';
import type { IntervalSet } from '../protect/intervals.ts';

/** The sets are disjoint; bytes in none of them are left alone. */
export function* tasksOf(sets: Readonly<Record<Action, IntervalSet>>): IterableIterator<Task> {
  const heads = (['copy', 'zero', 'discard'] as const).map((action) => ({ action, ranges: sets[action][Symbol.iterator]() }));
  const next = ({ action, ranges }: (typeof heads)[number]) => {
    const { done, value } = ranges.next();
    return done === true ? undefined : { action, ...value };
  };
  const waiting = heads.map(next);
  for (;;) {
    let first = -1;
    for (const [index, task] of waiting.entries()) {
      if (task !== undefined && (first < 0 || task.offset < (waiting[first] as Task).offset)) first = index;
    }
    if (first < 0) return;
    yield waiting[first] as Task;
    waiting[first] = next(heads[first] as (typeof heads)[number]);
  }
}
