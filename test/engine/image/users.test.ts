import { execFileSync } from 'node:child_process';
import { linkSync, mkdirSync, renameSync, rmSync, symlinkSync, unlinkSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ImageIoError } from '../../../src/engine/image/errors.ts';
import { imageUsers } from '../../../src/engine/image/users.ts';
import { tryLock } from '../../../src/engine/native/libc.ts';
import { atEnd } from '../../fixtures/cleanup.ts';
import { attachLoop, mount } from '../../fixtures/loop.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { partitionedDisk } from './partitions.ts';
import { fileSystem, sparseFile } from './places.ts';
import { firstLine, start, until } from './processes.ts';

const MiB = 1 << 20;
const folder = tempDir('with blanks in it');

async function seen(path: string): Promise<string[]> {
  return (await imageUsers(path)).map(({ kind, writes }) => `${kind}${writes ? ' writes' : ''}`);
}

function formatted(size = 16 * MiB): string {
  const path = sparseFile(folder, size);
  execFileSync('mkfs.ext4', ['-q', path]);
  return path;
}

test('a file and a block device that nobody uses have no users', async () => {
  const file = sparseFile(folder, MiB);
  assert.equal(await imageUsers(file), []);
  const loop = attachLoop(file);
  assert.equal(await imageUsers(loop.device), []);
  loop.detach();
});

test('a loop device uses the file, and whoever mounts it writes to the file', async () => {
  const file = formatted();
  const loop = attachLoop(file);
  assert.equal(await seen(file), ['loop']);
  assert.match((await imageUsers(file))[0]?.what ?? '', `${file} is attached to ${loop.device}`);

  const writable = mount(loop.device, 'ext4');
  assert.equal(await seen(loop.device), ['mount writes']);
  assert.equal(await seen(file), ['loop writes', 'mount writes']);
  assert.is((await imageUsers(loop.device))[0]?.what, `${loop.device} is mounted on ${writable.path} (read-write)`);
  writable.unmount();

  const readable = mount(loop.device, 'ext4', 'ro');
  assert.equal(await seen(loop.device), ['mount']);
  assert.equal(await seen(file), ['loop', 'mount']);
  assert.match((await imageUsers(loop.device))[0]?.what ?? '', 'read-only');
  readable.unmount();
  loop.detach();
});

test('a mount point with blanks is told as it is called', async () => {
  const loop = attachLoop(formatted());
  const point = join(folder, 'a mount\\point');
  mkdirSync(point);
  execFileSync('mount', ['-o', 'ro', loop.device, point]);
  const undo = atEnd(() => execFileSync('umount', [point]));
  assert.is((await imageUsers(loop.device))[0]?.what, `${loop.device} is mounted on ${point} (read-only)`);
  execFileSync('umount', [point]);
  undo();
  loop.detach();
});

test('a bind mount that is read-only does not hide that the file system is read-write', async () => {
  const loop = attachLoop(formatted());
  const whole = mount(loop.device, 'ext4');
  execFileSync('mount', ['-o', 'remount,bind,ro', whole.path]);
  assert.equal(await seen(loop.device), ['mount writes']);
  whole.unmount();
  loop.detach();
});

test('a file is recognised behind symbolic links, other names and other names of its loop device', async () => {
  const file = formatted();
  const other = join(folder, 'hard link');
  const link = join(folder, 'by-id');
  linkSync(file, other);
  symlinkSync(file, link);
  const loop = attachLoop(link);
  const device = join(folder, 'by-label');
  symlinkSync(loop.device, device);
  for (const path of [file, other, link]) assert.equal(await seen(path), ['loop']);
  const mounted = mount(device, 'ext4');
  assert.equal(await seen(device), ['mount writes']);
  assert.equal(await seen(other), ['loop writes', 'mount writes']);
  mounted.unmount();

  // The kernel remembers the name under which it was attached.
  unlinkSync(file);
  assert.equal(await seen(other), ['loop']);
  renameSync(other, file);
  assert.equal(await seen(file), ['loop']);
  const impostor = sparseFile(folder, MiB, 'hard link');
  assert.equal(await imageUsers(impostor), []);
  rmSync(file);
  assert.equal(await imageUsers(impostor), []);
  assert.equal(await imageUsers(loop.device), []);
  loop.detach();
});

test('a loop device over a block device uses it', async () => {
  const lower = attachLoop(formatted());
  const upper = attachLoop(lower.device);
  assert.equal(await seen(lower.device), ['loop']);
  const mounted = mount(upper.device, 'ext4');
  assert.equal(await seen(lower.device), ['loop writes', 'mount writes']);
  mounted.unmount();
  upper.detach();
  lower.detach();
});

test('swap writes, on a device and in a file', async () => {
  const file = sparseFile(folder, 16 * MiB);
  const loop = attachLoop(file);
  execFileSync('mkswap', [loop.device]);
  execFileSync('swapon', [loop.device]);
  const undo = atEnd(() => execFileSync('swapoff', [loop.device]));
  assert.equal(await seen(loop.device), ['swap writes']);
  assert.equal(await seen(file), ['loop writes', 'swap writes']);
  execFileSync('swapoff', [loop.device]);
  undo();
  loop.detach();
});

test('a btrfs mount has no device number of its own, and is found on all its devices', async () => {
  const devices = [0, 1].map(() => attachLoop(sparseFile(folder, 128 * MiB)));
  const [first, second] = devices.map(({ device }) => device) as [string, string];
  execFileSync('mkfs.btrfs', ['-q', '-f', first, second]);
  execFileSync('btrfs', ['device', 'scan', first, second]);
  const mounted = mount(first, 'btrfs');
  assert.equal(await seen(first), ['mount writes']);
  assert.equal(await seen(second), ['mount writes']);
  mounted.unmount();
  for (const loop of devices) loop.detach();
});

