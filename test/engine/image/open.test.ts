import { execFileSync } from 'node:child_process';
import { appendFileSync, chmodSync, readdirSync, readlinkSync, statSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { DoppelError } from '../../../src/engine/errors.ts';
import {
  ForeignFormatError,
  ImageInUseError,
  NotAnImageError,
  TruncatedImageError,
  UnusableImageError,
} from '../../../src/engine/image/errors.ts';
import { openForInspection, openSource, openTarget } from '../../../src/engine/image/open.ts';
import { attachLoop, mount } from '../../fixtures/loop.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { partitionedDisk } from './partitions.ts';
import { memory, sharedMemory, sparseFile } from './places.ts';
import { firstLine, start, until } from './processes.ts';

const MiB = 1 << 20;
const folder = tempDir('with blanks in it');
const holder = fileURLToPath(new URL('hold-target.ts', import.meta.url));

type Ways = Readonly<Record<string, (path: string) => Promise<void>>>;
type Constructor = abstract new (...args: never[]) => DoppelError;

/** Opens it in every way that is given, and expects the same refusal. */
async function refused(path: string, kind: Constructor, message: RegExp, todo: RegExp, ways: Ways = everyWay): Promise<void> {
  for (const [name, open] of Object.entries(ways)) {
    try {
      await open(path);
    } catch (error) {
      assert.instance(error, kind, `${name}: ${error}`);
      assert.match((error as DoppelError).message, message);
      assert.match((error as DoppelError).todo, todo);
      continue;
    }
    assert.unreachable(`${name} took ${path}`);
  }
}

const source = { openSource: async (path: string) => closed((await openSource(path)).image) };
const target = { openTarget: async (path: string) => closed(await openTarget(path)) };
const everyWay = { ...source, ...target, openForInspection: async (path: string) => closed(await openForInspection(path)) };

async function closed(image: { close(): Promise<void> }): Promise<void> {
  await image.close();
}

/** Nothing of this process is still open below the folder. */
function assertNothingOpen(): void {
  const open = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch (error) {
      // Closed meanwhile.
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
      throw error;
    }
  });
  assert.equal(
    open.filter((path) => path.startsWith(`${folder}/`)),
    [],
  );
}

test('a raw file is opened in every way, and every descriptor is given back', async () => {
  const file = sparseFile(folder, MiB);
  for (const open of Object.values(everyWay)) await open(file);
  const link = join(folder, 'a link');
  symlinkSync(file, link);
  for (const open of Object.values(everyWay)) await open(link);
  assertNothingOpen();
});

for (const [format, options] of [
  ['qcow2', []],
  ['vmdk', []],
  ['vmdk', ['subformat=streamOptimized']],
  ['vmdk', ['subformat=monolithicFlat']],
  ['vhdx', []],
  ['vhdx', ['subformat=fixed']],
  ['vdi', []],
  ['vdi', ['static=on']],
  ['vpc', ['force_size=on']],
  ['vpc', ['subformat=fixed', 'force_size=on']],
  ['qed', []],
  ['parallels', []],
  ['qcow', []],
] as const) {
  test(`a disk of format ${[format, ...options].join(', ')} is opened as what it holds`, async () => {
    const content = Buffer.alloc(4 * MiB);
    content.write('what it holds', MiB + 5);
    const raw = join(tempDir(), 'content');
    writeFileSync(raw, content);
    const file = join(folder, ['disk', format, ...options].join('-'));
    const arguments_ = options.length === 0 ? [] : ['-o', options.join(',')];
    execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', format, ...arguments_, raw, file]);
    const { image } = await openSource(file);
    const found = Buffer.alloc(content.length);
    await image.read(found, 0);
    await image.close();
    assert.ok(found.equals(content), 'it reads as what was put into it');
    await everyWay.openForInspection(file);
    if (options[0] === 'subformat=streamOptimized')
      await refused(file, UnusableImageError, /cannot be changed/, /another/, target);
    else await everyWay.openTarget(file);
    assertNothingOpen();
  });
}

/** Runs the command that the refusal proposes. */
async function follow(file: string): Promise<void> {
  const { todo } = await failure(file);
  execFileSync('sh', ['-c', todo.slice(todo.indexOf(': ') + 2)], { cwd: folder });
}

async function failure(file: string): Promise<DoppelError> {
  try {
    await everyWay.openSource(file);
  } catch (error) {
    assert.instance(error, DoppelError);
    return error as DoppelError;
  }
  throw new Error(`${file} was opened`);
}

