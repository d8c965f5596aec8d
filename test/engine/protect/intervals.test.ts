import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ByteRange } from '../../../src/engine/image/contract.ts';
import { IntervalBuilder, IntervalSet } from '../../../src/engine/protect/intervals.ts';
import { type Random, random } from '../image/random.ts';

const BYTES = 96;

function randomRanges({ below }: Random): ByteRange[] {
  return Array.from({ length: below(9) }, () => {
    const offset = below(BYTES);
    return { offset, length: below(BYTES - offset + 1) >> below(4) };
  });
}

/** The model: whether each byte is in the set. */
function bits(ranges: Iterable<ByteRange>): boolean[] {
  const model = new Array<boolean>(BYTES).fill(false);
  for (const { offset, length } of ranges) model.fill(true, offset, offset + length);
  return model;
}

function runsOf(model: readonly boolean[]): ByteRange[] {
  const runs: ByteRange[] = [];
  for (let start = 0; start < model.length; ) {
    let end = start;
    while (end < model.length && model[end] === model[start]) end++;
    if (model[start]) runs.push({ offset: start, length: end - start });
    start = end;
  }
  return runs;
}

function assertIs(set: IntervalSet, model: readonly boolean[], what: string): void {
  assert.equal([...set], runsOf(model), what);
  assert.is(set.count, runsOf(model).length, what);
  assert.is(set.bytes, model.filter(Boolean).length, what);
}

test('sets of random ranges behave as sets of bytes', () => {
  for (let seed = 1; seed <= 2000; seed++) {
    const chance = random(seed);
    const [rangesA, rangesB] = [randomRanges(chance), randomRanges(chance)];
    const [a, b] = [IntervalSet.of(...rangesA), IntervalSet.of(...rangesB)];
    const [bitsA, bitsB] = [bits(rangesA), bits(rangesB)];
    const what = `seed ${seed}`;
    assertIs(a, bitsA, what);
    assertIs(
      a.union(b),
      bitsA.map((bit, i) => bit || bitsB[i] === true),
      what,
    );
    assertIs(
      a.intersect(b),
      bitsA.map((bit, i) => bit && bitsB[i] === true),
      what,
    );
    assertIs(
      a.subtract(b),
      bitsA.map((bit, i) => bit && bitsB[i] === false),
      what,
    );
    // The operands stay as they were.
    assertIs(a, bitsA, what);
    assertIs(b, bitsB, what);

    const unit = 1 + chance.below(8);
    const aligned = new Array<boolean>(BYTES + 8).fill(false);
    bitsA.forEach((bit, i) => {
      const start = Math.floor(i / unit) * unit;
      if (bit) aligned.fill(true, start, start + unit);
    });
    assertIs(a.align(unit), aligned.slice(0, Math.max(BYTES, aligned.lastIndexOf(true) + 1)), what);

    const delta = chance.below(1000) - 500;
    assert.equal(
      [...a.shift(delta)],
      runsOf(bitsA).map((run) => ({ ...run, offset: run.offset + delta })),
      what,
    );

    for (const range of [...randomRanges(chance), ...runsOf(bitsA)]) {
      const inside = bitsA.slice(range.offset, range.offset + range.length);
      assert.is(a.touches(range), inside.includes(true), `${what} touches ${range.offset}+${range.length}`);
      assert.is(a.covers(range), !inside.includes(false), `${what} covers ${range.offset}+${range.length}`);
      const first = runsOf(bitsA).find((run) => bits([run]).some((bit, i) => bit && bits([range])[i] === true));
      assert.equal(a.firstTouched(range), first, what);
    }
  }
});

test('ranges at the edge of a set touch it by one byte only', () => {
  const set = IntervalSet.of({ offset: 100, length: 50 });
  assert.not(set.touches({ offset: 0, length: 100 }));
  assert.ok(set.touches({ offset: 0, length: 101 }));
  assert.ok(set.touches({ offset: 149, length: 1000 }));
  assert.not(set.touches({ offset: 150, length: 1000 }));
  assert.not(set.touches({ offset: 120, length: 0 }));
  assert.ok(set.covers({ offset: 100, length: 50 }));
  assert.not(set.covers({ offset: 99, length: 50 }));
  assert.not(set.covers({ offset: 101, length: 50 }));
});

