/** Files on parts that a persona touched: whatever is changed after the clone must be named. */
import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, linkSync, lutimesSync, rmSync, symlinkSync, unlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { differenceError } from '../../../src/engine/duplicate/verify.ts';
import { setXattr } from '../../../src/engine/native/xattr.ts';
import { attachLoop, mount } from '../../fixtures/loop.ts';
import { differing, part } from './verified.ts';
import { Disks, oddName, writeBytes } from './verify-disks.ts';

const test = suite('verify, files');
const disks = await Disks.make();
const twin = await disks.clone('twin.img', 'file');
const root = disks.part('root');

test('every kind of change to a file is found and named', async () => {
  const target = disks.copy(twin);
  disks.edit(target, 'root', (folder) => {
    const at = (path: string) => join(folder, path);
    writeFileSync(at('etc/nginx/nginx.conf'), 'user www-data;\nevents {}\nhttp { server { root /srv/app/xxx; } }\n');
    chmodSync(at('etc/fstab'), 0o600);
    chownSync(at('etc/debian_version'), 33, 33);
    setXattr(at('etc/modules'), 'user.note', Buffer.from('new'));
    setXattr(at('var/lib/one'), 'user.note', Buffer.from('gone'));
    unlinkSync(at('var/lib/link'));
    symlinkSync('three', at('var/lib/link'));
    unlinkSync(at('var/lib/three'));
    unlinkSync(oddName(at('var/lib')));
    writeFileSync(oddName(at('var/lib'), 0xfe), 'odd\n');
    unlinkSync(at('var/lib/pipe'));
    writeFileSync(at('var/lib/pipe'), '');
    utimesSync(at('boot/grub/grub.cfg'), 1, 1);
    lutimesSync(at('var/lib/link'), 1, 1);
    unlinkSync(at('var/lib/null'));
    execFileSync('mknod', [at('var/lib/null'), 'c', '1', '5']);
    const bytes = Buffer.from('MIDDLE');
    writeBytes(at('var/lib/sparse'), 20 << 20, bytes);
  });
  const result = await disks.verify(target);
  assert.equal(differing(result), [2]);
  const { paths = [], pathCount } = part(result, 2);
  const found = Object.fromEntries(paths.map(({ path, aspect, detail }) => [`${path} ${aspect}`, detail]));
  for (const [name, detail] of Object.entries({
    '/etc/nginx/nginx.conf content': /^differs from byte 55 on$/,
    '/etc/fstab mode': /^has mode 0600, not 0644$/,
    '/etc/debian_version owner': /^belongs to 33:33, not 0:0$/,
    '/etc/modules attributes': /user\.note/,
    '/var/lib/one attributes': /user\.note/,
    '/var/lib/two attributes': /user\.note/,
    '/var/lib/link link': /^points to "three", not to "one"$/,
    '/var/lib/three missing': /missing/,
    '/var/lib/odd-\ufffd missing': /missing/,
    '/var/lib/odd-\ufffd unexpected': /source has no such file/,
    '/var/lib/pipe type': /^is a file, not a fifo$/,
    '/boot/grub/grub.cfg time': /another time/,
    '/var/lib/null device': /is device/,
    '/var/lib/sparse content': /^differs from byte 20971520 on$/,
  })) {
    assert.ok(found[name] !== undefined, `${name} is told; told is ${JSON.stringify(paths, undefined, 1)}`);
    assert.match(found[name] as string, detail);
  }
  assert.is(pathCount, 14);
  assert.match(differenceError(result).message, /14 files differ in partition 2/);
});

test('flags of chattr are compared', async () => {
  const target = disks.copy(twin);
  disks.edit(target, 'root', (folder) => {
    execFileSync('chattr', ['+d', join(folder, 'etc/debian_version')]);
    execFileSync('chattr', ['+A', join(folder, 'var/lib')]);
    execFileSync('chattr', ['+i', join(folder, 'etc/hostname')]);
  });
  const { paths = [] } = part(await disks.verify(target), 2);
  assert.equal(
    paths.map(({ path, aspect, detail }) => [path, aspect, detail]),
    [
      ['/etc/debian_version', 'flags', 'has the flags 0x40 (chattr), not 0x0'],
      ['/etc/hostname', 'flags', 'has the flags 0x10 (chattr), not 0x0'],
      ['/var/lib', 'flags', 'has the flags 0x80 (chattr), not 0x0'],
    ],
  );
});