for (const [name, command, result] of [
  ['gzip', 'gzip -c', '.raw'],
  ['xz', 'xz -c', '.raw'],
  ['zstd', 'zstd -qc', '.raw'],
  ['bzip2', 'bzip2 -c', '.raw'],
  ['tar', 'tar c', 'content'],
  ['zip', 'zip -q -', 'content'],
] as const) {
  test(`what ${name} made is not taken for a disk, whatever its size`, async () => {
    const content = sparseFile(folder, MiB, 'content');
    const made = execFileSync('sh', ['-c', `${command} content`], { cwd: folder, maxBuffer: 4 * MiB });
    unlinkSync(content);
    const file = join(folder, `made by ${name}`);
    writeFileSync(file, made);
    const expected = new RegExp(`made by ${name} is a ${name} archive, not a raw disk image`);
    await refused(file, ForeignFormatError, expected, /^Unpack it first: /);
    await follow(file);
    const unpacked = result === 'content' ? content : `${file}${result}`;
    assert.is(statSync(unpacked).size, MiB);
    unlinkSync(unpacked);
    appendFileSync(file, Buffer.alloc(512 - (made.length % 512)));
    await refused(file, ForeignFormatError, expected, /^Unpack it first: /);
    appendFileSync(file, 'x');
    await refused(file, ForeignFormatError, expected, /^Unpack it first: /);
  });
}

test('a block device that holds a container is no source, but may be overwritten', async () => {
  const file = join(folder, 'on a volume');
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', file, '4M']);
  execFileSync('truncate', ['--size=1M', file]);
  const loop = attachLoop(file);
  await refused(loop.device, ForeignFormatError, /is a qcow2 image/, /convert/, source);
  await target.openTarget(loop.device);
  loop.detach();
});

test('a size that no disk has is said to be one', async () => {
  await refused(sparseFile(folder, 0), TruncatedImageError, /is empty/, /truncate -s 8G/);
  for (const size of [1, 511, 513, MiB - 1]) {
    await refused(
      sparseFile(folder, size),
      TruncatedImageError,
      new RegExp(`has ${size} bytes, which is no multiple`),
      /cut off/,
    );
  }
  assertNothingOpen();
});

test('what is neither file nor block device is refused at once, a pipe too', async () => {
  const pipe = join(folder, 'pipe');
  execFileSync('mkfifo', [pipe]);
  const socket = join(folder, 'socket');
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  for (const [path, what] of [
    [folder, 'a directory'],
    ['/dev/zero', 'a character device'],
    [pipe, 'a pipe or socket'],
    [socket, 'a pipe or socket'],
  ] as const) {
    await refused(path, NotAnImageError, new RegExp(`is ${what}, not a disk image`), /regular file .* or a block device/);
  }
  await new Promise((resolve) => server.close(resolve));
});

