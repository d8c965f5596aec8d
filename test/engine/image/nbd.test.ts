import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ConnectionLostError } from '../../../src/engine/errors.ts';
import { ImageIoError, ReadOnlyImageError } from '../../../src/engine/image/errors.ts';
import { openSource, openTarget } from '../../../src/engine/image/open.ts';
import { failure } from '../../fixtures/failure.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { assertBytes, extentsOf, ioError } from './conformance.ts';
import { nbdkit } from './nbd-servers.ts';
import { until } from './processes.ts';

const MiB = 1 << 20;

test('a window shows the range to the kernel, and what it wrote is at the server when it is closed', async () => {
  const log = join(tempDir(), 'log');
  const server = await nbdkit('--filter=log', 'memory', '8M', `logfile=${log}`);
  const image = await openTarget(server.uri);
  await image.write(Buffer.alloc(MiB, 1), MiB);
  await image.flush();
  const window = await image.openWindow({ offset: MiB, length: MiB }, { readOnly: false });
  assertBytes(readFileSync(window.device), Buffer.alloc(MiB, 1), 'the window');
  const flushes = (): number =>
    readFileSync(log, 'utf8')
      .split('\n')
      .filter((line) => / Flush /.test(line)).length;
  const before = flushes();
  writeFileSync(window.device, Buffer.alloc(4096, 2));
  await Promise.all([window.close(), window.close()]);
  assert.ok(flushes() > before, 'the flush of the window reached the server');
  await until('the loop device is free', () => !existsSync(`/sys/block/${window.device.slice(5)}/loop`));
  assert.not.match(readFileSync('/proc/mounts', 'utf8'), 'nbdfuse');
  const page = Buffer.alloc(4096);
  await image.read(page, MiB);
  assertBytes(page, Buffer.alloc(4096, 2), 'what the window wrote');
  await image.write(Buffer.alloc(4096, 3), MiB);
  await image.flush();
  const again = await image.openWindow({ offset: MiB, length: MiB }, { readOnly: true });
  assertBytes(
    readFileSync(again.device).subarray(0, 8192),
    Buffer.concat([Buffer.alloc(4096, 3), Buffer.alloc(4096, 1)]),
    'a new window',
  );
  await again.close();
  await image.close();
  await server.stop();
});

test('a file system can be made and used in a window', async () => {
  const server = await nbdkit('memory', '64M');
  const image = await openTarget(server.uri);
  const range = { offset: 8 * MiB, length: 48 * MiB };
  const folder = tempDir();
  for (const step of [
    (device: string) => execFileSync('mkfs.ext4', ['-q', device]),
    (device: string) => {
      execFileSync('mount', [device, folder]);
      writeFileSync(join(folder, 'file'), Buffer.alloc(5 * MiB, 7));
      execFileSync('umount', [folder]);
    },
    (device: string) => execFileSync('fsck.ext4', ['-fn', device], { stdio: 'ignore' }),
  ]) {
    const window = await image.openWindow(range, { readOnly: false });
    step(window.device);
    await window.close();
  }
  await image.close();
  await server.stop();
});

test('a socket may be named by a relative path, also for a window', async () => {
  const server = await nbdkit('pattern', '4M');
  const { image: source } = await openSource(`nbd+unix:///?socket=${encodeURIComponent(relative('.', server.socket))}`);
  const window = await source.openWindow({ offset: 0, length: MiB }, { readOnly: true });
  const start = Buffer.alloc(4096);
  await source.read(start, 0);
  assertBytes(readFileSync(window.device).subarray(0, 4096), start, 'the window');
  await window.close();
  await source.close();
  await server.stop();
});

for (const code of ['ENOSPC', 'EIO', 'EPERM']) {
  test(`${code} of a server is an error with the range and the reason`, async () => {
    const server = await nbdkit('--filter=error', 'memory', '4M', `error-pwrite=${code}`, 'error-pwrite-rate=100%');
    const image = await openTarget(server.uri);
    const error = await ioError(() => image.write(new Uint8Array(4096), 8192), 'write');
    assert.equal([error.data.operation, error.data.offset, error.data.length], ['write', 8192, 4096]);
    assert.is((error.cause as NodeJS.ErrnoException).code, code);
    await image.read(new Uint8Array(4096), 8192);
    await image.close();
    await server.stop();
  });
}

test('errors that come and go are survived, however many lanes meet them', async () => {
  const server = await nbdkit('--filter=error', 'memory', '64M', 'error-rate=20%', 'error=EIO');
  const { image } = await openSource(server.uri).catch(() => openSource(server.uri));
  let failed = 0;
  for (let round = 0; round < 8; round++) {
    const reads = Array.from({ length: 16 }, (_, i) => image.read(new Uint8Array(MiB), i * MiB));
    for (const result of await Promise.allSettled(reads)) {
      if (result.status === 'rejected') assert.instance(result.reason, ImageIoError);
      failed += result.status === 'rejected' ? 1 : 0;
    }
  }
  assert.ok(failed < 64, `${failed} of 128 reads failed`);
  await image.close();
  await server.stop();
});

test('a server that goes away is a lost connection, for everything that runs and everything after', async () => {
  const server = await nbdkit('--filter=delay', 'memory', '64M', 'delay-read=300ms');
  const image = await openTarget(server.uri);
  const running = [0, 1, 2, 3, 4, 5].map((i) => failure(() => image.read(new Uint8Array(MiB), i * MiB)));
  await server.stop('SIGKILL');
  for (const error of await Promise.all(running)) assert.instance(error, ConnectionLostError);
  const readBack = async (): Promise<void> => (await image.readBack()).read(new Uint8Array(4096), 0);
  for (const work of [() => image.flush(), () => image.zero(0, MiB), readBack, () => extentsOf(image)]) {
    const error = await failure(work);
    assert.ok(error instanceof ConnectionLostError || error instanceof ImageIoError, String(error));
  }
  await image.close();
});

test('what cannot be reached is said to be so', async () => {
  for (const uri of ['nbd+unix:///?socket=/nowhere', 'nbd://127.0.0.1:1/', 'nbd://no.such.host.invalid/']) {
    const error = await failure(() => openSource(uri));
    assert.instance(error, ImageIoError);
    assert.match(error.message, uri);
  }
});

test('a server that only reads is no target', async () => {
  const server = await nbdkit('--readonly', 'memory', '4M');
  assert.instance(await failure(() => openTarget(server.uri)), ReadOnlyImageError);
  const { image } = await openSource(server.uri);
  await image.close();
  await server.stop();
});

test('a map of many pieces is told whole', async () => {
  const server = await nbdkit('sparse-random', '5G', 'runlength=65536', 'percent=50', 'seed=1');
  const { image } = await openSource(server.uri);
  const extents = await extentsOf(image);
  assert.ok(extents.length > 10_000, `${extents.length} extents`);
  let next = 0;
  for (const [i, { offset, length, state }] of extents.entries()) {
    assert.is(offset, next);
    next += length;
    if (i % 997 !== 0) continue;
    const bytes = new Uint8Array(4096);
    await image.read(bytes, offset);
    assert.is(
      bytes.every((byte) => byte === 0),
      state === 'zero',
    );
  }
  assert.is(next, image.size);
  await image.close();
  await server.stop();
});

test.run();
