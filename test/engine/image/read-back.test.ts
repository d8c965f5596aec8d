import { execFileSync } from 'node:child_process';
import {
  constants,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openReadBack } from '../../../src/engine/image/read-back.ts';
import { imageUsers, sharesStorage } from '../../../src/engine/image/users.ts';
import { atEnd } from '../../fixtures/cleanup.ts';
import { attachLoop, mount } from '../../fixtures/loop.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { assertBytes } from './conformance.ts';
import { memory, sparseFile } from './places.ts';
import { random } from './random.ts';

const SIZE = (1 << 20) + 512;
const folder = tempDir();

/** Opens, says what it proved, and whether it read the content. */
async function bypassOf(path: string, content: Uint8Array): Promise<string> {
  const medium = await openReadBack(path, content.length);
  try {
    const bytes = new Uint8Array(content.length);
    await medium.read(bytes, 0);
    assertBytes(bytes, content, path);
    return medium.bypass;
  } finally {
    await medium.close();
  }
}

test('where O_DIRECT does not exist, dropped pages are proof', async () => {
  const content = random(1).bytes(SIZE);
  const tree = join(folder, 'tree');
  mkdirSync(tree);
  writeFileSync(join(tree, 'image'), content);
  const packed = join(folder, 'packed');
  execFileSync('mksquashfs', [tree, packed, '-quiet', '-no-progress']);
  const loop = attachLoop(packed, { readOnly: true });
  const mounted = mount(loop.device, 'squashfs', 'ro');
  const image = join(mounted.path, 'image');
  execFileSync('cmp', [image, join(tree, 'image')]);
  assert.is(await bypassOf(image, content), 'dropped');
  assert.is(await bypassOf(image, content), 'dropped');

  // A loop device over it is read directly, and what is behind it was dropped.
  const upper = attachLoop(image, { readOnly: true });
  assert.is(await bypassOf(upper.device, content), 'direct');
  upper.detach();
  mounted.unmount();
  loop.detach();
});

test('nothing is claimed where the pages stay, here or behind a loop device', async () => {
  const content = random(2).bytes(SIZE);
  const file = sparseFile(memory('ramfs').folder, SIZE);
  writeFileSync(file, content);
  assert.is(await bypassOf(file, content), 'none');
  const loop = attachLoop(file);
  assert.is(await bypassOf(loop.device, content), 'none');
  loop.detach();
});

test('nothing is claimed when the file behind a loop device cannot be reached', async () => {
  const content = random(3).bytes(SIZE);
  const file = sparseFile(folder, SIZE);
  const other = join(folder, 'second name');
  writeFileSync(file, content);
  linkSync(file, other);
  const loop = attachLoop(file);
  assert.is(await bypassOf(loop.device, content), 'direct');
  unlinkSync(file);
  assert.is(await bypassOf(loop.device, content), 'none');
  sparseFile(folder, SIZE, file.split('/').at(-1));
  assert.is(await bypassOf(loop.device, content), 'none');
  loop.detach();
});

test('another file under the name that a loop device knows does not count for the one behind it', async () => {
  const content = random(4).bytes(SIZE);
  const hidden = join(folder, 'hidden');
  mkdirSync(hidden);
  const file = sparseFile(hidden, SIZE, 'image');
  writeFileSync(file, content);
  const loop = attachLoop(file);
  assert.is(await bypassOf(loop.device, content), 'direct');
  const above = tempDir();
  writeFileSync(join(above, 'image'), content);
  execFileSync('mount', ['--bind', above, hidden]);
  const undo = atEnd(() => execFileSync('umount', [hidden]));
  assert.is(await bypassOf(loop.device, content), 'none');
  assert.equal(await imageUsers(file), []);
  assert.not(await sharesStorage(file, loop.device));
  execFileSync('umount', [hidden]);
  undo();
  assert.is((await imageUsers(file)).length, 1);
  assert.ok(await sharesStorage(file, loop.device));
  loop.detach();
});

test('direct is direct: the descriptor says so', async () => {
  const medium = await openReadBack(sparseFile(folder, SIZE, 'direct'), SIZE);
  const mine = readdirSync('/proc/self/fd').filter((fd) => linkOf(fd).endsWith('/direct'));
  const flags = mine.map((fd) => /^flags:\s+(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1] ?? '');
  await medium.close();
  assert.equal(
    flags.map((octal) => (Number.parseInt(octal, 8) & constants.O_DIRECT) !== 0),
    [true],
  );
});

/** The folder's own descriptor is gone when it was listed. */
function linkOf(fd: string): string {
  const path = `/proc/self/fd/${fd}`;
  return existsSync(path) ? readlinkSync(path) : '';
}

test('many small read-backs cost no memory', async () => {
  const file = sparseFile(folder, SIZE);
  const before = process.memoryUsage.rss();
  const medium = await openReadBack(file, SIZE);
  for (let i = 0; i < 3000; i++) await medium.read(new Uint8Array(100), i * 300);
  await medium.close();
  assert.ok(process.memoryUsage.rss() - before < 64 << 20);
});

test.run();
