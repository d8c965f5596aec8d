import { setImmediate } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { isPageAligned } from '../../../src/engine/image/aligned.ts';
import { CHUNK } from '../../../src/engine/lanes/blocks.ts';
import { inLanes, LANES } from '../../../src/engine/lanes/lanes.ts';

interface Numbers {
  readonly sequence: AsyncGenerator<number>;
  readonly state: { given: number; returned: boolean };
}

function numbers(count: number, failAt = Number.POSITIVE_INFINITY, failAtEnd = false): Numbers {
  const state = { given: 0, returned: false };
  async function* generate(): AsyncGenerator<number> {
    try {
      for (let i = 0; i < count; i++) {
        if (i === failAt) throw new Error(`no piece ${i}`);
        state.given++;
        yield i;
      }
    } finally {
      state.returned = true;
      if (failAtEnd) assert.unreachable('cannot be closed');
    }
  }
  return { sequence: generate(), state };
}

async function failure(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    return (error as Error).message;
  }
  return 'none';
}

const unhandled: unknown[] = [];
process.on('unhandledRejection', (reason) => unhandled.push(reason));

test('every piece is worked on once, no more than the lanes at a time, each lane with its own aligned buffer', async () => {
  const { sequence, state } = numbers(1000);
  const seen: number[] = [];
  const buffers = new Set<Uint8Array>();
  let [now, most] = [0, 0];
  await inLanes(sequence, async (piece, buffer) => {
    most = Math.max(most, ++now);
    buffers.add(buffer);
    assert.ok(isPageAligned(buffer));
    assert.is(buffer.length, CHUNK);
    buffer[0] = piece % 256;
    await setImmediate();
    assert.is(buffer[0], piece % 256);
    seen.push(piece);
    now--;
  });
  assert.equal(
    seen.toSorted((a, b) => a - b),
    Array.from({ length: 1000 }, (_, i) => i),
  );
  assert.is(most, LANES);
  assert.is(buffers.size, LANES);
  assert.ok(state.returned);
});

test('no pieces are no work', async () => {
  await inLanes(numbers(0).sequence, async () => assert.unreachable());
});

test('the first error is thrown when all lanes have stopped, and the sequence is closed', async () => {
  const { sequence, state } = numbers(1000);
  let working = 0;
  const message = await failure(
    inLanes(sequence, async (piece) => {
      working++;
      await setImmediate();
      working--;
      if (piece === 10) throw new Error(`piece ${piece}`);
    }),
  );
  assert.is(message, 'piece 10');
  assert.is(working, 0);
  assert.ok(state.returned);
  assert.ok(state.given <= 10 + LANES, `${state.given} pieces were given out`);
});

test('an error of the sequence is thrown too; one while closing it hides no earlier one', async () => {
  assert.is(await failure(inLanes(numbers(100, 20).sequence, async () => setImmediate())), 'no piece 20');
  const work = async (piece: number): Promise<void> => {
    if (piece === 5) throw new Error('the work');
  };
  assert.is(await failure(inLanes(numbers(100, undefined, true).sequence, work)), 'the work');
  assert.is(await failure(inLanes(numbers(3, undefined, true).sequence, work)), 'cannot be closed');
});

test('a stop request is thrown with its reason, and nothing more is begun', async () => {
  const controller = new AbortController();
  const { sequence, state } = numbers(1000);
  const stopped = inLanes(
    sequence,
    async (piece) => {
      if (piece === 50) controller.abort(new Error('stop now'));
      await setImmediate();
    },
    controller.signal,
  );
  assert.is(await failure(stopped), 'stop now');
  assert.ok(state.given <= 51 + LANES);
  assert.ok(state.returned);
});

test('no error went astray', async () => {
  await setImmediate();
  assert.equal(unhandled, []);
});

test.run();