test('the empty set', () => {
  const some = IntervalSet.of({ offset: 5, length: 5 });
  assert.is(IntervalSet.empty.count, 0);
  assert.is(IntervalSet.empty.bytes, 0);
  assert.equal([...IntervalSet.empty.union(some)], [...some]);
  assert.equal([...some.subtract(some)], []);
  assert.equal([...some.intersect(IntervalSet.empty)], []);
  assert.not(IntervalSet.empty.touches({ offset: 0, length: 10 }));
  assert.ok(IntervalSet.empty.covers({ offset: 7, length: 0 }));
});

test('offsets of the largest disks are exact', () => {
  const offset = 2 ** 50 + 512;
  const set = IntervalSet.of({ offset, length: 512 }, { offset: 2 ** 52, length: 1 });
  assert.equal([...set.union(IntervalSet.of({ offset: offset + 512, length: 1 }))][0], { offset, length: 513 });
  assert.not(set.touches({ offset: offset - 1, length: 1 }));
  assert.ok(set.touches({ offset: 0, length: 2 ** 53 - 1 }));
});

test('a builder merges what touches, grows, and refuses what goes backwards', () => {
  const builder = new IntervalBuilder();
  for (let i = 0; i < 100_000; i++) builder.add(i * 10, 4).add(i * 10 + 4, i % 2);
  const set = builder.build();
  assert.is(set.count, 100_000);
  assert.is(set.bytes, 450_000);
  assert.ok(set.covers({ offset: 999_990, length: 5 }));
  assert.throws(() => new IntervalBuilder().add(100, 1).add(99, 1), /ascending/);
  assert.equal([...new IntervalBuilder().add(5, 0).add(0, 5).add(2, 8).add(3, 1).build()], [{ offset: 0, length: 10 }]);
});

test('many ranges of all sizes, on sectors and off, are what was added; searched, moved and swept alike', () => {
  for (let seed = 1; seed <= 20; seed++) {
    const { below } = random(seed);
    const size = (): number => {
      const magnitude = 2 ** below(seed % 2 === 0 ? 42 : 16);
      const some = 1 + Math.floor((below(2 ** 20) / 2 ** 20) * magnitude);
      return below(3) === 0 ? some : some * 512;
    };
    const added: ByteRange[] = [];
    for (let at = size(); added.length < 300; at += size()) {
      const length = size();
      if (at + length > 2 ** 52) break;
      added.push({ offset: at, length });
      at += length;
    }
    const builder = new IntervalBuilder();
    for (const { offset, length } of added) builder.add(offset, length);
    const set = builder.build();
    assert.equal([...set], added);
    assert.is(set.count, added.length);
    assert.is(
      set.bytes,
      added.reduce((sum, { length }) => sum + length, 0),
    );
    assert.equal([...IntervalSet.of(...added)], added);
    assert.equal(
      [...set.shift(1_048_577)],
      added.map(({ offset, length }) => ({ offset: offset + 1_048_577, length })),
    );
    const [even, odd] = [0, 1].map((rest) => IntervalSet.of(...added.filter((_, i) => i % 2 === rest)));
    assert.equal([...(even as IntervalSet).union(odd as IntervalSet)], added);
    assert.equal([...set.subtract(odd as IntervalSet)], [...(even as IntervalSet)]);
    added.forEach(({ offset, length }, i) => {
      assert.equal(set.firstTouched({ offset: offset - 1, length: 2 }), added[i]);
      assert.ok(set.covers({ offset, length }) && !set.covers({ offset, length: length + 1 }));
      assert.not(set.touches({ offset: offset - 1, length: 1 }));
      assert.equal(set.firstTouched({ offset: offset + length, length: 2 ** 52 }), added[i + 1]);
    });
  }
});

test('what is no whole number of bytes is refused', () => {
  for (const [offset, length] of [
    [0.5, 1],
    [0, Number.POSITIVE_INFINITY],
    [2 ** 53, 1],
  ] as const) {
    assert.throws(() => new IntervalBuilder().add(offset, length), RangeError);
  }
});

test('what was built stays as it is when the builder goes on', () => {
  const builder = new IntervalBuilder().add(0, 5);
  const set = builder.build();
  builder.add(5, 5);
  assert.equal([...set], [{ offset: 0, length: 5 }]);
});

test.run();
