import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { BlankImage, createImage } from '../../../src/engine/image/create.ts';
import { ImageExistsError, ImageInUseError, ImageIoError, UnusableImageError } from '../../../src/engine/image/errors.ts';
import { imageIdentity } from '../../../src/engine/image/identity.ts';
import { openForInspection, openSource, openTarget } from '../../../src/engine/image/open.ts';
import { imageUsers, sharesStorage } from '../../../src/engine/image/users.ts';
import { failure } from '../../fixtures/failure.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { assertBytes } from './conformance.ts';
import { contentOf, diskFile } from './nbd-servers.ts';
import { memory, sparseFile } from './places.ts';
import { firstLine, start, until } from './processes.ts';

const MiB = 1 << 20;
const holder = fileURLToPath(new URL('hold-target.ts', import.meta.url));
const qemuImg = (...args: string[]): void => void execFileSync('qemu-img', args, { stdio: ['ignore', 'ignore', 'inherit'] });

async function refused(path: string, message: RegExp): Promise<void> {
  for (const open of [openSource, openTarget, openForInspection]) {
    const error = await failure(() => open(path));
    assert.instance(error, UnusableImageError, `${open.name}: ${error}`);
    assert.match(error.message, message);
    assert.not.equal(error.todo, '');
  }
}

/** The folders and processes that opening images made. */
function remains(): string[] {
  return readdirSync('/tmp').filter((name) => /^doppel-[A-Za-z0-9]{6}$/.test(name) && existsSync(join('/tmp', name, 'pid')));
}

test('an image that is based on another is read with it, and says so', async () => {
  const base = diskFile('raw', Buffer.alloc(4 * MiB, 5));
  const path = join(tempDir(), 'over, lay.qcow2');
  qemuImg('create', '-q', '-f', 'qcow2', '-b', base, '-F', 'raw', path);
  const { image } = await openSource(path);
  assert.match(image.notes.join('\n'), `is based on ${base}, which is read too`);
  const bytes = new Uint8Array(4096);
  await image.read(bytes, MiB);
  assertBytes(bytes, new Uint8Array(4096).fill(5), 'the base');
  await image.close();
  const target = await openTarget(path);
  await target.write(new Uint8Array(4096).fill(6), MiB);
  await target.flush();
  await target.close();
  assertBytes(readFileSync(base), Buffer.alloc(4 * MiB, 5), 'the base is never written');
  assert.ok(await sharesStorage(path, base));
  assert.ok(await sharesStorage(base, path));
  const sister = join(tempDir(), 'sister.qcow2');
  qemuImg('create', '-q', '-f', 'qcow2', '-b', base, '-F', 'raw', sister);
  assert.not(await sharesStorage(path, sister), 'two that are based on the same one');
  const user = start('flock', '--exclusive', base, 'cat');
  await until('it is locked', async () => (await imageUsers(path)).length > 0);
  assert.instance(await failure(() => openTarget(path)), ImageInUseError);
  await user.stop();
  renameSync(base, `${base}.gone`);
  await refused(path, /which it is based on, does not exist/);
});

test('nothing is followed that an image could have been made to name', async () => {
  const folder = tempDir();
  const secret = join(folder, 'secret');
  writeFileSync(secret, Buffer.alloc(MiB, 0x73));
  const overlay = (name: string, ...args: string[]): string => {
    const path = join(folder, name);
    qemuImg('create', '-q', '-u', '-f', 'qcow2', ...args, path, '1M');
    return path;
  };
  await refused(overlay('guest.img', '-b', secret, '-F', 'raw'), /its name says that it is raw/);
  const probed = overlay('probed.qcow2', '-b', secret, '-F', 'raw');
  const header = readFileSync(probed);
  // The header extension with the format becomes one that nobody knows.
  header.writeUInt32BE(0x12345678, header.indexOf(Buffer.of(0xe2, 0x79, 0x2a, 0xca)));
  writeFileSync(probed, header);
  await refused(probed, /does not say which format/);
  await refused(overlay('remote.qcow2', '-b', 'nbd://127.0.0.1:1/x', '-F', 'raw'), /no local file/);
  await refused(overlay('json.qcow2', '-b', 'json:{"driver":"file","filename":"/etc/hostname"}', '-F', 'raw'), /no local file/);
  await refused(overlay('lied.qcow2', '-b', secret, '-F', 'qcow2'), /which is not so/);
  overlay('there.qcow2', '-b', join(folder, 'back.qcow2'), '-F', 'qcow2');
  await refused(overlay('back.qcow2', '-b', join(folder, 'there.qcow2'), '-F', 'qcow2'), /circle/);
  const split = join(folder, 'split.qcow2');
  qemuImg('create', '-q', '-f', 'qcow2', '-o', `data_file=${join(folder, 'data')},data_file_raw=on`, split, '1M');
  await refused(split, /data in another file/);
  for (const extent of [
    'RW 2048 FLAT "/etc/hostname" 0',
    'RW 2048 FLAT "../secret" 0',
    'RW 2048 VMFSRDM "secret"',
    'RW 2048 FLAT "nbd:x" 0',
  ]) {
    const path = join(folder, 'descriptor.vmdk');
    writeFileSync(path, `# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\n${extent}\n`);
    await refused(path, /no file beside it/);
  }
});

