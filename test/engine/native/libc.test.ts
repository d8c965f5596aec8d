import { execFileSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  blockGeometry,
  discardBlocks,
  isReadOnlyDevice,
  rereadPartitions,
  zeroBlocks,
} from '../../../src/engine/native/block-device.ts';
import {
  dropCache,
  mincorePages,
  punchHole,
  residentPages,
  SystemCallError,
  seekData,
  seekHole,
  startWriteback,
  tryLock,
} from '../../../src/engine/native/libc.ts';
import { loopBacking } from '../../../src/engine/native/loop-device.ts';
import { attachLoop } from '../../fixtures/loop.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { memory, sparseFile } from '../image/places.ts';

const MiB = 1 << 20;
const folder = tempDir();

async function withFile(path: string, flags: string, work: (file: FileHandle) => Promise<void>): Promise<void> {
  const file = await open(path, flags);
  try {
    await work(file);
  } finally {
    await file.close();
  }
}

async function systemCallError(work: () => unknown): Promise<SystemCallError> {
  try {
    await work();
  } catch (error) {
    assert.instance(error, SystemCallError);
    return error as SystemCallError;
  }
  return assert.unreachable('the call should have failed') as never;
}

test('errors carry the call and the name of the number, also when many calls fail at once', () =>
  withFile(sparseFile(folder, MiB), 'r', async ({ fd }) => {
    const errors = await Promise.all(
      Array.from({ length: 200 }, (_, i) =>
        systemCallError(() =>
          i % 3 === 0 ? punchHole(fd, 0, 4096) : i % 3 === 1 ? punchHole(fd, -1, 4096) : startWriteback(-1, 0, 1),
        ),
      ),
    );
    errors.forEach((error, i) => {
      assert.is(error.syscall, i % 3 === 2 ? 'sync_file_range' : 'fallocate');
      assert.is(error.errnoName, i % 3 === 1 ? 'EINVAL' : 'EBADF');
      assert.is(error.message, `${error.syscall}: ${error.errnoName}`);
    });
  }));

test('data and holes of a file beyond 4 GiB are found, and punched', () =>
  withFile(sparseFile(folder, 6 * 1024 * MiB), 'r+', async (file) => {
    const at = 5 * 1024 * MiB;
    await file.write(Buffer.alloc(MiB, 1), 0, MiB, at);
    assert.is(seekData(file.fd, 0), at);
    assert.is(seekHole(file.fd, at), at + MiB);
    assert.is(seekHole(file.fd, 0), 0);
    assert.is(seekData(file.fd, at + MiB), undefined);
    await punchHole(file.fd, at + 4096, MiB - 8192);
    assert.is(seekHole(file.fd, at), at + 4096);
    assert.is(seekData(file.fd, at + 4096), at + MiB - 4096);
    assert.is((await file.stat()).size, 6 * 1024 * MiB);
    assert.is((await systemCallError(() => seekHole(file.fd, 7 * 1024 * MiB))).errnoName, 'ENXIO');
  }));

test('cached pages are counted, and dropped once they are clean', () =>
  withFile(sparseFile(folder, MiB), 'r+', async (file) => {
    await file.write(Buffer.alloc(MiB, 1), 0, MiB, 0);
    assert.is(residentPages(file.fd, 0, MiB), 256);
    await startWriteback(file.fd, 0, MiB);
    await file.sync();
    await dropCache(file.fd, 0, 0);
    assert.is(residentPages(file.fd, 0, MiB), 0);
    await file.read(Buffer.alloc(1), 0, 1, 512 * 1024);
    assert.ok(residentPages(file.fd, MiB / 2, MiB / 2) > 0);
    assert.is(mincorePages(file.fd, MiB / 2, MiB / 2), residentPages(file.fd, MiB / 2, MiB / 2));
    assert.is((await systemCallError(() => mincorePages(file.fd, 1, 4096))).syscall, 'mmap');
  }));

test('pages that cannot be dropped are counted as they are', () => {
  const place = memory('ramfs');
  return withFile(sparseFile(place.folder, MiB), 'r+', async (file) => {
    await file.write(Buffer.alloc(MiB, 1), 0, MiB, 0);
    await file.sync();
    await dropCache(file.fd, 0, 0);
    assert.is(residentPages(file.fd, 0, MiB), 256);
    assert.is((await systemCallError(() => punchHole(file.fd, 0, 4096))).errnoName, 'EOPNOTSUPP');
  });
});

test('locks keep each other out, share, and go with the descriptor', async () => {
  const path = sparseFile(folder, MiB);
  const [one, two] = [await open(path, 'r+'), await open(path, 'r')];
  assert.ok(tryLock(one.fd, 'shared'));
  assert.ok(tryLock(two.fd, 'shared'));
  assert.not(tryLock(one.fd));
  await two.close();
  assert.ok(tryLock(one.fd));
  const three = await open(path, 'r');
  assert.not(tryLock(three.fd, 'shared'));
  await one.close();
  assert.ok(tryLock(three.fd));
  await three.close();
  assert.is((await systemCallError(() => tryLock(-1))).errnoName, 'EBADF');
});

test('a block device tells its geometry, zeroes and discards sectors, and refuses parts of them', async () => {
  const path = sparseFile(folder, MiB);
  await withFile(path, 'r+', async (file) => void (await file.write(Buffer.alloc(MiB, 1), 0, MiB, 0)));
  const loop = attachLoop(path, { sectorSize: 4096 });
  await withFile(loop.device, 'r+', async (file) => {
    assert.equal(blockGeometry(file.fd), { size: MiB, sectorSize: 4096, physicalSectorSize: 4096 });
    assert.not(isReadOnlyDevice(file.fd));
    await zeroBlocks(file.fd, 4096, 8192);
    const bytes = Buffer.alloc(16_384);
    await file.read(bytes, 0, 16_384, 0);
    assert.equal([bytes[4095], bytes[4096], bytes[12_287], bytes[12_288]], [1, 0, 0, 1]);
    assert.is((await systemCallError(() => zeroBlocks(file.fd, 512, 4096))).errnoName, 'EINVAL');
    const allocated = statSync(path).blocks;
    await discardBlocks(file.fd, 512 * 1024, 512 * 1024);
    await punchHole(file.fd, 16_384, 65_536);
    await file.sync();
    assert.ok(statSync(path).blocks < allocated);
    assert.is((await systemCallError(() => rereadPartitions(file.fd))).errnoName, 'EINVAL');
    const backing = loopBacking(file.fd);
    const { dev, ino } = statSync(path, { bigint: true });
    assert.equal(backing, { device: dev, inode: ino, rdevice: 0n, offset: 0, directIo: false });
  });
  const upper = attachLoop(loop.device, { readOnly: true });
  await withFile(upper.device, 'r', async (file) => {
    assert.is(loopBacking(file.fd)?.rdevice, statSync(loop.device, { bigint: true }).rdev);
    assert.ok(isReadOnlyDevice(file.fd));
  });
  upper.detach();
  loop.detach();
});

test('a loop device that is not attached has nothing behind it, a file is none', async () => {
  const number = execFileSync('losetup', ['--find'], { encoding: 'utf8' }).trim();
  await withFile(number, 'r', async (file) => assert.is(loopBacking(file.fd), undefined));
  await withFile(sparseFile(folder, MiB), 'r', async (file) => {
    assert.is((await systemCallError(() => loopBacking(file.fd))).errnoName, 'ENOTTY');
    assert.is((await systemCallError(() => blockGeometry(file.fd))).errnoName, 'ENOTTY');
  });
});

test.run();
