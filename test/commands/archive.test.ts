/** `doppel archive ...`, parts of archives, and `capture --base`, as somebody types them. */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { filesOf, hashOf } from '../engine/duplicate/disk-facts.ts';
import { makeSmallDisk, parts, tool } from '../engine/duplicate/small-disk.ts';
import { tempDir } from '../fixtures/temp.ts';
import { doppel, doppelFails, doppelOk } from './run-doppel.ts';

const folder = tempDir('archive-command');
const disks = tempDir('archive-command-disks');
const source = join(disks, 'source.img');
const later = join(disks, 'later.img');
const [may, june] = [join(folder, 'may'), join(folder, 'june')];

test.before(async () => {
  await makeSmallDisk(source);
  execFileSync('cp', [source, later]);
  writeFileSync(join(disks, 'news'), 'what happened since\n');
  tool('debugfs', ['-w', '-R', `write ${join(disks, 'news')} news`, `${later}?offset=${parts.app.offset}`]);
  await doppelOk('capture', source, may, '--segment-size', '1M');
});

test('capture --base takes what the base has, and says how much that was', async () => {
  const refused = await doppelFails('capture', later, june, '--base', may, '--segment-size', '2M');
  assert.equal([refused.code, refused.exitCode], ['SEGMENT_SIZE_DIFFERS', 2]);
  const missing = await doppelFails('capture', later, june, '--base', join(folder, 'nothing'));
  assert.is(missing.exitCode, 7);
  assert.not(existsSync(june));
  const { stdout } = await doppelOk('capture', later, june, '--base', may, '--level', '9');
  assert.match(stdout, new RegExp(`Base +\\d+ segments \\(.*\\) are those of ${may}; .* are new`));
  const again = await doppelOk('capture', later, `${june}.tar`, '--base', may, '--level', '9', '--segment-size', '1M', '--json');
  const { base, reused, bytes, digest } = JSON.parse(again.stdout);
  assert.is(base, may);
  assert.ok(reused.segments > 5 && reused.bytes < bytes);
  assert.match(stdout, digest);
  assert.match((await doppelOk('archive', 'verify', june)).stdout, 'is whole');
});

test('archive diff exits 8 and tells what differs, and 0 when nothing does', async () => {
  const { exitCode, stdout, stderr } = await doppel('archive', 'diff', may, june);
  assert.is(exitCode, 8);
  assert.match(stdout, /2 +os .* equal/);
  assert.match(stdout, /4 +application .* DIFFERS: .* in \d segments?/);
  assert.match(stdout, /A disk that holds .*may lacks .* of .*june: \d of its \d+ segments/);
  assert.match(stderr, 'ARCHIVES_DIFFER (exit 8)');
  const { data } = await doppelFails('archive', 'diff', may, june);
  const { result } = data as { result: { equal: boolean; parts: { what: string }[] } };
  assert.is(result.equal, false);
  const same = await doppelOk('archive', 'diff', june, `${june}.tar`);
  assert.match(same.stdout, 'hold the same');
  assert.is(JSON.parse((await doppelOk('archive', 'diff', june, `${june}.tar`, '--json')).stdout).result.equal, true);
});

test('archive list shows a directory of archives, and exits 6 when one is damaged', async () => {
  const { stdout } = await doppelOk('archive', 'list', folder);
  assert.match(stdout, /may +source-01 +Debian.* boot os swap application .* sha256:[0-9a-f]{12}$/);
  assert.is(stdout.trimEnd().split('\n').length, 4, stdout);
  writeFileSync(join(folder, 'foreign.tar'), 'no tar');
  assert.match((await doppelOk('archive', 'list', folder)).stdout, /Not listed: .*foreign.tar is no archive/);
  const tar = join(folder, 'cut.tar');
  execFileSync('sh', ['-c', `head -c 100000 ${june}.tar > ${tar}`]);
  const { exitCode, stdout: text } = await doppel('archive', 'list', folder, '--json');
  assert.is(exitCode, 6);
  const { archives, others } = JSON.parse(text);
  assert.is(archives.length, 3);
  assert.equal(
    others.map(({ name, what, code }: Record<string, string>) => [name, what, code]),
    [
      [tar, 'damaged', 'ARCHIVE_CORRUPT'],
      [join(folder, 'foreign.tar'), 'foreign', 'NOT_AN_ARCHIVE'],
    ],
  );
});