test('hard links that became files of their own are found, and the other way round', async () => {
  const target = disks.copy(twin);
  disks.edit(target, 'root', (folder) => {
    const [one, two, three] = ['one', 'two', 'three'].map((name) => join(folder, 'var/lib', name)) as [string, string, string];
    execFileSync('cp', ['-a', '--remove-destination', '--reflink=never', two, `${two}.new`]);
    execFileSync('mv', [`${two}.new`, two]);
    unlinkSync(three);
    linkSync(one, three);
  });
  const { paths = [] } = part(await disks.verify(target), 2);
  assert.ok(
    paths.some(({ path, aspect }) => path === '/var/lib/two' && aspect === 'hard links') ||
      paths.some(({ path, aspect }) => path === '/var/lib/one' && aspect === 'hard links'),
    JSON.stringify(paths),
  );
});

test('what the persona wrote must be there: a host name that changed later, a key that is gone, one of the source that came back', async () => {
  const target = disks.copy(twin);
  disks.edit(target, 'root', (folder) => {
    writeFileSync(join(folder, 'etc/hostname'), 'somebody\n');
    unlinkSync(join(folder, 'etc/ssh/ssh_host_ed25519_key'));
    chmodSync(join(folder, 'etc/machine-id'), 0o666);
  });
  const result = await disks.verify(target);
  assert.equal(differing(result), [2]);
  const paths = part(result, 2).paths ?? [];
  assert.equal(
    paths.map(({ path, aspect, byPersona }) => [path, aspect, byPersona]),
    [
      ['/etc/hostname', 'content', true],
      ['/etc/machine-id', 'mode', true],
      ['/etc/ssh/ssh_host_ed25519_key', 'missing', true],
    ],
  );
});

test('a seed that came back to the FAT part, and a changed loader there, are found', async () => {
  const target = disks.copy(twin);
  const seed = join(disks.folder, 'seed');
  const tool = (name: string, ...args: string[]) =>
    execFileSync(name, ['-i', disks.esp(target), ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  tool('mcopy', seed, '::/loader/random-seed');
  const loader = execFileSync('mtype', ['-i', disks.esp(target), '::/EFI/BOOT/BOOTX64.EFI'], { maxBuffer: 8 << 20 });
  loader[1_000_000] = (loader[1_000_000] as number) ^ 1;
  const changed = join(disks.folder, 'loader');
  writeFileSync(changed, loader);
  tool('mcopy', '-D', 'o', changed, '::/EFI/BOOT/BOOTX64.EFI');
  const result = await disks.verify(target);
  assert.equal(differing(result), [1]);
  assert.equal((part(result, 1).paths ?? []).map(({ path, aspect, byPersona }) => [path, aspect, byPersona]).sort(), [
    ['/boot/efi/EFI/BOOT/BOOTX64.EFI', 'content', false],
    ['/boot/efi/loader/random-seed', 'unexpected', true],
  ]);
});

test('files of a file system that was not unmounted are not compared, and never called equal', async () => {
  const target = disks.copy(twin);
  const crashed = join(disks.folder, 'crashed.img');
  const loop = attachLoop(target, { offset: root.offset, size: root.size });
  const mounted = mount(loop.device, 'ext4');
  writeFileSync(join(mounted.path, 'var/lib/late'), 'late');
  execFileSync('sync', ['-f', mounted.path]);
  disks.copy(target, 'crashed.img');
  mounted.unmount();
  loop.detach();
  const result = await disks.verify(crashed);
  assert.equal(differing(result), [2]);
  assert.is(part(result, 2).method, 'skipped');
  assert.match(part(result, 2).reason ?? '', /target is not clean/);
  rmSync(crashed);
});

test('a root file system that cannot be opened any more is never called equal', async () => {
  const target = disks.copy(twin);
  // The block group descriptors: the superblock still says ext4, and clean.
  writeBytes(target, root.offset + 4096, Buffer.alloc(4096, 0xff));
  const result = await disks.verify(target);
  assert.equal(differing(result), [2]);
  assert.is(part(result, 2).method, 'skipped');
  assert.match(part(result, 2).reason ?? '', /cannot be opened|not clean/);
});

test.run();
