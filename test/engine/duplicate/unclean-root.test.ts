/** A source whose system partition lost power: some of its files are only in the journal. */
import { appendFileSync, closeSync, fsyncSync, mkdirSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { attachLoop, mount } from '../../fixtures/loop.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { checkFileSystem, filesOf, fingerprint } from './disk-facts.ts';
import { clone, targetWithProfile } from './requests.ts';
import { copyDisk, makeSmallDisk, parts } from './small-disk.ts';
import { assertEqual, differing, edit, part, verified } from './verified.ts';

const folder = tempDir('unclean-root');

/** Replaces files that the persona looks at, so that their inodes are in the journal alone, and copies the disk before they are written home. */
function cutPower(disk: string, copy: string): void {
  const loop = attachLoop(disk, { offset: parts.root.offset, size: parts.root.length });
  const mounted = mount(loop.device, 'ext4');
  try {
    mkdirSync(join(mounted.path, 'var/lib/systemd'), { recursive: true });
    for (const name of ['etc/hostname', 'etc/hosts', 'etc/machine-id', 'var/lib/systemd/random-seed']) {
      rmSync(join(mounted.path, name), { force: true });
      const file = openSync(join(mounted.path, name), 'wx');
      writeSync(file, name === 'etc/machine-id' ? '5eed00000004400080000000000000aa\n' : 'after-the-cut\n');
      fsyncSync(file);
      closeSync(file);
    }
    copyDisk(disk, copy);
  } finally {
    mounted.unmount();
    loop.detach();
  }
}

test('an unclean root is copied whole, replayed on the target, and made itself', async () => {
  const [source, cut] = [join(folder, 'source.img'), join(folder, 'cut.img')];
  await makeSmallDisk(source);
  cutPower(source, cut);
  const target = await targetWithProfile(folder);
  const { plan } = await clone(cut, target);
  assert.ok(plan.warnings.some((warning) => warning.includes('the journal is replayed on the target only')));
  checkFileSystem(target, parts.root, 'ext4');
  const paths = [...filesOf(target, parts.root, 'ext4').keys()];
  assert.ok(paths.includes('/etc/machine-id'));
  assert.not(paths.includes('/var/lib/systemd/random-seed'), 'a twin must not share the seed that was only in the journal');
});

test('what the replay and the persona made of an unclean root is compared, without writing to the source', async () => {
  const [cut, target] = [join(folder, 'cut.img'), join(folder, 'target.img')];
  const before = fingerprint(cut);
  const result = await verified(cut, target);
  assertEqual(result);
  assert.is(part(result, 2).method, 'files');
  edit(target, parts.root, (root) => appendFileSync(join(root, 'etc/fstab'), '# later\n'));
  const spoilt = await verified(cut, target);
  assert.equal(differing(spoilt), [2]);
  assert.ok(part(spoilt, 2).paths?.every(({ path }) => path === '/etc/fstab'));
  assert.is(fingerprint(cut), before);
});

test.run();