test('a disk is used by who uses its partitions, a partition not by who uses its neighbour', async () => {
  const file = sparseFile(folder, 72 * MiB);
  const { disk, first, second } = partitionedDisk(file);
  execFileSync('mkfs.ext4', ['-q', first]);
  assert.equal(await imageUsers(disk.device), []);
  const mounted = mount(first, 'ext4');
  assert.equal(await seen(first), ['mount writes']);
  assert.equal(await imageUsers(second), []);
  assert.equal(await seen(disk.device), ['mount writes']);
  assert.match((await imageUsers(disk.device))[0]?.what ?? '', `${first} is mounted on`);
  assert.equal(await seen(file), ['loop writes', 'mount writes']);
  mounted.unmount();

  const upper = attachLoop(disk.device);
  assert.equal(await seen(second), ['loop']);
  upper.detach();
  disk.detach();
});

test('a mount in another namespace, and a program that holds the device, are found by being in the way', async () => {
  const file = formatted();
  const loop = attachLoop(file);
  const point = join(folder, 'private');
  mkdirSync(point);
  const script = `mount -t ext4 '${loop.device}' '${point}' && echo mounted && cat`;
  const elsewhere = start('unshare', '--mount', '--propagation', 'private', 'sh', '-c', script);
  await firstLine(elsewhere);
  assert.equal(await seen(loop.device), ['holder writes']);
  assert.equal(await seen(file), ['loop writes', 'holder writes']);
  elsewhere.child.stdin?.end();
  await elsewhere.stop();
  await until('the device is free', async () => (await imageUsers(loop.device)).length === 0);
  loop.detach();
});

test('a file that a virtual machine writes to is locked for writing, one that it reads is not', async () => {
  for (const place of [folder, fileSystem('btrfs').folder]) {
    const file = sparseFile(place, MiB);
    const writer = start('qemu-io', '-f', 'raw', file);
    await until('it is locked', async () => (await imageUsers(file)).length > 0);
    assert.equal(await seen(file), ['lock writes']);
    assert.match((await imageUsers(file))[0]?.what ?? '', `${file} is locked by another process, probably a virtual machine`);
    await writer.stop();
    assert.equal(await imageUsers(file), []);

    const reader = start('qemu-io', '-r', '-f', 'raw', file);
    await until('it is locked', async () => (await imageUsers(file)).length > 0);
    assert.equal(await seen(file), ['lock']);
    await reader.stop();
  }
});

test('a real virtual machine that runs from a disk is found, on a file and on a block device', async () => {
  const file = sparseFile(folder, MiB);
  const loop = attachLoop(sparseFile(folder, MiB));
  const machine = start(
    ...(['qemu-system-x86_64', '-S', '-nodefaults', '-display', 'none', '-monitor', 'stdio', '-m', '32'] as const),
    ...['-drive', `file=${file},format=raw,if=virtio`],
    ...['-drive', `file=${loop.device},format=raw,if=virtio,readonly=on`],
  );
  await until('both are locked', async () => (await imageUsers(file)).length > 0 && (await imageUsers(loop.device)).length > 0);
  assert.equal(await seen(file), ['lock writes']);
  assert.equal(await seen(loop.device), ['lock']);
  await machine.stop('SIGKILL');

  const writer = start('qemu-io', '-f', 'raw', loop.device);
  await until('it is locked', async () => (await imageUsers(loop.device)).length > 0);
  assert.equal(await seen(loop.device), ['lock writes']);
  await writer.stop();
  loop.detach();
});

test('locks of other processes are found with their owner', async () => {
  const file = sparseFile(folder, MiB);
  for (const [flag, expected] of [
    ['--exclusive', 'lock writes'],
    ['--shared', 'lock'],
  ] as const) {
    const owner = start('flock', flag, file, 'cat');
    await until('it is locked', async () => (await imageUsers(file)).length > 0);
    assert.equal(await seen(file), [expected]);
    assert.is((await imageUsers(file))[0]?.what, `${file} is locked by process ${owner.child.pid} (flock)`);
    owner.child.stdin?.end();
    await owner.stop();
    await until('it is free', async () => (await imageUsers(file)).length === 0);
  }
});

test('who waits for a lock does not hold it, and udev may lock a device for a moment', async () => {
  const file = sparseFile(folder, MiB);
  const handle = await open(file, 'r+');
  assert.ok(tryLock(handle.fd));
  const waiting = start('flock', '--exclusive', file, 'true');
  await until('it waits', () =>
    execFileSync('cat', ['/proc/locks'], { encoding: 'utf8' }).includes(`-> FLOCK  ADVISORY  WRITE ${waiting.child.pid} `),
  );
  assert.equal(await seen(file), ['lock writes']);
  assert.match((await imageUsers(file))[0]?.what ?? '', `process ${process.pid} `);
  await waiting.stop();
  await handle.close();

  const loop = attachLoop(file);
  const device = await open(loop.device, 'r');
  assert.ok(tryLock(device.fd));
  assert.equal(await imageUsers(loop.device), []);
  await device.close();
  loop.detach();
});

test('what cannot be examined is a typed error', async () => {
  const path = join(folder, 'missing');
  try {
    await imageUsers(path);
    assert.unreachable();
  } catch (error) {
    assert.instance(error, ImageIoError);
    assert.is((error as ImageIoError).message, `${path} does not exist`);
  }
});

test.run();