test('a missing path and one without permission are errors of opening', async () => {
  const missing = join(folder, 'missing');
  const failed = await failure(missing);
  assert.is(failed.code, 'IMAGE_IO');
  assert.is(failed.exitCode, 7);
  assert.match(failed.message, `${missing} does not exist`);
  const dangling = join(folder, 'dangling');
  symlinkSync(missing, dangling);
  assert.match((await failure(dangling)).message, 'does not exist');

  const open = sharedMemory().folder;
  chmodSync(open, 0o755);
  const secret = sparseFile(open, MiB);
  chmodSync(secret, 0o600);
  const loop = attachLoop(sparseFile(open, MiB));
  const run = (path: string): string =>
    execFileSync(process.execPath, ['--import', 'tsx', holder, path, 'nobody'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  for (const path of [secret, loop.device]) {
    try {
      run(path);
      assert.unreachable(`${path} was opened`);
    } catch (error) {
      assert.match((error as { stderr: string }).stderr, new RegExp(`ImageIoError: open failed on ${path}: EACCES`));
    }
  }
  loop.detach();
  chmodSync(secret, 0o666);
  assert.is(run(secret), 'open\n');
});

test('a read-only file system is a source, not a target', async () => {
  const place = memory('tmpfs');
  const file = sparseFile(place.folder, MiB);
  execFileSync('mount', ['-o', 'remount,ro', place.folder]);
  await source.openSource(file);
  try {
    await openTarget(file);
    assert.unreachable();
  } catch (error) {
    assert.match((error as Error).message, 'EROFS');
  }
});

test('a mounted device is no target; mounted read-write it is no source, unless asked for', async () => {
  const file = sparseFile(folder, 16 * MiB);
  execFileSync('mkfs.ext4', ['-q', file]);
  const loop = attachLoop(file);
  for (const options of ['rw', 'ro']) {
    const mounted = mount(loop.device, 'ext4', options);
    for (const path of [file, loop.device]) {
      await refused(path, ImageInUseError, /^the target .* is in use: .* is mounted on /, /Unmount and detach/, target);
      if (options === 'ro') {
        await source.openSource(path);
        continue;
      }
      await refused(
        path,
        ImageInUseError,
        /^the source .* is in use: .* is mounted on .* \(read-write\)/,
        /--allow-inconsistent/,
        source,
      );
      const { image, writers } = await openSource(path, { allowInconsistent: true });
      assert.ok(writers.length > 0 && writers.every((user) => user.writes));
      await image.close();
    }
    await everyWay.openForInspection(loop.device);
    mounted.unmount();
  }
  await refused(file, ImageInUseError, /is attached to/, /losetup -d/, target);
  await source.openSource(file);
  await target.openTarget(loop.device);
  loop.detach();
  await target.openTarget(file);
});

test('a disk is no target while one of its partitions is mounted', async () => {
  const { disk, first, second } = partitionedDisk(sparseFile(folder, 72 * MiB));
  execFileSync('mkfs.ext4', ['-q', first]);
  const mounted = mount(first, 'ext4');
  await refused(disk.device, ImageInUseError, new RegExp(`${first} is mounted on`), /Unmount/, target);
  await refused(disk.device, ImageInUseError, new RegExp(`${first} is mounted on`), /Unmount/, source);
  await target.openTarget(second);
  await source.openSource(second);
  mounted.unmount();
  await target.openTarget(disk.device);
  disk.detach();
});

test('a device that something has exclusively is no target, though nothing shows who', async () => {
  const loop = attachLoop(sparseFile(folder, MiB));
  const other = start(process.execPath, '--import', 'tsx', holder, loop.device);
  await firstLine(other);
  await refused(loop.device, ImageInUseError, /is held by somebody who does not show/, /make sure that it is the disk/, target);
  await refused(loop.device, ImageInUseError, /is held by somebody/, /allow-inconsistent/, source);
  await other.stop();
  await target.openTarget(loop.device);
  loop.detach();
});

test('a device that is opened stays closed to mount(8)', async () => {
  const file = sparseFile(folder, 16 * MiB);
  execFileSync('mkfs.ext4', ['-q', file]);
  const loop = attachLoop(file);
  const image = await openTarget(loop.device);
  assert.throws(
    () => execFileSync('mount', ['-t', 'ext4', loop.device, tempDir()], { stdio: 'pipe' }),
    /already mounted or mount point busy/,
  );
  await image.close();
  mount(loop.device, 'ext4').unmount();
  loop.detach();
});

test('a second doppel neither takes a target that is taken, nor a source as target, until it is given back', async () => {
  const file = sparseFile(folder, MiB);
  const image = await openTarget(file);
  await refused(
    file,
    ImageInUseError,
    new RegExp(`^the target .* is locked by process ${process.pid} `),
    /Everything on it/,
    target,
  );
  await refused(file, ImageInUseError, /^the source .* is locked by process/, /could change/, source);
  await image.close();

  const [one, two] = [await openSource(file), await openSource(file)];
  await refused(file, ImageInUseError, /^the target .* is locked by process/, /Everything on it/, target);
  await one.image.close();
  await refused(file, ImageInUseError, /^the target .* is locked by process/, /Everything on it/, target);
  await two.image.close();

  const other = start(process.execPath, '--import', 'tsx', holder, file);
  await firstLine(other);
  await refused(file, ImageInUseError, new RegExp(`is locked by process ${other.child.pid} `), /Everything on it/, target);
  await other.stop('SIGKILL');
  await until('the lock is gone', () =>
    target.openTarget(file).then(
      () => true,
      () => false,
    ),
  );
  assertNothingOpen();
});

test('a virtual machine that runs from the image keeps it from being copied', async () => {
  const file = sparseFile(folder, MiB);
  const machine = start('qemu-io', '-f', 'raw', file);
  await until('it is locked', () =>
    failure(file).then(
      () => true,
      () => false,
    ),
  );
  await refused(file, ImageInUseError, /locked by another process, probably a virtual machine/, /shut the machine down/, source);
  await refused(file, ImageInUseError, /locked by another process, probably a virtual machine/, /Everything/, target);
  await machine.stop();
});

test.run();
