/** Real ext4, XFS and FAT images, mounted where nobody else sees it, and gone however doppel ends. */
import { execFileSync, spawn } from 'node:child_process';
import { closeSync, constants, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { applyPersona } from '../../../src/engine/persona/apply.ts';
import {
  MountFailedError,
  ReadOnlyTreeError,
  UnsupportedFileSystemError,
  UnusableFileError,
} from '../../../src/engine/persona/errors.ts';
import { planPersona } from '../../../src/engine/persona/plan.ts';
import { type MountedTree, openMountedSystem } from '../../../src/engine/persona/trees/mounted.ts';
import { bundle, lan, newMachineId } from './bundles.ts';
import { inDirectory, linkAt, makeDebian, writeAt } from './trees-on-disk.ts';

const run = (tool: string, ...args: string[]) =>
  execFileSync(tool, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

/** Loop windows that are gone afterwards. */
async function withLoops(body: (loop: (image: string, readOnly?: boolean) => string) => Promise<void>): Promise<void> {
  const loops: string[] = [];
  try {
    await body((image, readOnly = false) => {
      const device = run('losetup', ...(readOnly ? ['-r'] : []), '-f', '--show', image).trim();
      loops.push(device);
      return device;
    });
  } finally {
    for (const device of loops) run('losetup', '-d', device);
  }
}

interface Images {
  readonly directory: string;
  readonly root: string;
  readonly data: string;
  readonly esp: string;
}

/** An ext4 root with a small Debian, an XFS for /srv/app, a FAT for /boot/efi. */
async function withImages(body: (images: Images) => Promise<void>, change: (root: string) => void = () => {}): Promise<void> {
  await inDirectory(async (directory) => {
    const tree = join(directory, 'tree');
    makeDebian(tree);
    mkdirSync(join(tree, 'srv/app'), { recursive: true });
    mkdirSync(join(tree, 'boot/efi'), { recursive: true });
    change(tree);
    const images = {
      directory,
      root: join(directory, 'root.img'),
      data: join(directory, 'data.img'),
      esp: join(directory, 'esp.img'),
    };
    run('truncate', '-s', '24M', images.root);
    run('mkfs.ext4', '-q', '-d', tree, images.root);
    run('truncate', '-s', '320M', images.data);
    run('mkfs.xfs', '-q', images.data);
    run('truncate', '-s', '16M', images.esp);
    run('mkfs.vfat', images.esp);
    run('mmd', '-i', images.esp, '::/EFI', '::/loader');
    execFileSync('mcopy', ['-i', images.esp, '-', '::/loader/random-seed'], { input: 'seed' });
    await body(images);
  });
}

/** Whether the mounts of this computer tell of a device; there are others, that come and go. */
const hostSees = (device: string) => readFileSync('/proc/self/mountinfo', 'utf8').includes(` ${device} `);

/** Whether anybody has a device mounted, seen or unseen: then the kernel gives it to nobody else. */
function isMounted(device: string): boolean {
  try {
    closeSync(openSync(device, constants.O_RDONLY | constants.O_EXCL));
    return false;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EBUSY') return true;
    throw error;
  }
}

async function using(tree: MountedTree, body: () => Promise<void>): Promise<void> {
  try {
    await body();
  } finally {
    await tree.close();
  }
}

const full = bundle({
  network: lan,
  services: { enable: ['ssh'], disable: ['nginx'], mask: [] },
  writeFiles: [
    { path: '/srv/app/role', owner: 'www-data', permissions: '0640', content: 'web\n' },
    { path: '/boot/efi/loader/doppel.conf', owner: 'root', permissions: '0600', content: 'x\n' },
  ],
});

test('a persona is written over ext4, XFS and an ESP, is there after a remount, and the file systems are clean', () =>
  withImages((images) =>
    withLoops(async (loop) => {
      const [root, data, esp] = [loop(images.root), loop(images.data), loop(images.esp)];
      const request = {
        root: { device: root, type: 'ext4' },
        mounts: [{ device: data, type: 'xfs', mountPoint: '/srv/app' }],
        esp: { device: esp, mountPoint: '/boot/efi' },
      };
      const writable = await openMountedSystem({ ...request, readOnly: false });
      await using(writable, async () => {
        const plan = await planPersona(writable, full);
        assert.equal(plan.problems, []);
        assert.ok(plan.changes.some(({ path }) => path === '/boot/efi/loader/random-seed'));
        await applyPersona(writable, plan);
        assert.equal([root, data].filter(hostSees), []);
        assert.equal([root, data].map(isMounted), [true, true]);
      });
      assert.equal([root, data].map(isMounted), [false, false]);
      const readable = await openMountedSystem({ ...request, readOnly: true });
      await using(readable, async () => {
        assert.equal((await planPersona(readable, full)).changes, []);
        assert.is(Buffer.from((await readable.read('/etc/machine-id')) ?? []).toString(), `${newMachineId}\n`);
        assert.equal(await readable.list('/boot/efi/loader'), ['doppel.conf']);
        assert.is((await readable.lstat('/srv/app/role'))?.uid, 33);
      });
      run('fsck.ext4', '-fn', root);
      run('xfs_repair', '-n', data);
      run('fsck.vfat', '-n', esp);
      assert.is(run('mtype', '-i', images.esp, '::/loader/doppel.conf'), 'x\n');
    }),
  ));

test('read-only opening writes not one byte, and writing is refused', () =>
  withImages((images) =>
    withLoops(async (loop) => {
      const content = readFileSync(images.root);
      const tree = await openMountedSystem({
        root: { device: loop(images.root, true), type: 'ext4' },
        mounts: [],
        readOnly: true,
      });
      await using(tree, async () => {
        assert.ok((await planPersona(tree, full)).changes.length > 10);
        const error = await tree.put('/etc/x', { type: 'absent' }).catch((reason: unknown) => reason);
        assert.instance(error, ReadOnlyTreeError);
      });
      assert.ok(readFileSync(images.root).equals(content));
    }),
  ));

test('one file system of a system can be read-only while the others are written', () =>
  withImages((images) =>
    withLoops(async (loop) => {
      const tree = await openMountedSystem({
        root: { device: loop(images.root), type: 'ext4' },
        mounts: [{ device: loop(images.data), type: 'xfs', mountPoint: '/srv/app', readOnly: true }],
        readOnly: false,
      });
      await using(tree, async () => {
        const state = { type: 'file', content: Buffer.from('x'), mode: 0o644, uid: 0, gid: 0 } as const;
        await tree.put('/srv/x', state);
        const error = await tree.put('/srv/app/x', state).catch((reason: unknown) => reason);
        assert.match((error as Error).message, /EROFS/);
      });
    }),
  ));

test("mount points that a hostile image links to the host stay inside the image's root", () =>
  withImages(
    (images) =>
      withLoops(async (loop) => {
        const [root, data] = [loop(images.root), loop(images.data)];
        const open = (mountPoint: string) =>
          openMountedSystem({
            root: { device: root, type: 'ext4' },
            mounts: [{ device: data, type: 'xfs', mountPoint }],
            readOnly: false,
          });
        const error = await open('/srv/up').catch((reason: unknown) => reason);
        assert.instance(error, UnusableFileError);
        assert.match((error as Error).message, /leads to the root directory/);
        assert.instance(await open('/srv/file').catch((reason: unknown) => reason), UnusableFileError);
        const tree = await open('/srv/etc');
        await using(tree, async () => {
          assert.equal(await tree.list('/etc'), []);
          assert.equal([root, data].filter(hostSees), []);
        });
        assert.equal([root, data].map(isMounted), [false, false]);
      }),
    (tree) => {
      linkAt(tree, 'srv/up', '../../../..');
      linkAt(tree, 'srv/etc', '/../../etc');
      writeAt(tree, 'srv/file', '');
    },
  ));

test('what cannot be mounted is refused with the reason of the kernel, and leaves nothing mounted', () =>
  withImages((images) =>
    withLoops(async (loop) => {
      const [device, data] = [loop(images.root), loop(images.data)];
      const open = (type: string, mounts: readonly { device: string; type: string; mountPoint: string }[] = []) =>
        openMountedSystem({ root: { device, type }, mounts, readOnly: true }).catch((reason: unknown) => reason);
      assert.instance(await open('f2fs'), UnsupportedFileSystemError);
      assert.instance(await open('toString'), UnsupportedFileSystemError);
      const error = await open('xfs');
      assert.instance(error, MountFailedError);
      assert.match((error as Error).message, /cannot mount \/dev\/loop\d+ \(xfs\): .*EINVAL/);
      assert.instance(await open('ext4', [{ device: data, type: 'ext4', mountPoint: '/srv/app' }]), MountFailedError);
      assert.equal([device, data].map(isMounted), [false, false]);
    }),
  ));

test('a file system whose journal is on another device is not mounted: that device is the source’s own', () =>
  withImages((images) =>
    withLoops(async (loop) => {
      const journal = join(images.directory, 'journal.img');
      run('truncate', '-s', '8M', journal);
      run('mke2fs', '-q', '-O', 'journal_dev', '-b', '1024', journal);
      const journalDevice = loop(journal);
      run('tune2fs', '-O', '^has_journal', images.root);
      run('tune2fs', '-J', `device=${journalDevice}`, images.root);
      const before = readFileSync(journal);
      for (const readOnly of [true, false]) {
        const request = { root: { device: loop(images.root), type: 'ext4' }, mounts: [], readOnly };
        const error = await openMountedSystem(request).catch((reason: unknown) => reason);
        assert.instance(error, UnsupportedFileSystemError);
        assert.match((error as Error).message, /journal is on another device/);
      }
      assert.ok(readFileSync(journal).equals(before));
    }),
  ));

test('a file system that says to panic because of errors does not do so here', () =>
  withImages((images) =>
    withLoops(async (loop) => {
      run('tune2fs', '-e', 'panic', images.root);
      const device = loop(images.root);
      const tree = await openMountedSystem({ root: { device, type: 'ext4' }, mounts: [], readOnly: false });
      await using(tree, async () => {
        const options = readFileSync(`/proc/fs/ext4/${device.slice('/dev/'.length)}/options`, 'utf8');
        assert.match(options, /^errors=remount-ro$/m);
      });
    }),
  ));

/** Devices: the images, and one more; on the second there is a directory to mount it on. */
async function threeFileSystems(images: Images, loop: (image: string) => string, mountPoint: string) {
  const inner = join(images.directory, 'inner.img');
  run('truncate', '-s', '16M', inner);
  run('mkfs.ext4', '-q', inner);
  const [root, data, deep] = [images.root, images.data, inner].map((image) => loop(image)) as [string, string, string];
  const made = await openMountedSystem({ root: { device: data, type: 'xfs' }, mounts: [], readOnly: false });
  await using(made, () => made.put(mountPoint, { type: 'directory', mode: 0o755, uid: 0, gid: 0 }));
  return { root, data, deep };
}

test('a mount point may be a link into what another file system holds', () =>
  withImages(
    (images) =>
      withLoops(async (loop) => {
        const { root, data, deep } = await threeFileSystems(images, loop, '/deep');
        const tree = await openMountedSystem({
          root: { device: root, type: 'ext4' },
          mounts: [
            { device: deep, type: 'ext4', mountPoint: '/deep' },
            { device: data, type: 'xfs', mountPoint: '/srv/app' },
          ],
          readOnly: true,
        });
        await using(tree, async () => {
          assert.equal(await tree.list('/deep'), ['lost+found']);
          assert.equal(await tree.list('/srv/app'), ['deep']);
        });
      }),
    (tree) => linkAt(tree, 'deep', '/srv/app/deep'),
  ));

test('mount points below each other are mounted in their order', () =>
  withImages((images) =>
    withLoops(async (loop) => {
      const { root, data, deep } = await threeFileSystems(images, loop, '/cache');
      const tree = await openMountedSystem({
        root: { device: root, type: 'ext4' },
        mounts: [
          { device: deep, type: 'ext4', mountPoint: '/srv/app/cache' },
          { device: data, type: 'xfs', mountPoint: '/srv/app' },
        ],
        readOnly: true,
      });
      await using(tree, async () => {
        assert.equal(await tree.list('/srv/app'), ['cache']);
        assert.equal(await tree.list('/srv/app/cache'), ['lost+found']);
      });
    }),
  ));

test('after the end nothing is read or written any more, as the directory behind the number is another one', () =>
  withImages((images) =>
    withLoops(async (loop) => {
      const tree = await openMountedSystem({ root: { device: loop(images.root), type: 'ext4' }, mounts: [], readOnly: false });
      await tree.close();
      assert.throws(() => tree.read('/etc/hostname'), /unmounted/);
      await tree.close();
    }),
  ));

test('immutable files and directories are rewritten, and immutable again afterwards', () =>
  withImages(async (images) => {
    const device = (attach: (image: string) => string) => ({ root: { device: attach(images.root), type: 'ext4' }, mounts: [] });
    const place = join(images.directory, 'flags');
    mkdirSync(place);
    run('mount', '-o', 'loop', images.root, place);
    run('chattr', '+i', join(place, 'etc/hostname'), join(place, 'etc/systemd'));
    run('umount', place);
    await withLoops(async (attach) => {
      const tree = await openMountedSystem({ ...device(attach), readOnly: false });
      await using(tree, async () => {
        await applyPersona(tree, await planPersona(tree, bundle({ network: lan })));
      });
    });
    run('mount', '-o', 'loop', images.root, place);
    const flags = run('lsattr', '-d', join(place, 'etc/hostname'), join(place, 'etc/systemd'));
    const name = readFileSync(join(place, 'etc/hostname'), 'utf8');
    run('umount', place);
    assert.match(flags, /^----i.*hostname\n----i.*systemd\n$/);
    assert.is(name, 'web-07\n');
  }));

test('what the host unmounts while a system is open is really unmounted, and its device free', () =>
  withImages(async (images) => {
    const other = join(images.directory, 'other.img');
    run('truncate', '-s', '16M', other);
    run('mkfs.ext4', '-q', other);
    const place = join(images.directory, 'a place with blanks');
    mkdirSync(place);
    run('mount', '-o', 'loop', other, place);
    const loop = run('losetup', '-j', other).split(':')[0] as string;
    try {
      await withLoops(async (attach) => {
        const tree = await openMountedSystem({ root: { device: attach(images.root), type: 'ext4' }, mounts: [], readOnly: true });
        await using(tree, async () => {
          run('umount', place);
          // The kernel detaches the loop device a moment later.
          for (let tries = 0; tries < 50 && run('losetup', '-j', other) !== ''; tries++) await sleep(100);
          assert.is(run('losetup', '-j', other), '', `${loop} is free`);
        });
      });
    } finally {
      if (hostSees(loop)) run('umount', place);
    }
  }));

test('after kill -9 of its owner no mount is left', () =>
  withImages((images) =>
    withLoops(async (loop) => {
      const [root, data] = [loop(images.root), loop(images.data)];
      const script = join(images.directory, 'owner.mts');
      const request = {
        root: { device: root, type: 'ext4' },
        mounts: [{ device: data, type: 'xfs', mountPoint: '/srv/app' }],
        readOnly: false,
      };
      const module = new URL('../../../src/engine/persona/trees/mounted.ts', import.meta.url).href;
      writeFileSync(
        script,
        `import { openMountedSystem } from ${JSON.stringify(module)};
         const tree = await openMountedSystem(${JSON.stringify(request)});
         await tree.put('/etc/half', { type: 'file', content: Buffer.from('x'), mode: 0o644, uid: 0, gid: 0 });
         console.log('open'); setInterval(() => {}, 1000);`,
      );
      const owner = spawn(process.execPath, ['--import', 'tsx', script], { stdio: ['ignore', 'pipe', 'inherit'] });
      const ended = new Promise((resolve) => owner.once('exit', resolve));
      try {
        await new Promise<void>((resolve, reject) => {
          owner.stdout.once('data', () => resolve());
          owner.once('exit', () => reject(new Error('the owner ended early')));
        });
        assert.equal([root, data].map(isMounted), [true, true]);
        assert.equal([root, data].filter(hostSees), []);
        owner.kill('SIGKILL');
        await ended;
        for (let tries = 0; tries < 200 && [root, data].some(isMounted); tries += 1) await sleep(25);
        assert.equal([root, data].map(isMounted), [false, false]);
      } finally {
        owner.kill('SIGKILL');
        await ended;
      }
      // The kernel released the file systems in order: nothing is busy, and the journal is clean.
      for (let tries = 0; tries < 100 && !/state: +clean/.test(run('dumpe2fs', '-h', root)); tries += 1) await sleep(25);
      run('fsck.ext4', '-fn', root);
    }),
  ));

test.run();
