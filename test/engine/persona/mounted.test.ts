/** Real ext4, XFS and FAT images, mounted where nobody else sees it, and gone however doppel ends. */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { applyPersona } from '../../../src/engine/persona/apply.ts';
import {
  ReadOnlyTreeError,
  ToolFailedError,
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

const mountsOfHost = () => readFileSync('/proc/self/mountinfo', 'utf8');

/** Processes whose mount table names a device. */
function holdersOf(device: string): string[] {
  return readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      return readFileSync(`/proc/${pid}/mountinfo`, 'utf8').includes(` ${device} `);
    } catch (error) {
      // It ended while we looked.
      if (['ENOENT', 'EINVAL', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return false;
      throw error;
    }
  });
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
      const before = mountsOfHost();
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
        assert.is(mountsOfHost(), before, 'the host sees none of the mounts');
        assert.is(holdersOf(root).length, 1, 'one process holds the mounts');
      });
      assert.equal(holdersOf(root), []);
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
        const before = mountsOfHost();
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
          assert.is(mountsOfHost(), before);
        });
        assert.equal(holdersOf(root), []);
      }),
    (tree) => {
      linkAt(tree, 'srv/up', '../../../..');
      linkAt(tree, 'srv/etc', '/../../etc');
      writeAt(tree, 'srv/file', '');
    },
  ));

test('what cannot be mounted is refused with a reason, and leaves no process', () =>
  withImages((images) =>
    withLoops(async (loop) => {
      const device = loop(images.root);
      const open = (type: string) =>
        openMountedSystem({ root: { device, type }, mounts: [], readOnly: true }).catch((reason: unknown) => reason);
      assert.instance(await open('btrfs'), UnsupportedFileSystemError);
      assert.instance(await open('toString'), UnsupportedFileSystemError);
      const error = await open('xfs');
      assert.instance(error, ToolFailedError);
      assert.match((error as Error).message, /mount/);
      const children = readdirSync('/proc/self/task').flatMap((task) =>
        readFileSync(`/proc/self/task/${task}/children`, 'utf8').trim().split(' '),
      );
      for (const pid of children.filter((child) => child !== '')) {
        assert.not.match(readFileSync(`/proc/${pid}/cmdline`, 'utf8'), /echo ready/);
      }
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
      if (mountsOfHost().includes(`${loop} `)) run('umount', place);
    }
  }));

test('after kill -9 of its owner no mount and no process is left', () =>
  withImages((images) =>
    withLoops(async (loop) => {
      const [root, data] = [loop(images.root), loop(images.data)];
      const before = mountsOfHost();
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
        const [holder] = holdersOf(root);
        assert.ok(holder);
        assert.is.not(readlinkSync(`/proc/${holder}/ns/mnt`), readlinkSync('/proc/self/ns/mnt'));
        owner.kill('SIGKILL');
        await ended;
        for (let tries = 0; tries < 200 && (existsSync(`/proc/${holder}`) || holdersOf(root).length > 0); tries += 1)
          await sleep(25);
        assert.not(existsSync(`/proc/${holder}`), 'the holder of the mounts is still there');
        assert.equal(holdersOf(root), []);
        assert.equal(holdersOf(data), []);
        assert.is(mountsOfHost(), before);
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
