import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { BlockImage } from '../../../src/engine/image/block.ts';
import { ReadOnlyImageError } from '../../../src/engine/image/errors.ts';
import { attachLoop } from '../../../src/engine/image/loop.ts';
import { attachLoop as losetup } from '../../fixtures/loop.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { assertBytes, ioError } from './conformance.ts';
import { sharedMemory, sparseFile } from './places.ts';
import { firstLine, start, until } from './processes.ts';
import { random } from './random.ts';

const MiB = 1 << 20;
const folder = tempDir();
const child = fileURLToPath(new URL('hold-window.ts', import.meta.url));

function attached(device: string): boolean {
  return existsSync(`/sys/block/${device.replace('/dev/', '')}/loop/backing_file`);
}

function filled(size = 4 * MiB): { file: string; content: Buffer } {
  const file = sparseFile(folder, size);
  const content = random(size).bytes(size);
  writeFileSync(file, content);
  return { file, content };
}

test('a window shows exactly the range, and what is written lands there', async () => {
  const { file, content } = filled();
  for (const range of [
    { offset: 512, length: 512 },
    { offset: MiB + 512, length: 3 * 512 },
    { offset: MiB, length: MiB },
    { offset: 4 * MiB - 4608, length: 4608 },
    { offset: 0, length: 4 * MiB },
  ]) {
    const window = await attachLoop(file, range, { readOnly: false });
    const image = await BlockImage.open(window.device, 'write');
    try {
      assert.is(image.size, range.length);
      const shown = new Uint8Array(range.length);
      await image.read(shown, 0);
      assertBytes(shown, content.subarray(range.offset, range.offset + range.length), 'the window');
      const fresh = random(range.offset).bytes(range.length);
      await image.write(fresh, 0);
      content.set(fresh, range.offset);
      await image.flush();
      await ioError(() => image.write(new Uint8Array(1), range.length), 'a write behind the window');
    } finally {
      await image.close();
      await window.close();
    }
    assertBytes(readFileSync(file), content, `the file after writing ${range.length} at ${range.offset}`);
  }
});

test('the kernel itself writes nothing outside', async () => {
  const { file, content } = filled(32 * MiB);
  const range = { offset: 8 * MiB, length: 16 * MiB };
  const window = await attachLoop(file, range, { readOnly: false });
  execFileSync('mkfs.ext4', ['-q', window.device]);
  execFileSync('blkdiscard', ['--force', window.device], { stdio: 'ignore' });
  assert.throws(() =>
    execFileSync('dd', ['if=/dev/urandom', `of=${window.device}`, 'bs=1M', 'seek=15', 'count=3'], { stdio: 'ignore' }),
  );
  await window.close();
  const after = readFileSync(file);
  assertBytes(after.subarray(0, range.offset), content.subarray(0, range.offset), 'what is before the window');
  const end = range.offset + range.length;
  assertBytes(after.subarray(end), content.subarray(end), 'what is behind the window');
  assert.not.equal(after.subarray(range.offset, end), content.subarray(range.offset, end));
});

test('a read-only window cannot be written', async () => {
  const { file, content } = filled();
  const window = await attachLoop(file, { offset: 0, length: MiB }, { readOnly: true });
  assert.is(readFileSync(`/sys/block/${window.device.slice(5)}/ro`, 'utf8').trim(), '1');
  try {
    await BlockImage.open(window.device, 'write');
    assert.unreachable('a read-only device was opened for writing');
  } catch (error) {
    assert.instance(error, ReadOnlyImageError);
    assert.match((error as ReadOnlyImageError).todo, `blockdev --setrw ${window.device}`);
  }
  assert.throws(() => execFileSync('mkfs.ext4', ['-q', window.device], { stdio: 'ignore' }));
  await window.close();
  assertBytes(readFileSync(file), content, 'the file');
});

