/** Space that a copy sets aside: found before anything is written, given back where there are zeros, and never with data in it. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { executeClone } from '../../../src/engine/duplicate/execute.ts';
import { planClone } from '../../../src/engine/duplicate/make-plan.ts';
import { SetAside } from '../../../src/engine/duplicate/set-aside.ts';
import type { EngineEvent } from '../../../src/engine/events.ts';
import { FileImage } from '../../../src/engine/image/file.ts';
import { guard } from '../../../src/engine/protect/guard.ts';
import { IntervalSet } from '../../../src/engine/protect/intervals.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { assertBytes } from '../image/conformance.ts';
import { random } from '../image/random.ts';
import { copyTasks } from '../lanes/copy-tasks.ts';
import { allocated, hashOf } from './disk-facts.ts';
import { requestOf } from './requests.ts';
import { MiB, newFile, tool } from './small-disk.ts';

const folder = tempDir('set-aside');
const at = (name: string) => join(folder, name);
const SIZE = 24 * MiB;
/** Zeros, and every byte of the file takes space. */
const zeros = { offset: 6 * MiB + 65_536, length: 14 * MiB };

function content(): Buffer {
  const bytes = random(1).bytes(SIZE);
  bytes.fill(0, zeros.offset, zeros.offset + zeros.length);
  return bytes;
}

const part = { offset: MiB, length: 22 * MiB };

/** A disk with one part, of no file system. */
function makeSource(path: string): void {
  writeFileSync(path, content());
  tool('sfdisk', ['--quiet', path], `label: gpt\nstart=${part.offset / 512}, size=${part.length / 512}, name=raw\n`);
  assert.ok(allocated(path) >= SIZE);
}

/** From the moment it lies, it knows nothing of what was written. */
async function lyingFile(path: string): Promise<{ readonly disk: FileImage; lie(): void }> {
  const disk = await FileImage.open(path, 'write');
  return {
    disk,
    lie() {
      disk.extents = async function* () {
        yield { offset: 0, length: SIZE, state: 'zero' };
      };
    },
  };
}

test('what a target says of its holes after the copy throws no data away', async () => {
  const [from, to] = [at('lying-source.img'), at('lying.img')];
  writeFileSync(from, content());
  newFile(to, SIZE);
  const source = await FileImage.open(from, 'read');
  const { disk, lie } = await lyingFile(to);
  try {
    const target = guard(disk, []);
    const aside = new SetAside(target);
    await aside.reserve(IntervalSet.of({ offset: 0, length: SIZE }));
    assert.ok(allocated(to) >= SIZE);
    const isHole = () => true;
    await copyTasks(source, [{ action: 'copy', offset: 0, length: SIZE }], target, { isHole, onUnwritten: aside.unwritten });
    lie();
    await aside.giveBack();
    await disk.flush();
  } finally {
    await source.close();
    await disk.close();
  }
  assertBytes(readFileSync(to), content(), 'the target');
  assert.ok(allocated(to) <= SIZE - zeros.length + MiB, `${allocated(to)} bytes are allocated`);
});

test('space that was not set aside is not given back', async () => {
  const path = at('own.img');
  writeFileSync(path, Buffer.alloc(4 * MiB, 'data of the target '));
  const disk = await FileImage.open(path, 'write');
  try {
    const aside = new SetAside(guard(disk, []));
    await aside.reserve(IntervalSet.of({ offset: 0, length: 4 * MiB }));
    aside.unwritten({ offset: MiB, length: MiB });
    await aside.giveBack();
  } finally {
    await disk.close();
  }
  assertBytes(readFileSync(path), Buffer.alloc(4 * MiB, 'data of the target '), 'the target');
});

test('a file target has its space during the copy, and none where the source turned out to be zeros', async () => {
  const [from, to] = [at('source.img'), at('sparse.img')];
  makeSource(from);
  newFile(to, SIZE);
  const plan = await planClone(requestOf(from, to, { as: 'none' }));
  let during = 0;
  const onEvent = (event: EngineEvent): void => {
    if (event.type === 'phase' && event.phase === 'copy') during = allocated(to);
  };
  await executeClone(plan, { onEvent });
  assert.ok(during > SIZE - 3 * MiB, `${during} bytes are allocated during the copy`);
  assert.is(hashOf(to, part), hashOf(from, part));
  assert.ok(allocated(to) <= SIZE - zeros.length + MiB, `${allocated(to)} bytes are allocated`);
});

test('zeros that an earlier run had copied give their space back too', async () => {
  const [from, to] = [at('resumed-source.img'), at('resumed.img')];
  makeSource(from);
  newFile(to, SIZE);
  const wishes = { as: 'none', stateDir: { path: at('states'), required: true } };
  const aborting = new AbortController();
  const stopped = await executeClone(await planClone(requestOf(from, to, wishes)), {
    checkpointEvery: 0,
    signal: aborting.signal,
    onEvent: (event) =>
      event.type === 'progress' && event.phase === 'copy' && event.done > 16 * MiB && aborting.abort(new Error('stop here')),
  }).catch((error: Error) => error.message);
  assert.is(stopped, 'stop here');
  assert.ok(allocated(to) > SIZE - 2 * MiB);
  const { resumed } = await executeClone(await planClone(requestOf(from, to, wishes)));
  assert.ok(resumed > 8 * MiB, `${resumed} bytes resumed`);
  assert.is(hashOf(to, part), hashOf(from, part));
  assert.ok(allocated(to) <= SIZE - zeros.length + 2 * MiB, `${allocated(to)} bytes are allocated`);
});

test.run();
