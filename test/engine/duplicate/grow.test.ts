/** What --grow refuses before the first write, because a file system or a table cannot have the size. */
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { GrowFailedError, growFileSystems } from '../../../src/engine/duplicate/grow.ts';
import { planClone } from '../../../src/engine/duplicate/make-plan.ts';
import { openTarget } from '../../../src/engine/layout/part-of-disk.ts';
import { guard } from '../../../src/engine/protect/guard.ts';
import { attachLoop } from '../../fixtures/loop.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { bytesOf, fingerprint } from './disk-facts.ts';
import { clone, refusal, requestOf } from './requests.ts';
import { MiB, newFile, tool } from './small-disk.ts';

const folder = tempDir('grow');
const range = { offset: MiB, length: 120 * MiB };

function blank(name: string, size: number): string {
  newFile(join(folder, name), size);
  return join(folder, name);
}

/** A disk with one btrfs. */
function btrfsDisk(name: string): string {
  const disk = blank(name, 140 * MiB);
  tool('sfdisk', ['--quiet', disk], `label: gpt\nstart=2048, size=${range.length / 512}, name=data\n`);
  const loop = attachLoop(disk, { offset: range.offset, size: range.length });
  tool('mkfs.btrfs', ['-q', loop.device]);
  loop.detach();
  return disk;
}

test('a btrfs that would stay below 256 MiB is refused before anything is written; one of just so many is grown', async () => {
  const source = btrfsDisk('btrfs.img');
  const small = blank('small.img', 257 * MiB);
  const before = fingerprint(small);
  const error = await refusal(() => planClone(requestOf(source, small, { as: 'none', grow: ['data'] })));
  assert.is(error.code, 'GROW_TOO_SMALL');
  assert.is(error.exitCode, 4);
  assert.match(error.message, `partition 1 ("data") cannot grow to ${255 * MiB} bytes`);
  assert.match(error.todo, `${MiB} bytes more`);
  assert.is(fingerprint(small), before);
  const target = blank('enough.img', 258 * MiB);
  const { plan } = await clone(source, target, { as: 'none', grow: ['data'] });
  const after = plan.grow[0]?.after ?? range;
  assert.is(after.length, 256 * MiB);
  const grown = attachLoop(target, { offset: after.offset, size: after.length, readOnly: true });
  try {
    tool('btrfs', ['check', '--readonly', grown.device]);
  } finally {
    grown.detach();
  }
  assert.is(Number(bytesOf(target, { offset: after.offset + 65_536 + 0x70, length: 8 }).readBigUInt64LE()), after.length);
});

test('what a tool says when it fails is told line by line', async () => {
  const disk = btrfsDisk('fails.img');
  const image = await openTarget(disk);
  const after = { ...range, length: 130 * MiB };
  const growth = { number: 1, label: 'partition 1', before: range, after, method: 'btrfs', type: 'btrfs' } as const;
  try {
    await growFileSystems(guard(image, []), { growths: [growth] });
    assert.unreachable('the kernel resizes no btrfs to less than 256 MiB');
  } catch (error) {
    assert.instance(error, GrowFailedError);
    assert.match((error as GrowFailedError).message, /Invalid argument; /);
    assert.not.match((error as GrowFailedError).message, '\uFFFD');
  } finally {
    await image.close();
  }
});

test('on more than 2 TiB the parts of an MBR disk grow as far as their table can tell, and the plan says that', async () => {
  const source = blank('mbr.img', 32 * MiB);
  const script =
    'label: dos\nlabel-id: 0x5eed0001\nstart=2048, size=4096\nstart=6144, size=16384, type=5\nstart=8192, size=4096\n';
  tool('sfdisk', ['--quiet', source], script);
  for (const offset of [MiB, 4 * MiB]) {
    const loop = attachLoop(source, { offset, size: 2 * MiB });
    tool('mkswap', ['-q', loop.device]);
    loop.detach();
  }
  const target = blank('large.img', 3 * 2 ** 40);
  const { plan } = await clone(source, target, { as: 'none', grow: ['5'] });
  assert.match(plan.notes.join('\n'), 'partition 5 leaves free space behind it: an MBR table cannot describe');
  const { partitiontable } = JSON.parse(tool('sfdisk', ['--json', target])) as {
    partitiontable: { partitions: { start: number; size: number }[] };
  };
  const [, extended, logical] = partitiontable.partitions;
  assert.ok((extended?.size ?? 0) > 2 ** 32 - 1 - 2048);
  assert.is((logical?.start ?? 0) + (logical?.size ?? 0), (extended?.start ?? 0) + (extended?.size ?? 0));
});

test.run();
