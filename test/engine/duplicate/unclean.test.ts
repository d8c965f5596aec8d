import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { planClone } from '../../../src/engine/duplicate/make-plan.ts';
import type { ByteRange } from '../../../src/engine/image/contract.ts';
import { attachLoop, mount } from '../../fixtures/loop.ts';
import { makeServerDisk } from '../../fixtures/server-disk.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { checkFileSystem, filesOf, hashOf } from './disk-facts.ts';
import { clone, giveProfile, refusal, requestOf, targetWithProfile } from './requests.ts';
import { copyDisk, makeSmallDisk, newFile, parts, profileFile } from './small-disk.ts';

const folder = tempDir('unclean');
const fileCount = 20;

function writeDurably(place: string): void {
  for (let index = 0; index < fileCount; index++) {
    const file = openSync(join(place, `durable-${index}`), 'wx');
    writeSync(file, Buffer.alloc(3000, `what was promised ${index} `));
    fsyncSync(file);
    closeSync(file);
  }
}

/** Copies the disk while a part of it is mounted and has just been written to: as after a power cut. */
function cutPower(disk: string, range: ByteRange, type: 'ext4' | 'xfs', copy: string): void {
  const loop = attachLoop(disk, { offset: range.offset, size: range.length });
  const mounted = mount(loop.device, type);
  try {
    writeDurably(mounted.path);
    copyDisk(disk, copy);
  } finally {
    mounted.unmount();
    loop.detach();
  }
}

/** Mounts the part for writing, which replays its journal, and counts the durable files with their right size. */
function durableFiles(disk: string, range: ByteRange, type: 'ext4' | 'xfs'): number {
  const loop = attachLoop(disk, { offset: range.offset, size: range.length });
  try {
    mount(loop.device, type).unmount();
  } finally {
    loop.detach();
  }
  checkFileSystem(disk, range, type);
  return [...filesOf(disk, range, type)].filter(([path, about]) => path.startsWith('/durable-') && / 3000 /.test(about)).length;
}

test('files that were fsynced before a power cut survive the clone of an unclean ext4', async () => {
  const [source, cut] = [join(folder, 'ext4.img'), join(folder, 'ext4-cut.img')];
  await makeSmallDisk(source);
  cutPower(source, parts.app, 'ext4', cut);
  const target = await targetWithProfile(folder);
  const { plan } = await clone(cut, target);
  const part = plan.parts.find(({ number }) => number === parts.app.number);
  assert.match(part?.how ?? '', /^every allocated byte: /);
  assert.ok(plan.notes.some((note) => note.includes('partition 4 ("app") is copied whole')));
  assert.is(hashOf(target, parts.app), hashOf(cut, parts.app));
  assert.is(durableFiles(target, parts.app, 'ext4'), fileCount);
});

test('the root of an unclean system is made itself too, and keeps what was fsynced', async () => {
  const [source, cut] = [join(folder, 'root.img'), join(folder, 'root-cut.img')];
  await makeSmallDisk(source);
  cutPower(source, parts.root, 'ext4', cut);
  const target = await targetWithProfile(folder, 'root-target.img');
  const before = hashOf(target, { offset: 32_768, length: 1_015_808 });
  await clone(cut, target);
  assert.is(hashOf(target, { offset: 32_768, length: 1_015_808 }), before);
  checkFileSystem(target, parts.root, 'ext4');
  const files = filesOf(target, parts.root);
  assert.is([...files.keys()].filter((path) => path.startsWith('/durable-')).length, fileCount);
  assert.ok(files.has('/etc/systemd/network/10-doppel-lan0.network'));
});

test('files that were fsynced before a power cut survive the clone of an unclean XFS', async () => {
  const [source, cut, target] = [join(folder, 'xfs.img'), join(folder, 'xfs-cut.img'), join(folder, 'xfs-target.img')];
  const disk = await makeServerDisk({ path: source });
  const { offset, size } = disk.parts.find(({ name }) => name === 'data') ?? { offset: 0, size: 0 };
  const data = { offset, length: size };
  cutPower(source, data, 'xfs', cut);
  newFile(target, disk.size);
  await giveProfile(target, profileFile(folder));
  const { plan } = await clone(cut, target);
  assert.match(plan.parts.find(({ number }) => number === 4)?.how ?? '', /^every allocated byte: /);
  assert.is(durableFiles(target, data, 'xfs'), fileCount);
});

test('a source that is mounted for writing is refused unless --allow-inconsistent says otherwise', async () => {
  const source = join(folder, 'mounted.img');
  await makeSmallDisk(source);
  const target = await targetWithProfile(folder, 'of-mounted.img');
  const loop = attachLoop(source, { offset: parts.app.offset, size: parts.app.length });
  const mounted = mount(loop.device, 'ext4');
  const error = await refusal(() => planClone(requestOf(source, target)));
  assert.is(error.code, 'SOURCE_IN_USE');
  assert.is(error.exitCode, 4);
  assert.match(error.message, mounted.path);
  assert.match(error.todo, /snapshot/);
  const { plan } = await clone(source, target, { allowInconsistent: true });
  mounted.unmount();
  loop.detach();
  assert.ok(plan.warnings.some((warning) => warning.includes('in use')));
  assert.ok(plan.parts.filter(({ fate }) => fate === 'copied').every(({ how }) => how === 'every byte: the source is in use'));
  checkFileSystem(target, parts.root, 'ext4');
});

test.run();
