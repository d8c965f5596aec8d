/** Files of a FAT image through mtools, alone and below a mount point of another tree. */
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { MissingToolError } from '../../../src/engine/errors.ts';
import { ReadOnlyTreeError, UnusableFileError } from '../../../src/engine/persona/errors.ts';
import { OverlayTree } from '../../../src/engine/persona/overlay.ts';
import type { FileState } from '../../../src/engine/persona/tree.ts';
import { CompositeTree } from '../../../src/engine/persona/trees/composite.ts';
import { DirectoryTree } from '../../../src/engine/persona/trees/directory.ts';
import { FatTree } from '../../../src/engine/persona/trees/fat.ts';
import { inDirectory, isAt, linkAt } from './trees-on-disk.ts';

const run = (tool: string, ...args: string[]) =>
  execFileSync(tool, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
const file = (content: string | Uint8Array): FileState => ({
  type: 'file',
  content: Buffer.from(content),
  mode: 0o644,
  uid: 0,
  gid: 0,
});
const directory: FileState = { type: 'directory', mode: 0o755, uid: 0, gid: 0 };

async function withFat(body: (tree: FatTree, image: string, host: string) => Promise<void>): Promise<void> {
  await inDirectory(async (host) => {
    const image = join(host, 'esp.img');
    run('truncate', '-s', '40M', image);
    run('mkfs.vfat', '-F', '32', image);
    run('mmd', '-i', image, '::/EFI', '::/EFI/BOOT');
    await body(new FatTree({ device: image }), image, host);
    run('fsck.vfat', '-n', image);
  });
}

test('files and directories with short, long and odd names are written, listed, read and removed', () =>
  withFat(async (tree, image) => {
    const names = ['a', 'lower.txt', 'UPPER.EFI', 'a long name with spaces.conf', 'two.dots.in.it', 'ümlaut.txt', 'noext'];
    await tree.put('/loader', directory);
    assert.equal(await tree.list('/loader'), []);
    for (const [index, name] of names.entries()) await tree.put(`/loader/${name}`, file(`${index}\n\n`));
    assert.equal(await tree.list('/loader'), [...names].sort());
    for (const [index, name] of names.entries()) {
      assert.is(Buffer.from((await tree.read(`/loader/${name}`)) ?? []).toString(), `${index}\n\n`, name);
      assert.equal(await tree.lstat(`/loader/${name}`), { type: 'file', mode: 0o644, uid: 0, gid: 0, size: 3, ownerless: true });
    }
    assert.equal(await tree.list('/'), ['EFI', 'loader']);
    assert.is(run('mtype', '-i', image, '::/loader/lower.txt'), '1\n\n');
    for (const name of names) await tree.put(`/loader/${name}`, { type: 'absent' });
    await tree.put('/loader', { type: 'absent' });
    await tree.put('/loader', { type: 'absent' });
    assert.equal(await tree.list('/'), ['EFI']);
  }));

test('contents are kept byte for byte, also when they are replaced, empty, or large', () =>
  withFat(async (tree) => {
    const big = new Uint8Array(5_000_000).map((_, index) => (index * 7919) >> 8);
    for (const content of [new Uint8Array(), new Uint8Array([0, 10, 13, 26, 255]), big, Buffer.from('short')]) {
      await tree.put('/EFI/BOOT/x.bin', file(content));
      assert.ok(Buffer.from((await tree.read('/EFI/BOOT/x.bin')) ?? []).equals(content));
    }
    assert.equal(await tree.list('/EFI/BOOT'), ['x.bin']);
  }));

test('names do not depend on case, and what is missing is missing', () =>
  withFat(async (tree) => {
    await tree.put('/efi/boot/Loader.Conf', file('x'));
    assert.is((await tree.lstat('/EFI/boot/LOADER.CONF'))?.size, 1);
    assert.is(await tree.lstat('/EFI/none'), undefined);
    assert.is(await tree.read('/none/at/all'), undefined);
    assert.is(await tree.list('/EFI/BOOT/loader.conf'), undefined);
    assert.is(await tree.realpath('/EFI/../../EFI/./x'), '/EFI/x');
  }));

test('what FAT cannot hold, or what is in the way, is refused', () =>
  withFat(async (tree, image) => {
    const errors = await Promise.all(
      [
        tree.put('/link', { type: 'symlink', target: 'x' }),
        tree.put('/EFI', file('x')),
        tree.read('/EFI'),
        tree.put('/', { type: 'absent' }),
        tree.put('/wild*card', file('x')),
      ].map((action) => action.catch((reason: unknown) => reason)),
    );
    for (const error of errors) assert.instance(error, UnusableFileError);
    const readOnly = new FatTree({ device: image, readOnly: true });
    assert.instance(await readOnly.put('/x', file('x')).catch((reason: unknown) => reason), ReadOnlyTreeError);
    assert.equal(await tree.list('/'), ['EFI']);
  }));

test('below a mount point of another tree, links of that tree lead into it', () =>
  withFat(async (fat, _image, host) => {
    const root = join(host, 'root');
    mkdirSync(join(root, 'boot/efi'), { recursive: true });
    linkAt(root, 'efi', '/boot/efi');
    linkAt(root, 'conf', 'efi/loader/x.conf');
    const tree = new CompositeTree(new DirectoryTree(root), [{ mountPoint: '/boot/efi', tree: fat }]);
    const overlay = new OverlayTree(tree);
    await overlay.write('/efi/loader/x.conf', 'x', { mode: 0o600, uid: 3, gid: 3 });
    const changes = await overlay.changes();
    assert.equal(
      changes.map(({ path }) => path),
      ['/boot/efi/loader', '/boot/efi/loader/x.conf'],
    );
    for (const { path, after } of changes) await tree.put(path, after);
    assert.equal(await overlay.changes(), [], 'owners and modes that FAT cannot keep do not count');
    assert.is(Buffer.from((await tree.read('/conf')) ?? []).toString(), 'x');
    assert.equal(await tree.list('/efi'), ['EFI', 'loader']);
    assert.not(isAt(root, 'boot/efi/loader'));
    assert.is((await tree.lstat('/efi'))?.type, 'symlink');
    assert.is(await tree.readlink('/efi'), '/boot/efi');
  }));

test('a missing tool is named with its packages', () =>
  withFat(async (tree) => {
    const path = process.env.PATH;
    process.env.PATH = '/nonexistent';
    try {
      const error = await tree.list('/').catch((reason: unknown) => reason);
      assert.instance(error, MissingToolError);
      assert.match((error as MissingToolError).todo, /apt-get install mtools .* dnf install mtools/);
    } finally {
      process.env.PATH = path;
    }
  }));

test.run();
