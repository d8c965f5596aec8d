import { execFileSync } from 'node:child_process';
import { linkSync, symlinkSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ImageIoError } from '../../../src/engine/image/errors.ts';
import { sharesStorage, storageBelow } from '../../../src/engine/image/storage.ts';
import { attachLoop, mount } from '../../fixtures/loop.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { partitionedDisk } from './partitions.ts';
import { fileSystem, memory, sparseFile } from './places.ts';

const MiB = 1 << 20;
const folder = tempDir('with blanks in it');

async function share(a: string, b: string): Promise<boolean> {
  const there = await sharesStorage(a, b);
  assert.is(await sharesStorage(b, a), there, 'it must not matter which is asked about');
  return there;
}

async function below(path: string): Promise<string[]> {
  return (await storageBelow(path)).links.map(({ kind, to }) => `${kind} ${to.path}`);
}

test('a file shares with itself under every name, not with its neighbour', async () => {
  const [file, neighbour] = [sparseFile(folder, MiB), sparseFile(folder, MiB)];
  const [hard, soft] = [join(folder, 'hard'), join(folder, 'soft')];
  linkSync(file, hard);
  symlinkSync(hard, soft);
  for (const name of [file, hard, soft, join(folder, '.', '..', folder.split('/').at(-1) ?? '', 'soft')]) {
    assert.ok(await share(file, name), name);
  }
  assert.not(await share(file, neighbour));
});

test('loop devices share with their file, with each other, and with a loop device over them', async () => {
  const [file, other] = [sparseFile(folder, 2 * MiB), sparseFile(folder, 2 * MiB)];
  const [one, two, unrelated] = [attachLoop(file), attachLoop(file, { offset: 512 }), attachLoop(other)];
  const upper = attachLoop(one.device);
  assert.ok(await share(file, one.device));
  assert.ok(await share(one.device, two.device));
  assert.ok(await share(file, upper.device));
  assert.ok(await share(two.device, upper.device));
  assert.not(await share(one.device, unrelated.device));
  assert.not(await share(file, unrelated.device));
  assert.not(await share(file, other));
  assert.equal((await below(upper.device)).slice(0, 2), [`loop ${one.device}`, `loop ${file}`]);
  for (const loop of [upper, one, two, unrelated]) loop.detach();
});

test('a loop device shares with its file when the name that it knows is gone', async () => {
  const file = sparseFile(folder, MiB);
  const other = join(folder, 'second name');
  linkSync(file, other);
  const loop = attachLoop(file);
  unlinkSync(file);
  assert.ok(await share(other, loop.device));
  assert.not(await share(sparseFile(folder, MiB, file.split('/').at(-1)), loop.device));
  loop.detach();
});

test('partitions share with their disk and not with each other', async () => {
  const file = sparseFile(folder, 72 * MiB);
  const { disk, first, second } = partitionedDisk(file);
  const upper = attachLoop(first);
  assert.ok(await share(first, disk.device));
  assert.ok(await share(first, file));
  assert.ok(await share(first, upper.device));
  assert.ok(await share(disk.device, upper.device));
  assert.not(await share(first, second));
  assert.not(await share(upper.device, second));
  // Whether its range lies in that partition is not asked.
  const whole = attachLoop(disk.device);
  assert.ok(await share(whole.device, second));
  for (const loop of [whole, upper, disk]) loop.detach();
});

for (const type of ['ext4', 'xfs', 'btrfs'] as const) {
  test(`an image that is stored on the other one shares with it (${type})`, async () => {
    const place = fileSystem(type, { parent: folder });
    const loop = place.loop?.device ?? '';
    const [inside, neighbour] = [sparseFile(place.folder, MiB), sparseFile(place.folder, MiB)];
    assert.ok(await share(inside, loop));
    assert.ok(await share(inside, place.backing ?? ''));
    assert.not(await share(inside, neighbour));
    assert.not(await share(inside, sparseFile(folder, MiB)));
    const window = attachLoop(inside);
    assert.ok(await share(window.device, loop));
    assert.ok(await share(window.device, place.backing ?? ''));
    assert.not(await share(window.device, neighbour));
    window.detach();
  });
}

test('an image on one partition shares with that and with the disk, not with the other partition', async () => {
  const file = sparseFile(folder, 72 * MiB);
  const { disk, first, second } = partitionedDisk(file);
  execFileSync('mkfs.ext4', ['-q', first]);
  const mounted = mount(first, 'ext4');
  const inside = sparseFile(mounted.path, MiB);
  assert.ok(await share(inside, first));
  assert.ok(await share(inside, disk.device));
  assert.ok(await share(inside, file));
  assert.not(await share(inside, second));
  mounted.unmount();
  disk.detach();
});

test('an image on any device of a btrfs shares with all of them', async () => {
  const loops = [0, 1].map(() => attachLoop(sparseFile(folder, 128 * MiB)));
  const [first, second] = loops.map(({ device }) => device) as [string, string];
  execFileSync('mkfs.btrfs', ['-q', '-f', first, second]);
  execFileSync('btrfs', ['device', 'scan', first, second]);
  const mounted = mount(first, 'btrfs');
  execFileSync('btrfs', ['-q', 'subvolume', 'create', join(mounted.path, 'volume')]);
  const inside = sparseFile(join(mounted.path, 'volume'), MiB);
  assert.ok(await share(inside, first));
  assert.ok(await share(inside, second));
  mounted.unmount();
  for (const loop of loops) loop.detach();
});

test('memory stands on nothing', async () => {
  const place = memory('tmpfs');
  assert.equal(await below(sparseFile(place.folder, MiB)), []);
});

test('a path that is not there is a typed error', async () => {
  try {
    await sharesStorage(sparseFile(folder, MiB), join(folder, 'missing', 'file'));
    assert.unreachable();
  } catch (error) {
    assert.instance(error, ImageIoError);
  }
});

test.run();
