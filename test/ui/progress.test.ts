import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { jsonProgress, Meter, plainProgress, silentProgress } from '../../src/ui/progress.ts';

const mebibyte = 2 ** 20;

/** A clock that is moved by hand, in milliseconds, and an output that remembers. */
function stage(): {
  clock: { now: number };
  now: () => number;
  output: { write: (text: string) => void };
  lines: () => string[];
} {
  const clock = { now: 0 };
  let written = '';
  return {
    clock,
    now: () => clock.now,
    output: {
      write: (text) => {
        written += text;
      },
    },
    lines: () => written.split('\n').slice(0, -1),
  };
}

test('plain progress says when a phase starts, now and then how far it is, and how it ended', async () => {
  const { clock, now, output, lines } = stage();
  const view = plainProgress(output, { everyMs: 5000, now });
  view.onEvent({ type: 'phase', phase: 'copy', title: 'Copying' });
  for (let second = 1; second <= 12; second++) {
    clock.now = second * 1000;
    view.onEvent({ type: 'progress', phase: 'copy', done: second * 100 * mebibyte, total: 1200 * mebibyte });
  }
  view.onEvent({ type: 'phase', phase: 'verify', title: 'Verifying' });
  await view.end('failed');
  assert.equal(lines(), [
    'Copying ...',
    'Copying: 500 MiB of 1.2 GiB, 41 %, 80 MiB/s, 8.8 s left',
    'Copying: 1000 MiB of 1.2 GiB, 83 %, 90 MiB/s, 2.2 s left',
    'Copying: done, 1.2 GiB in 12 s, 91.7 MiB/s',
    'Verifying ...',
    'Verifying: failed',
  ]);
});

test('what a resumed run finds done does not count as speed', () => {
  const clock = { now: 0 };
  const meter = new Meter(() => clock.now);
  meter.update(900, 1000);
  clock.now = 10_000;
  meter.update(950, 1000);
  assert.is(meter.rate, 5);
  assert.is(meter.left, 10);
});

test('json progress gives every event as a line, few of progress but always the last of a phase', async () => {
  const { clock, now, output, lines } = stage();
  const view = jsonProgress(output, { now });
  view.onEvent({ type: 'phase', phase: 'copy', title: 'Copying' });
  for (let done = 1; done <= 1000; done++) {
    clock.now = done;
    view.onEvent({ type: 'progress', phase: 'copy', done, total: 1000 });
  }
  view.onEvent({ type: 'target', name: 'disk', state: 'fenced' });
  view.onEvent({ type: 'warning', message: 'two\nlines' });
  await view.end('done');
  const events = lines().map((line) => JSON.parse(line));
  const progress = events.filter(({ type }) => type === 'progress');
  assert.ok(progress.length >= 2 && progress.length <= 10, String(progress.length));
  assert.is(progress.at(-1).done, 1000);
  assert.equal(
    events.filter(({ type }) => type !== 'progress'),
    [
      { type: 'phase', phase: 'copy', title: 'Copying' },
      { type: 'target', name: 'disk', state: 'fenced' },
      { type: 'warning', message: 'two\nlines' },
      { type: 'end', outcome: 'done' },
    ],
  );
});

test('without progress warnings are still heard', async () => {
  const { output, lines } = stage();
  const view = silentProgress(output);
  view.onEvent({ type: 'phase', phase: 'copy', title: 'Copying' });
  view.onEvent({ type: 'note', message: 'a note' });
  view.onEvent({ type: 'warning', message: 'look \u001b[1mhere' });
  await view.end('done');
  assert.equal(lines(), ['Warning: look \\x1b[1mhere']);
});

test.run();
