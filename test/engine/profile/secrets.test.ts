import { execFileSync } from 'node:child_process';
import { chmod, chown, mkdir, symlink, writeFile } from 'node:fs/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ProfileInvalidError } from '../../../src/engine/profile/diagnostic.ts';
import { needRoot } from '../../fixtures/privilege.ts';
import { check, failure, head, load, marks, withFiles } from './support.ts';

// Secret files belong to root.
needRoot();

const hash = `$6$saltsalt$${'a'.repeat(86)}`;
const profile = (file: string) =>
  `${head}secrets:\n  pw: {file: §${file}}\nwrite_files: [{path: /etc/pw, content: {secret: pw}}]\n`;

/** Runs with a secret file that is fine, until `spoil` has been at it; answers the E017 found at its place, or undefined. */
async function complaint(spoil: (file: string, directory: string) => Promise<unknown>, name = 'pw'): Promise<string | undefined> {
  return withFiles({ pw: 'hunter2\n' }, async (directory) => {
    await chmod(`${directory}/pw`, 0o600);
    await spoil(`${directory}/pw`, directory);
    const { text, places } = marks(profile(`${directory}/${name}`));
    const found = await check(text);
    assert.ok(found.length <= 1);
    if (found[0] === undefined) return undefined;
    assert.is(found[0].code, 'E017');
    assert.is(found[0].path, 'secrets.pw.file');
    assert.equal([found[0].line, found[0].column], places[0]);
    return found[0].message;
  });
}

test('a regular file of root with 0600 or less is taken', async () => {
  for (const mode of [0o600, 0o400]) assert.is(await complaint((file) => chmod(file, mode)), undefined);
});

test('E017: a wider mode, execute and set-id bits included', async () => {
  for (const mode of [0o640, 0o604, 0o601, 0o700, 0o4600]) {
    assert.match((await complaint((file) => chmod(file, mode))) ?? '', new RegExp(`mode 0${mode.toString(8)}`));
  }
});

test("E017: somebody else's file", async () => {
  assert.match((await complaint((file) => chown(file, 1000, 0))) ?? '', /belongs to user 1000/);
});

test('E017: symbolic links, missing files, directories, pipes, devices', async () => {
  assert.match((await complaint((file, directory) => symlink(file, `${directory}/link`), 'link')) ?? '', /symbolic link/);
  assert.match((await complaint(async () => {}, 'gone')) ?? '', /there is no file/);
  assert.match((await complaint((_, directory) => mkdir(`${directory}/d`), 'd')) ?? '', /not a regular file/);
  const pipe = async (_: string, directory: string) => execFileSync('mkfifo', ['-m', '600', `${directory}/fifo`]);
  assert.match((await complaint(pipe, 'fifo')) ?? '', /not a regular file/);
});

test('E017: a directory on the way that others could change', async () => {
  const inside = async (change: (directory: string) => Promise<unknown>) =>
    complaint(async (_, directory) => {
      await mkdir(`${directory}/sub`);
      await writeFile(`${directory}/sub/pw`, 'x', { mode: 0o600 });
      await change(`${directory}/sub`);
    }, 'sub/pw');
  assert.is(await inside(async () => {}), undefined);
  assert.match((await inside((directory) => chmod(directory, 0o777))) ?? '', /can be written by others/);
  assert.is(await inside((directory) => chmod(directory, 0o1777)), undefined, 'sticky, as /tmp');
  assert.match((await inside((directory) => chown(directory, 1000, 1000))) ?? '', /belongs to user 1000/);
});

test('E017: not text, or too large', async () => {
  assert.match((await complaint((file) => writeFile(file, Buffer.from([0xff, 0xfe])))) ?? '', /not UTF-8/);
  assert.match((await complaint((file) => writeFile(file, 'x'.repeat(262_145)))) ?? '', /larger than/);
});

test('contents are kept as they are; a password loses its final newline; what is not referred to is not read', () =>
  withFiles({ text: 'a\nb\n', hash: `${hash}\n` }, async (directory) => {
    for (const name of ['text', 'hash']) await chmod(`${directory}/${name}`, 0o600);
    const text = `${head}secrets: {t: {file: ${directory}/text}, h: {file: ${directory}/hash}, unused: {file: /nonexistent}}\nusers: [{name: root, hashed_passwd: {secret: h}}]\nwrite_files: [{path: /a, content: {secret: t}}]\n`;
    assert.equal(await (await load(text)).readSecrets(), { h: hash, t: 'a\nb\n' });
  }));

test('E023: a password file that holds no hash, at the reference; its content is never shown', () =>
  withFiles({ pw: 'hunter2\n' }, async (directory) => {
    await chmod(`${directory}/pw`, 0o600);
    const { text, places } = marks(
      `${head}secrets: {pw: {file: ${directory}/pw}}\nusers: [{name: root, hashed_passwd: {secret: §pw}}]\n`,
    );
    const [found] = await check(text);
    assert.equal([found?.code, [found?.line, found?.column]], ['E023', places[0]]);
    assert.not.match(found?.message ?? '', /hunter2/);
  }));

test('the files may be left unlooked at, but not when the secrets are read', async () => {
  const { text } = marks(profile('/nonexistent/pw'));
  assert.equal(await check(text, { secrets: 'skip' }), []);
  const loaded = await load(text, { secrets: 'skip' });
  const error = await failure(ProfileInvalidError, () => loaded.readSecrets());
  assert.is(error.diagnostics[0]?.code, 'E017');
});

test.run();