test('a window works over a block device, also one with large sectors', async () => {
  for (const sectorSize of [512, 4096] as const) {
    const { file, content } = filled();
    const disk = losetup(file, { sectorSize });
    const window = await attachLoop(disk.device, { offset: MiB, length: MiB }, { readOnly: false });
    const shown = readFileSync(window.device);
    assertBytes(shown, content.subarray(MiB, 2 * MiB), 'the window');
    await window.close();
    await until('it is gone', () => !attached(window.device));
    disk.detach();
  }
});

test('closing detaches, and may be done again and at once', async () => {
  const { file } = filled();
  const window = await attachLoop(file, { offset: 0, length: MiB }, { readOnly: false });
  assert.ok(attached(window.device));
  await Promise.all([window.close(), window.close()]);
  await window.close();
  await until('it is gone', () => !attached(window.device));
});

test('eight windows at once are eight devices, each over its own range', async () => {
  const { file, content } = filled(8 * MiB);
  const windows = await Promise.all(
    Array.from({ length: 8 }, (_, i) => attachLoop(file, { offset: i * MiB, length: MiB }, { readOnly: i % 2 === 0 })),
  );
  assert.is(new Set(windows.map(({ device }) => device)).size, 8);
  windows.forEach(({ device }, i) => {
    assertBytes(readFileSync(device), content.subarray(i * MiB, (i + 1) * MiB), device);
  });
  await Promise.all(windows.map((window) => window.close()));
  for (const { device } of windows) await until('it is gone', () => !attached(device));
});

test('a window goes away when its owner is killed, with what is mounted from it when that is unmounted', async () => {
  const { file } = filled(32 * MiB);
  const owner = start(process.execPath, '--import', 'tsx', child, file, '0', String(16 * MiB));
  const device = await firstLine(owner);
  assert.ok(attached(device));
  await owner.stop('SIGKILL');
  await until('it is gone', () => !attached(device));

  const second = start(process.execPath, '--import', 'tsx', child, file, '0', String(16 * MiB));
  const busy = await firstLine(second);
  execFileSync('mkfs.ext4', ['-q', busy]);
  const point = tempDir();
  execFileSync('mount', ['-t', 'ext4', busy, point]);
  await second.stop('SIGKILL');
  assert.ok(attached(busy), 'a mounted window stays');
  writeFileSync(join(point, 'still here'), 'yes');
  execFileSync('umount', [point]);
  await until('it is gone', () => !attached(busy));
});

test('what cannot be a window is a typed error and leaves nothing attached', async () => {
  const { file } = filled();
  const size = 4 * MiB;
  for (const [offset, length] of [
    [1, 512],
    [0, 511],
    [0, 0],
    [-512, 512],
    [512, -512],
    [size, 512],
    [size - 512, 1024],
    [Number.NaN, 512],
    [0, Number.NaN],
  ] as const) {
    const error = await ioError(() => attachLoop(file, { offset, length }, { readOnly: false }), `${length} at ${offset}`);
    assert.is(error.data.operation, 'open');
  }
  await ioError(() => attachLoop(join(folder, 'missing'), { offset: 0, length: 512 }, { readOnly: true }), 'no file');
  const over = () =>
    execFileSync('losetup', ['--list', '--noheadings', '--output', 'BACK-FILE', '--associated', file], { encoding: 'utf8' });
  await until('nothing is attached', () => over() === '');
});

test('without privileges the error says what is missing', () => {
  const open = sharedMemory().folder;
  chmodSync(open, 0o755);
  const file = sparseFile(open, MiB);
  chmodSync(file, 0o666);
  try {
    execFileSync(process.execPath, ['--import', 'tsx', child, file, '0', '512', 'nobody'], { encoding: 'utf8', stdio: 'pipe' });
    assert.unreachable('a loop device without root');
  } catch (error) {
    const { stderr } = error as { stderr: string };
    assert.match(stderr, `ImageIoError: open of 512 bytes at byte 0 failed on ${file}: no loop device could be set up`);
    assert.match(stderr, /EACCES: permission denied, open '\/dev\/loop-control'\); this needs root/);
  }
});

test.run();
