import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { profileFile } from '../engine/duplicate/small-disk.ts';
import { makeSetting, plainShape, type SceneName } from './kill-scenes.ts';
import { failPower, type PowerScene } from './power-loss.ts';

async function sceneOf(name: SceneName, more: Pick<PowerScene, 'hosts' | 'regionStays'>, as?: string): Promise<PowerScene> {
  const { folder, source, targets, shape = plainShape } = await makeSetting(name);
  const profile =
    as === undefined ? undefined : profileFile(folder, (text) => text.replace(/^host: .*$/m, `host: ${as}`), `${as}.yaml`);
  const wishes = profile === undefined ? {} : { as: profile, replaceProfile: true };
  return { name: `${name} ${as ?? ''}`, folder, source, before: targets[0]?.before ?? '', wishes, shape, ...more };
}

test('when the power fails, a clone leaves the region alone, and the target is as it was, fenced, or done', async () => {
  const scene = await sceneOf('known', { hosts: ['web-07'], regionStays: true });
  const { disks, runs } = await failPower(scene, {
    some: { fence: 4, copy: 1, persona: 1, commit: 3 },
    fates: 4,
    finished: 0.15,
  });
  assert.ok(disks > 15 && runs > 1, `${disks} disks, ${runs} runs`);
});

test('when the power fails while the profile is replaced, the old one or the new one is there', async () => {
  const scene = await sceneOf('known', { hosts: ['web-07', 'web-09'], regionStays: false }, 'web-09');
  const { disks } = await failPower(scene, { some: { fence: 6 }, fates: 2, finished: 0.1 });
  assert.ok(disks > 5, `${disks} disks`);
});

test('when the power fails on a disk that was blank, or has an MBR, it is as it was, fenced, or done', async () => {
  const blank = await sceneOf('blank', { hosts: [], regionStays: false }, 'web-07');
  assert.ok((await failPower(blank, { some: { fence: 3 }, fates: 2, finished: 0.2 })).disks > 1);
  const mbr = await sceneOf('logical', { hosts: ['web-07'], regionStays: true });
  assert.ok((await failPower(mbr, { some: { fence: 2, commit: 2 }, fates: 2, finished: 0.2 })).disks > 3);
});

test.run();
