/** A hybrid MBR one of whose entries is no part of the GPT: it is not kept, and neither plan nor verification is silent about that. */
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { tempDir } from '../../fixtures/temp.ts';
import { bytesOf, checkGpt } from './disk-facts.ts';
import { clone } from './requests.ts';
import { copyDisk, makeSmallDisk, newFile, smallSize, tool, writeInto } from './small-disk.ts';
import { assertEqual, verified } from './verified.ts';

const folder = tempDir('hybrid');
const source = join(folder, 'source.img');
const why =
  'the hybrid MBR of the source becomes a plain protective one, because its entry 2 (type 83) is no partition of the GPT';

test('a hybrid MBR that contradicts the GPT becomes a plain one: the plan warns, the verification notes it', async () => {
  await makeSmallDisk(source);
  tool('sgdisk', ['--hybrid=2', source]);
  const kept = join(folder, 'kept.img');
  newFile(kept, smallSize);
  assert.not.match((await clone(source, kept, { as: 'none' })).plan.warnings.join('\n'), 'hybrid');
  assert.ok(bytesOf(kept, { offset: 446, length: 64 }).equals(bytesOf(source, { offset: 446, length: 64 })));

  const stale = join(folder, 'stale.img');
  copyDisk(source, stale);
  // The partition was made smaller by a tool that knows only GPT.
  writeInto(stale, Buffer.from([0, 8, 0, 0]), 446 + 16 + 12);
  const target = join(folder, 'target.img');
  newFile(target, smallSize);
  const { plan } = await clone(stale, target, { as: 'none' });
  assert.match(plan.warnings.join('\n'), why);
  checkGpt(target);
  assert.ok(bytesOf(target, { offset: 462, length: 48 }).every((byte) => byte === 0));
  const result = await verified(stale, target, { as: 'none' });
  assertEqual(result);
  assert.match(result.notes.join('\n'), why);
});

test.run();