test('archive prune asks, and removes what nothing names', async () => {
  const blobs = join(june, 'blobs/sha256');
  const left = join(blobs, 'a'.repeat(64));
  writeFileSync(left, 'left over');
  const dry = await doppelOk('archive', 'prune', june, '--dry-run');
  assert.match(dry.stdout, /blobs\/sha256\/a+ +9 B\nWould remove 1 file \(9 B\)/);
  assert.match((await doppel('archive', 'prune', june)).stderr, 'NO_TERMINAL (exit 4)');
  assert.ok(existsSync(left));
  const { stdout } = await doppelOk('archive', 'prune', june, '--yes', '--json');
  assert.is(JSON.parse(stdout).remove.length, 1);
  assert.not(existsSync(left));
  assert.match((await doppelOk('archive', 'prune', june)).stdout, 'Nothing is to be removed');
  await doppelOk('archive', 'verify', june);
  assert.is((await doppelFails('archive', 'prune', `${june}.tar`)).code, 'NOT_AN_ARCHIVE');
});

test('what skopeo has put beside an archive stays, and says which images there are', async () => {
  const both = join(disks, 'both');
  for (const [from, tag] of [
    [may, 'may'],
    [june, 'june'],
  ]) {
    const { status, stderr } = spawnSync('skopeo', ['copy', '--all', `oci:${from}`, `oci:${both}:${tag}`], { encoding: 'utf8' });
    assert.is(status, 0, stderr);
  }
  const before = readdirSync(join(both, 'blobs/sha256'));
  writeFileSync(join(both, 'blobs/sha256', 'b'.repeat(64)), 'left over');
  await doppelOk('archive', 'prune', both, '--yes');
  assert.equal(readdirSync(join(both, 'blobs/sha256')), before);
  const { message, todo } = await doppelFails('archive', 'verify', both);
  assert.match(message, 'it holds 2 images (may, june)');
  const [command] = /skopeo copy .*(?=\.$)/.exec(todo) ?? [''];
  execFileSync('sh', ['-c', command.replace('NEW-DIRECTORY', join(disks, 'taken-out'))], { stdio: 'pipe' });
  await doppelOk('archive', 'verify', join(disks, 'taken-out'));
});

test('a part of an archive is cloned, restored, verified, inspected and extracted', async () => {
  const app = join(disks, 'app.img');
  const { stdout } = await doppelOk('archive', 'extract', `${june}#label=app`, app);
  assert.match(stdout, `app.img holds ${june}#label=app: 24 MiB`);
  assert.ok(filesOf(app, { offset: 0, length: parts.app.length }).has('/news'));
  assert.match((await doppel('archive', 'extract', june, app)).stderr, 'IMAGE_EXISTS (exit 4)');
  const other = join(disks, 'other.img');
  await doppelOk('clone', `${june}#4`, other, '--size', '24M', '--as', 'none', '--yes');
  assert.is(hashOf(other), hashOf(app));
  const target = join(disks, 'target.img');
  execFileSync('cp', [source, target]);
  await doppelOk('restore', `${june}#4`, `${target}#4`, '--as', 'none', '--yes');
  await doppelOk('verify', june, target, '--as', 'none');
  await doppelOk('verify', `${june}#4`, app, '--as', 'none');
  assert.match((await doppelOk('inspect', `${june}#2`)).stdout, /#2 \(archive, 48 MiB[\s\S]*source-01/);
  assert.is((await doppelFails('inspect', `${june}#9`)).code, 'NO_SUCH_PART');
  const whole = join(disks, 'whole.img');
  const document = JSON.parse((await doppelOk('archive', 'extract', `${june}.tar`, whole, '--json')).stdout);
  assert.equal([document.target, document.verified, document.size], ['committed', 'direct', 84 << 20]);
  await doppelOk('verify', later, whole, '--as', 'none');
});

test.run();
