/** Writing below a root: nothing leads out of it, and a file keeps what it had. */
import { execFileSync } from 'node:child_process';
import { chownSync, lstatSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { getXattr, listXattrs, setXattr } from '../../../src/engine/native/xattr.ts';
import { TargetFileError, UnusableFileError } from '../../../src/engine/persona/errors.ts';
import { OverlayTree } from '../../../src/engine/persona/overlay.ts';
import type { FileState } from '../../../src/engine/persona/tree.ts';
import { DirectoryTree } from '../../../src/engine/persona/trees/directory.ts';
import { inDirectory, isAt, linkAt, modeAt, textAt, writeAt } from './trees-on-disk.ts';

const file = (text: string, mode = 0o644): FileState => ({ type: 'file', content: Buffer.from(text), mode, uid: 0, gid: 0 });

async function rejects(action: Promise<unknown>, type: new (...args: never[]) => Error, pattern: RegExp): Promise<void> {
  const error = await action.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.instance(error, type);
  assert.match((error as Error).message, pattern);
}

/** A host directory with a canary, and a hostile root inside it. */
async function hostile(body: (host: string, root: string, tree: DirectoryTree) => Promise<void>): Promise<void> {
  await inDirectory(async (host) => {
    writeAt(host, 'etc/canary', 'untouched\n', 0o604);
    const root = join(host, 'root');
    mkdirSync(root);
    await body(host, root, new DirectoryTree(root));
    assert.is(textAt(host, 'etc/canary'), 'untouched\n');
    assert.is(modeAt(host, 'etc/canary'), '604');
    assert.equal(readdirSync(join(host, 'etc')), ['canary']);
    assert.equal(readdirSync(host).sort(), ['etc', 'root']);
  });
}

test('a directory link with too many ".." stays inside the root', () =>
  hostile(async (_host, root, tree) => {
    linkAt(root, 'etc', '/../../../../etc');
    mkdirSync(join(root, 'real'));
    // etc -> /etc -> itself: a loop inside the root, never the host's /etc.
    await rejects(tree.put('/etc/canary', file('overwritten')), UnusableFileError, /more than 40 symbolic links/);
    linkAt(root, 'etc', '../../../real');
    await tree.put('/etc/canary', file('inside'));
    assert.is(textAt(root, 'real/canary'), 'inside');
  }));

test('an absolute link to a file of the host leads to the same path inside the root', () =>
  hostile(async (host, root, tree) => {
    linkAt(root, 'hostname', `${host}/etc/canary`);
    assert.is(await tree.read('/hostname'), undefined);
    assert.is(await tree.realpath('/hostname'), `${host}/etc/canary`);
    const overlay = new OverlayTree(tree);
    await overlay.write('/hostname', 'overwritten\n');
    for (const change of await overlay.changes()) await tree.put(change.path, change.after);
    assert.is(textAt(root, `${host}/etc/canary`), 'overwritten\n');
  }));

test('put replaces a link and does not write through it', () =>
  hostile(async (host, root, tree) => {
    linkAt(root, 'hostname', `${host}/etc/canary`);
    await tree.put('/hostname', file('name\n'));
    assert.ok(lstatSync(join(root, 'hostname')).isFile());
  }));

test('a link in the middle of a path is resolved inside the root', () =>
  hostile(async (host, root, tree) => {
    mkdirSync(join(root, 'a/b'), { recursive: true });
    linkAt(root, 'a/b/c', `${host}/etc`);
    assert.is(await tree.read('/a/b/c/canary'), undefined);
    await rejects(tree.put('/a/b/c/canary', file('x')), TargetFileError, /ENOENT/);
    linkAt(root, 'a/b/d', '../../../../../../a');
    await tree.put('/a/b/d/new', file('x'));
    assert.is(textAt(root, 'a/new'), 'x');
  }));

test('link loops and dangling links end in an error or in nothing', () =>
  hostile(async (_host, root, tree) => {
    linkAt(root, 'x', 'y');
    linkAt(root, 'y', 'x');
    await rejects(tree.read('/x'), UnusableFileError, /symbolic links/);
    assert.is(await tree.readlink('/x'), 'y');
    linkAt(root, 'dangling', '/nowhere/at/all');
    assert.is(await tree.read('/dangling'), undefined);
    assert.is((await tree.lstat('/dangling'))?.type, 'symlink');
    assert.is(await tree.list('/dangling'), undefined);
  }));

test('a name with a NUL byte is refused', () =>
  hostile(async (_host, _root, tree) => rejects(tree.read('/etc\0/x'), UnusableFileError, /NUL/)));

test('a fifo, a socket, a device and a directory are refused and never opened', () =>
  hostile(async (_host, root, tree) => {
    execFileSync('mkfifo', [join(root, 'fifo')]);
    execFileSync('mknod', [join(root, 'null'), 'c', '1', '3']);
    const server = createServer().listen(join(root, 'socket'));
    await new Promise((resolve) => server.once('listening', resolve));
    mkdirSync(join(root, 'directory'));
    for (const name of ['fifo', 'null', 'socket', 'directory']) {
      linkAt(root, 'link', `/${name}`);
      await rejects(tree.read(`/${name}`), UnusableFileError, /not a regular file/);
      await rejects(tree.read('/link'), UnusableFileError, /not a regular file/);
      await rejects(tree.put(`/${name}`, file('x')), UnusableFileError, /is a/);
    }
    await new Promise((resolve) => server.close(resolve));
  }));

test('a file over 16 MiB is refused before it is read', () =>
  hostile(async (_host, root, tree) => {
    execFileSync('truncate', ['-s', '16777217', join(root, 'big')]);
    await rejects(tree.read('/big'), UnusableFileError, /16777217 bytes/);
  }));

test('replacing keeps ACL and other attributes, but none that vouch for the old content', () =>
  hostile(async (_host, root, tree) => {
    const path = join(root, 'file');
    writeFileSync(path, 'old');
    setXattr(path, 'user.note', Buffer.from('kept'));
    setXattr(path, 'security.selinux', Buffer.from('system_u:object_r:etc_t:s0\0'));
    execFileSync('setfattr', [
      '-n',
      'system.posix_acl_access',
      '-v',
      '0x0200000001000600ffffffff02000400e803000004000400ffffffff10000400ffffffff20000400ffffffff',
      path,
    ]);
    setXattr(path, 'security.capability', Buffer.from('0100000200040000000000000000000000000000', 'hex'));
    const acl = getXattr(path, 'system.posix_acl_access');
    await tree.put('/file', file('new', 0o644));
    assert.is(textAt(root, 'file'), 'new');
    assert.equal(listXattrs(path).sort(), ['security.selinux', 'system.posix_acl_access', 'user.note']);
    assert.is(Buffer.from(getXattr(path, 'user.note') ?? []).toString(), 'kept');
    assert.equal(getXattr(path, 'system.posix_acl_access'), acl);
    assert.is(modeAt(root, 'file'), '644');
    assert.is(getXattr(path, 'user.none'), undefined);
  }));

test("a new file gets its directory's SELinux label", () =>
  hostile(async (_host, root, tree) => {
    mkdirSync(join(root, 'etc'));
    setXattr(join(root, 'etc'), 'security.selinux', Buffer.from('system_u:object_r:etc_t:s0\0'));
    await tree.put('/etc/new', file('x'));
    assert.is(Buffer.from(getXattr(join(root, 'etc/new'), 'security.selinux') ?? []).toString(), 'system_u:object_r:etc_t:s0\0');
  }));

test('mode and owner are as asked, links and directories too, and nothing temporary stays', () =>
  hostile(async (_host, root, tree) => {
    await tree.put('/d', { type: 'directory', mode: 0o2750, uid: 5, gid: 6 });
    await tree.put('/d/f', { type: 'file', content: Buffer.from('x'), mode: 0o4711, uid: 7, gid: 8 });
    await tree.put('/d/l', { type: 'symlink', target: '/etc/machine-id' });
    await tree.put('/d/l', { type: 'symlink', target: 'elsewhere' });
    assert.equal(await tree.lstat('/d'), {
      type: 'directory',
      mode: 0o2750,
      uid: 5,
      gid: 6,
      size: lstatSync(join(root, 'd')).size,
    });
    assert.equal(await tree.lstat('/d/f'), { type: 'file', mode: 0o4711, uid: 7, gid: 8, size: 1 });
    assert.is(await tree.readlink('/d/l'), 'elsewhere');
    assert.equal(await tree.list('/d'), ['f', 'l']);
    await tree.put('/d/l', { type: 'absent' });
    await tree.put('/d/gone', { type: 'absent' });
    assert.equal(await tree.list('/d'), ['f']);
  }));

test('what a crash left of a write is replaced by the next one', () =>
  hostile(async (_host, root, tree) => {
    writeAt(root, '.f.doppel-new', 'half');
    await tree.put('/f', file('whole'));
    assert.equal(readdirSync(root), ['f']);
  }));

test('a failed write leaves the old file and nothing temporary', () =>
  hostile(async (_host, root, tree) => {
    writeAt(root, 'f', 'old');
    chownSync(join(root, 'f'), 3, 3);
    await rejects(
      tree.put('/f', { type: 'file', content: Buffer.from('x'), mode: 0o644, uid: -5, gid: 0 }),
      TargetFileError,
      /writing \/f/,
    );
    assert.is(textAt(root, 'f'), 'old');
    assert.equal(readdirSync(root), ['f']);
    assert.not(isAt(root, '.f.doppel-new'));
  }));

test.run();