test('an encrypted image is refused', async () => {
  const path = join(tempDir(), 'secret.qcow2');
  // Not luks: before it derives a key, QEMU measures how fast it does that, and gives up on machines that count CPU time in ticks.
  const options = 'encrypt.format=aes,encrypt.key-secret=key';
  qemuImg('create', '-q', '--object', 'secret,id=key,data=abc', '-f', 'qcow2', '-o', options, path, '1M');
  await refused(path, /it is encrypted/);
});

test('snapshots inside stay what they were', async () => {
  const path = diskFile('qcow2', Buffer.alloc(2 * MiB, 1));
  qemuImg('snapshot', '-c', 'before', path);
  const image = await openTarget(path);
  assert.match(image.notes.join(), 'holds 1 snapshot, which stay');
  await image.write(new Uint8Array(MiB).fill(2), 0);
  await image.zero(MiB, MiB);
  await image.flush();
  await image.close();
  qemuImg('check', '-q', path);
  qemuImg('snapshot', '-a', 'before', path);
  assertBytes(contentOf(path, 'qcow2'), Buffer.alloc(2 * MiB, 1), 'the snapshot');
});

for (const extension of ['qcow2', 'vmdk', 'vhdx', 'vdi', 'img', 'raw']) {
  test(`a new .${extension} is blank, as large as asked, and takes the place of its stand-in`, async () => {
    const path = join(tempDir(), `new, disk.${extension}`);
    const planned = await openTarget(path, { create: { size: 8 * MiB } });
    assert.instance(planned, BlankImage);
    assert.not.ok(existsSync(path));
    const before = await imageIdentity(path, planned.size, planned.sectorSize);
    assert.not(await sharesStorage(path, sparseFile(tempDir(), MiB)));
    await planned.close();
    await createImage(path, 8 * MiB);
    assert.equal(await imageIdentity(path, planned.size, planned.sectorSize), before);
    const image = await openTarget(path);
    assert.equal([image.size, image.sectorSize], [planned.size, planned.sectorSize]);
    const content = new Uint8Array(8 * MiB);
    await image.read(content, 0);
    assert.ok(content.every((byte) => byte === 0));
    await image.zero(0, image.size);
    await image.flush();
    await image.close();
    assert.ok(statSync(path).blocks * 512 < 4 * MiB, 'zeroing what is blank takes no room');
    assert.instance(await failure(() => createImage(path, 8 * MiB)), ImageExistsError);
    assert.instance(await failure(() => openTarget(path, { create: { size: 8 * MiB } })), ImageExistsError);
    assert.equal(readdirSync(join(path, '..')), [`new, disk.${extension}`]);
  });
}

test('what cannot be created leaves nothing behind', async () => {
  const folder = tempDir();
  for (const [name, size] of [
    ['disk.xyz', MiB],
    ['disk', MiB],
    ['disk.qcow2', 0],
    ['disk.qcow2', 513],
    ['missing/disk.qcow2', MiB],
  ] as const) {
    const error = await failure(() => createImage(join(folder, name), size));
    assert.ok(error instanceof UnusableImageError || error instanceof ImageIoError, String(error));
  }
  const full = memory('tmpfs', 'size=128k');
  writeFileSync(join(full.folder, 'filler'), Buffer.alloc(96 << 10));
  await failure(() => createImage(join(full.folder, 'disk.qcow2'), 1 << 30));
  assert.equal([readdirSync(folder), readdirSync(full.folder)], [[], ['filler']]);
});

test('a file system that is full is said to be so, and the image stays whole', async () => {
  const { folder } = memory('tmpfs', 'size=4m');
  const path = join(folder, 'disk.qcow2');
  await createImage(path, 64 * MiB);
  const image = await openTarget(path);
  const error = await failure(async () => {
    for (let at = 0; at < 64 * MiB; at += MiB) await image.write(new Uint8Array(MiB).fill(1), at);
    await image.flush();
  });
  assert.instance(error, ImageIoError);
  assert.is((error.cause as NodeJS.ErrnoException).code, 'ENOSPC');
  await image.close();
  qemuImg('check', '-q', path);
});

