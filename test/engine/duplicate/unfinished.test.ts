import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { executeClone } from '../../../src/engine/duplicate/execute.ts';
import { planClone } from '../../../src/engine/duplicate/make-plan.ts';
import { isUnfinished } from '../../../src/engine/duplicate/unfinished.ts';
import { openForInspection } from '../../../src/engine/image/open.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { bytesOf } from './disk-facts.ts';
import { requestOf } from './requests.ts';
import { copyDisk, makeSmallDisk, newFile, profileFile, smallSize, writeInto } from './small-disk.ts';

const folder = tempDir('unfinished');
const source = join(folder, 'source.img');
const fenced = join(folder, 'fenced.img');
const create = { size: smallSize };

test.before(async () => {
  await makeSmallDisk(source);
  const plan = await planClone(requestOf(source, fenced, { as: profileFile(folder), create }));
  const stop = new AbortController();
  await executeClone(plan, {
    signal: stop.signal,
    onEvent: (event) => event.type === 'phase' && event.phase === 'copy' && stop.abort(new Error('stopped')),
  }).catch((error: Error) => assert.is(error.message, 'stopped'));
});

async function unfinished(disk: string): Promise<boolean> {
  const image = await openForInspection(disk);
  try {
    return await isUnfinished(image, disk, undefined);
  } finally {
    await image.close();
  }
}

/** A new disk on which only these bytes stand. */
function blankBut(name: string, bytes: Uint8Array, offset: number): string {
  const disk = join(folder, name);
  newFile(disk, smallSize);
  writeInto(disk, bytes, offset);
  return disk;
}

const array = { offset: smallSize - 33 * 512, length: 32 * 512 };

test('a disk that is blank, fenced, or has only the first write of a fence is gone on with', async () => {
  assert.ok(await unfinished(blankBut('blank.img', new Uint8Array(1), 0)));
  assert.ok(await unfinished(fenced));
  const first = blankBut('first.img', bytesOf(fenced, array), array.offset);
  assert.ok(await unfinished(first));
  await executeClone(await planClone(requestOf(source, first, { as: profileFile(folder), create })));
  assert.not(await unfinished(first));
});

test('what somebody else has written is not overwritten', async () => {
  const first = blankBut('other.img', bytesOf(fenced, array), array.offset);
  for (const [offset, text] of [
    [0, 'x'],
    [smallSize - 50_000, 'superblock at the end'],
    [smallSize - 1, 'x'],
    [array.offset + 20 * 512, 'another entry'],
  ] as const) {
    const disk = join(folder, 'written.img');
    copyDisk(first, disk);
    writeInto(disk, Buffer.from(text), offset);
    assert.not(await unfinished(disk), `${text} at ${offset}`);
  }
});

test.run();
