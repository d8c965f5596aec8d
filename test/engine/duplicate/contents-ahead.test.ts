import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Contents } from '../../../src/engine/duplicate/contents.ts';
import { ContentsAhead } from '../../../src/engine/duplicate/contents-ahead.ts';
import { IntervalSet } from '../../../src/engine/protect/intervals.ts';

const parts = [0, 1, 2].map((number) => ({ range: { offset: number * 4096, length: 4096 }, label: `partition ${number}` }));
const nothing = { data: IntervalSet.empty, zero: IntervalSet.empty, unused: IntervalSet.empty, how: '', whole: false };

function looking(broken = -1) {
  const looked: number[] = [];
  let open: () => void = () => {};
  const gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  const contents = new ContentsAhead(async ({ range }): Promise<Contents> => {
    const number = range.offset / 4096;
    looked.push(number);
    await gate;
    if (number === broken) throw new Error('broken');
    return { ...nothing, how: `part ${number}` };
  });
  return { contents, looked, open };
}

test('every part is looked for once, whoever asks and how often', async () => {
  const { contents, looked, open } = looking();
  contents.begin(parts);
  const asked = [
    contents.of(parts[2] as (typeof parts)[0]),
    contents.of({ ...parts[0], label: 'another name' } as (typeof parts)[0]),
  ];
  open();
  assert.equal(
    (await Promise.all(asked)).map(({ how }) => how),
    ['part 2', 'part 0'],
  );
  await contents.of(parts[1] as (typeof parts)[0]);
  await contents.stop();
  assert.equal(looked.toSorted(), [0, 1, 2]);
});

test('one part that cannot be read harms nobody who does not ask for it', async () => {
  const { contents, open } = looking(1);
  contents.begin(parts);
  open();
  assert.equal((await contents.of(parts[2] as (typeof parts)[0])).how, 'part 2');
  const reason = await contents.of(parts[1] as (typeof parts)[0]).catch((error: unknown) => error);
  assert.match(String(reason), 'broken');
  await contents.stop();
});

test('when it is stopped it ends after the part that it is at', async () => {
  const { contents, looked, open } = looking();
  contents.begin(parts);
  const stopped = contents.stop();
  open();
  await stopped;
  assert.equal(looked, [0]);
});

test.run();
