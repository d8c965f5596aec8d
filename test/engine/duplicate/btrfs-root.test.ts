/** A system in a btrfs is not opened: that is said, and its part is no application that --skip leaves out. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { inspectImage } from '../../../src/engine/duplicate/inspect.ts';
import { planClone } from '../../../src/engine/duplicate/make-plan.ts';
import { attachLoop } from '../../fixtures/loop.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { refusal, requestOf } from './requests.ts';
import { MiB, newFile, tool } from './small-disk.ts';
import { edit } from './verified.ts';

const folder = tempDir('btrfs-root');

/** A disk whose only part is a btrfs with the files that `fill` writes into its top directory. */
function disk(name: string, fill: (top: string) => void, label = ''): string {
  const path = join(folder, name);
  newFile(path, 130 * MiB);
  tool('sfdisk', ['--quiet', path], `label: gpt\nstart=2048, size=${(120 * MiB) / 512}${label && `, name=${label}`}\n`);
  const loop = attachLoop(path, { offset: MiB, size: 120 * MiB });
  try {
    tool('mkfs.btrfs', ['-q', loop.device]);
  } finally {
    loop.detach();
  }
  edit(path, { offset: MiB, length: 120 * MiB }, fill, 'btrfs');
  return path;
}

const subvolume =
  (...names: string[]) =>
  (top: string) => {
    for (const name of names) tool('btrfs', ['subvolume', 'create', join(top, name)]);
  };

test('a root in a subvolume, or in the top directory, is of kind os, and the notes say that it was not looked into', async () => {
  const plain = (top: string) => {
    for (const name of ['etc', 'usr', 'var', 'home']) mkdirSync(join(top, name));
    for (let index = 0; index < 3000; index++) writeFileSync(join(top, 'var', `file-${index}`), `${index}`);
  };
  const roots = [
    disk('at.img', subvolume('@', '@home')),
    disk('fedora.img', subvolume('root', 'home')),
    disk('plain.img', plain),
  ];
  const target = join(folder, 'target.img');
  newFile(target, 140 * MiB);
  for (const root of [...roots, disk('named.img', () => {}, 'root')]) {
    const { parts, notes } = await inspectImage(root);
    assert.is(parts[0]?.kind, 'os', root);
    assert.match(notes.join('\n'), /partition 1.* was not looked into: doppel does not open btrfs/);
    assert.not.match(notes.join('\n'), 'was found on it');
    const plan = await planClone(requestOf(root, target, { as: 'none', kinds: { skip: ['application'] } }));
    assert.equal(
      plan.parts.map(({ fate, kind }) => [fate, kind]),
      [['copied', 'os']],
    );
    assert.match(plan.notes.join('\n'), /source: partition 1.* was not looked into/);
  }
});

test('a btrfs of data stays an application', async () => {
  const data = disk('data.img', (top) => {
    mkdirSync(join(top, 'etc'));
    tool('btrfs', ['subvolume', 'create', join(top, 'home')]);
    mkdirSync(join(top, 'root'));
  });
  assert.is((await inspectImage(data)).parts[0]?.kind, 'application');
  const target = join(folder, 'of-data.img');
  newFile(target, 140 * MiB);
  const error = await refusal(() => planClone(requestOf(data, target, { as: 'none', kinds: { skip: ['application'] } })));
  assert.is(error.code, 'NOTHING_TO_COPY');
});

test.run();