test('who has a disk open keeps others from it', async () => {
  const path = diskFile('qcow2', Buffer.alloc(4 * MiB, 1));
  const doppel = start(process.execPath, '--import', 'tsx', holder, path);
  await firstLine(doppel);
  for (const open of [openSource, openTarget]) assert.instance(await failure(() => open(path)), ImageInUseError, open.name);
  const image = await openForInspection(path);
  await image.close();
  doppel.child.stdin?.end();
  await until('it is free', async () => (await imageUsers(path)).length === 0);
  const qemu = start('qemu-io', '-f', 'qcow2', '-c', 'write 0 4k', '-c', 'sleep 60000', path);
  await until('it is locked', async () => (await imageUsers(path)).some(({ writes }) => writes));
  const error = await failure(() => openSource(path, { allowInconsistent: true }));
  assert.instance(error, ImageInUseError);
  assert.match(error.todo, 'not even inconsistently');
  await qemu.stop('SIGKILL');
});

test('two readers share a disk; a reader keeps writers away', async () => {
  const path = diskFile('qcow2', Buffer.alloc(MiB, 1));
  const [one, two] = [await openSource(path), await openSource(path)];
  assert.instance(await failure(() => openTarget(path)), ImageInUseError);
  await one.image.close();
  await two.image.close();
  const target = await openTarget(path);
  await target.close();
});

test('nothing is left when an image is closed, nor when the process is killed', async () => {
  const before = remains();
  const path = diskFile('qcow2', Buffer.alloc(MiB, 1));
  await (await openTarget(path)).close();
  assert.equal(remains(), before);
  const killed = start(process.execPath, '--import', 'tsx', holder, path);
  await firstLine(killed);
  assert.is(serving(path).length, 1);
  await killed.stop('SIGKILL');
  await until('its qemu-nbd is gone', () => serving(path).length === 0);
  await (await openTarget(path)).close();
  for (const folder of remains().filter((name) => !before.includes(name))) rmSync(join('/tmp', folder), { recursive: true });
});

test('a qemu-nbd that dies is an I/O error in its own words', async () => {
  const path = diskFile('qcow2', Buffer.alloc(4 * MiB, 1));
  const image = await openTarget(path);
  const [server] = serving(path);
  process.kill(server as number, 'SIGKILL');
  await until('it is gone', () => serving(path).length === 0);
  const error = await failure(() => image.write(new Uint8Array(4096), 0));
  assert.instance(error, ImageIoError);
  assert.match(error.message, 'qemu-nbd was ended by SIGKILL');
  assert.match((await failure(() => image.close())).message, 'qemu-nbd was ended by SIGKILL');
});

test('a damaged image is refused in the words of QEMU', async () => {
  const path = diskFile('qcow2', Buffer.alloc(MiB, 1));
  const bytes = readFileSync(path);
  bytes.writeUInt32BE(63, 20);
  writeFileSync(path, bytes);
  assert.match((await failure(() => openSource(path))).message, /Cluster size/i);
  writeFileSync(path, bytes.subarray(0, 512));
  assert.instance(await failure(() => openSource(path)), Error);
});

for (const [tool, debian, rpm] of [
  ['qemu-img', 'qemu-utils', 'qemu-img'],
  ['qemu-nbd', 'qemu-utils', 'qemu-img'],
  ['setpriv', 'util-linux', 'util-linux'],
] as const) {
  test(`without ${tool} it is said which package has it`, () => {
    const path = diskFile('qcow2', Buffer.alloc(MiB, 1));
    const where = execFileSync('which', [tool], { encoding: 'utf8' }).trim();
    const script = 'mount --bind /dev/null "$0" && exec "$@"';
    const command = [process.execPath, '--import', 'tsx', holder, path];
    const { stderr } = spawnSync('unshare', ['--mount', 'sh', '-c', script, where, ...command], { encoding: 'utf8' });
    assert.match(stderr, `MissingToolError: the program ${tool} is not installed`);
    assert.match(stderr, `Install it: apt-get install ${debian} (Debian, Ubuntu) or dnf install ${rpm}`);
  });
}

/** Processes that serve the file. */
function serving(path: string): number[] {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return pids.map(Number).filter((pid) => {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      // Not the shell that keeps it.
      return /^[^\0]*qemu-nbd\0/.test(command) && command.includes(path);
    } catch (error) {
      // It has ended meanwhile.
      if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return false;
      throw error;
    }
  });
}

test.run();
