/** MBR disks with logical partitions, cloned whole. */
import { readFileSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { executeClone } from '../../../src/engine/duplicate/execute.ts';
import { planClone } from '../../../src/engine/duplicate/make-plan.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { bytesOf, filesOf, hashOf, tableOf, textOf } from './disk-facts.ts';
import { clone, requestOf } from './requests.ts';
import { copyDisk, MiB, makeSmallDisk, newFile, parts, profileFile, smallSize, tool, writeInto } from './small-disk.ts';

const folder = tempDir('logical');
const source = join(folder, 'source.img');
const at = (name: string) => join(folder, name);

test.before(() => makeSmallDisk(source));

function blank(name: string, size: number): string {
  newFile(at(name), size);
  return at(name);
}

const logicalSize = smallSize + 8 * MiB;

/** The small disk with an MBR table in which application and swap are logical, in this order. */
function logicalDisk(name: string): string {
  const disk = at(name);
  copyDisk(source, disk);
  tool('sgdisk', ['--zap-all', disk]);
  truncateSync(disk, logicalSize);
  const swap = { offset: smallSize + MiB, length: parts.swap.length };
  writeInto(disk, bytesOf(source, parts.swap), swap.offset);
  const place = ({ offset, length }: { offset: number; length: number }) => `start=${offset / 512}, size=${length / 512}`;
  const script = `label: dos
label-id: 0x5eed0001
${place(parts.esp)}, type=ef
${place(parts.root)}, type=83, bootable
start=${parts.swap.offset / 512}, type=5
${place(parts.app)}, type=83
${place(swap)}, type=82
`;
  tool('sfdisk', ['--quiet', '--no-reread', '--no-tell-kernel', '--wipe=never', '--wipe-partitions=never', disk], script);
  writeInto(disk, Buffer.alloc(30_000, 'core.img '), 512);
  return disk;
}

test('logical partitions and the loader before the first one are copied; the fence has neither', async () => {
  const mbr = logicalDisk('logical.img');
  const target = blank('logical-target.img', logicalSize);
  const plan = await planClone(requestOf(mbr, target, { as: profileFile(folder) }));
  const aborting = new AbortController();
  const stopped = await executeClone(plan, {
    signal: aborting.signal,
    onEvent: (event) => event.type === 'phase' && event.phase === 'verify' && aborting.abort(new Error('stop here')),
  }).catch((error: Error) => error.message);
  assert.is(stopped, 'stop here');
  assert.match(tool('sfdisk', ['--dump', target]), /type=da/);
  assert.not.match(tool('sfdisk', ['--dump', target]), /type=(83|82|5|f)\b/);
  await clone(mbr, target, { as: profileFile(folder), replaceProfile: true });
  assert.is(tableOf(target), tableOf(mbr));
  tool('sfdisk', ['--verify', target]);
  assert.ok(bytesOf(target, { offset: 512, length: 30_000 }).equals(bytesOf(mbr, { offset: 512, length: 30_000 })));
  assert.is(textOf(target, parts.root, '/etc/hostname'), 'web-07\n');
  assert.equal([...filesOf(target, parts.app)], [...filesOf(mbr, parts.app)]);
});

test('a logical partition that is kept can be reached at every step and keeps its bytes', async () => {
  const mbr = logicalDisk('logical-source.img');
  const target = blank('logical-kept.img', smallSize + 40 * MiB);
  const kept = { offset: logicalSize + 8 * MiB, length: 16 * MiB };
  const script = `label: dos\nstart=8192, type=5\nstart=${kept.offset / 512}, size=${kept.length / 512}, type=83\n`;
  tool('sfdisk', ['--quiet', target], script);
  const fs = at('kept.ext4');
  newFile(fs, kept.length);
  tool('mkfs.ext4', ['-q', '-F', fs]);
  writeInto(target, readFileSync(fs), kept.offset);
  const before = hashOf(target, kept);
  const only = { skip: ['application'] } as const;
  const reachable = () => assert.match(tool('sfdisk', ['--dump', target]), `start=${`${kept.offset / 512}`.padStart(12)}`);
  const wishes = { as: 'none', kinds: only } as const;
  const plan = await planClone(requestOf(mbr, target, wishes));
  assert.match(plan.parts.find(({ fate }) => fate === 'kept')?.range.offset.toString() ?? '', String(kept.offset));
  for (const phase of ['copy', 'verify', 'commit']) {
    const aborting = new AbortController();
    await executeClone(await planClone(requestOf(mbr, target, wishes)), {
      signal: aborting.signal,
      onEvent: (event) => event.type === 'phase' && event.phase === phase && aborting.abort(new Error('stop here')),
    }).catch(() => undefined);
    reachable();
    assert.is(hashOf(target, kept), before);
  }
  await clone(mbr, target, wishes);
  reachable();
  assert.is(hashOf(target, kept), before);
  tool('sfdisk', ['--verify', target]);
});

test.run();
