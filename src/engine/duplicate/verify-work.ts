/** Which bytes of a target have to be what: the sets that a clone writes, by part. Offsets and lengths are bytes. */
import { IntervalSet } from '../protect/intervals.ts';
import type { Contents } from './contents.ts';
import type { Disk } from './disk.ts';
import type { Layout } from './plan-layout.ts';
import { workOf } from './plan-work.ts';
import type { Source } from './source.ts';
import type { WantedBlocks } from './verify-blocks.ts';

export interface WorkRequest {
  readonly source: Source;
  readonly target: Disk;
  readonly layout: Layout;
  /** Numbers of the copied parts that stand where they shall. */
  readonly comparable: ReadonlySet<number>;
  readonly exact: boolean;
}

export interface WantedWork {
  /** By part number. */
  readonly parts: ReadonlyMap<number, WantedBlocks>;
  readonly outside: WantedBlocks;
  readonly notes: readonly string[];
}

export async function wantedWork({ source, target, layout, comparable, exact }: WorkRequest): Promise<WantedWork> {
  const contents = new Map<number, Contents>();
  const notes: string[] = [];
  for (const part of layout.copied) {
    const found = await source.contentsOf(part);
    if (found.whole && part.fs !== undefined) notes.push(`${part.label} is compared whole: ${found.how}`);
    contents.set(part.number, found);
  }
  const work = workOf(
    { unused: 'skip', exact },
    {
      source: source.disk,
      targetSize: target.size,
      // What a clone withholds until the end is there in the end.
      layout: { ...layout, withheld: 0 },
      allocation: source.allocation,
      contents: contents.values(),
    },
  );
  const inside = IntervalSet.of({ offset: 0, length: target.size }).subtract(IntervalSet.of(...target.regions));
  const [copy, zero] = [work.copy.intersect(inside), work.zero.intersect(inside)];
  const parts = new Map<number, WantedBlocks>();
  for (const { number, range } of layout.copied.filter((part) => comparable.has(part.number))) {
    const here = IntervalSet.of(range);
    const free = contents.get(number)?.unused ?? IntervalSet.empty;
    parts.set(number, {
      data: copy.intersect(here),
      zero: zero.intersect(here).subtract(free),
      cleared: zero.intersect(here).intersect(free),
    });
  }
  const elsewhere = inside.subtract(IntervalSet.of(...layout.copied.map(({ range }) => range)));
  const outside = { data: copy.intersect(elsewhere), zero: zero.intersect(elsewhere), cleared: IntervalSet.empty };
  return { parts, outside, notes };
}
