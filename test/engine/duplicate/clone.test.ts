import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { planPersonalize } from '../../../src/engine/duplicate/personalize.ts';
import { readStoredProfile } from '../../../src/engine/duplicate/stored-profile.ts';
import type { EngineEvent } from '../../../src/engine/events.ts';
import { openSource } from '../../../src/engine/image/open.ts';
import { readTable } from '../../../src/engine/layout/table.ts';
import { findRegions } from '../../../src/engine/profile/carriers/find.ts';
import { makeServerDisk } from '../../fixtures/server-disk.ts';
import { tempDir } from '../../fixtures/temp.ts';
import {
  allocated,
  bytesOf,
  checkFileSystem,
  checkGpt,
  filesOf,
  fingerprint,
  hashOf,
  loopsOn,
  tableOf,
  textOf,
} from './disk-facts.ts';
import { clone, giveProfile, targetWithProfile } from './requests.ts';
import { MiB, makeSmallDisk, newFile, parts, profileFile } from './small-disk.ts';

const folder = tempDir('clone');
const source = join(folder, 'source.img');

/** What the persona of the demo's profile changes in /etc. */
const identityFiles = /^\/(etc|var\/lib\/doppel)(\/|$)/;

async function profileOf(disk: string) {
  const { image } = await openSource(disk);
  try {
    return await readStoredProfile(image, await findRegions(image, await readTable(image)));
  } finally {
    await image.close();
  }
}

test('a clone holds the data of the source, is who its profile says, and left the region alone', async () => {
  await makeSmallDisk(source);
  const sourceBefore = fingerprint(source);
  const target = await targetWithProfile(folder);
  const region = { offset: 32_768, length: 1_015_808 };
  const before = hashOf(target, region);
  const events: EngineEvent[] = [];
  const { plan, result } = await clone(source, target, {}, { onEvent: (event) => events.push(event) });

  assert.is(hashOf(target, region), before);
  assert.is(result.regions.length, 1);
  assert.is(result.regions[0]?.sha256, hashOf(target, region));
  assert.is(fingerprint(source), sourceBefore, 'the source was not written');

  const phases = events.filter((event) => event.type === 'phase').map(({ phase }) => phase);
  assert.equal(phases, ['fence', 'copy', 'flush', 'verify', 'persona', 'commit']);
  assert.equal(
    events.filter((event) => event.type === 'target').map(({ state }) => state),
    ['fenced', 'committed'],
  );

  for (const name of ['esp', 'swap', 'app'] as const)
    assert.ok(
      bytesOf(source, { offset: parts[name].offset, length: 4096 }).equals(
        bytesOf(target, { offset: parts[name].offset, length: 4096 }),
      ),
    );
  assert.equal([...filesOf(target, parts.app)], [...filesOf(source, parts.app)]);
  const was = filesOf(source, parts.root);
  const is = filesOf(target, parts.root);
  const differing = [...new Set([...was.keys(), ...is.keys()])].filter((path) => was.get(path) !== is.get(path));
  assert.ok(differing.length > 10);
  assert.equal(
    differing.filter((path) => !identityFiles.test(path)),
    [],
  );
  assert.is(result.filesChanged, plan.persona?.changes.filter(({ after }) => after.type !== 'directory').length);

  const stored = await profileOf(target);
  assert.is(textOf(target, parts.root, '/etc/hostname'), 'web-07\n');
  assert.match(textOf(target, parts.root, '/etc/hosts'), /^127\.0\.1\.1\s+web-07\.example\.net web-07$/m);
  assert.is(textOf(target, parts.root, '/etc/machine-id'), `${stored?.bundle.generated.machineId}\n`);
  assert.match(textOf(target, parts.root, '/etc/systemd/network/10-doppel-lan0.network'), /^Address=192\.0\.2\.17\/24$/m);
  const key = stored?.bundle.generated.sshHostKeys.find(({ type }) => type === 'ed25519');
  assert.is(textOf(target, parts.root, '/etc/ssh/ssh_host_ed25519_key.pub'), key?.publicKey);
  assert.is(textOf(target, parts.root, '/etc/ssh/ssh_host_ed25519_key'), key?.privateKey);
  assert.is.not(is.get('/etc/systemd/system/multi-user.target.wants/postgresql.service'), undefined);
  assert.is(is.get('/etc/systemd/system/multi-user.target.wants/nginx.service'), undefined);
  assert.match(textOf(target, parts.root, '/etc/motd'), 'This is web-07, 192.0.2.17.');
});

test('its file systems and its table satisfy their own checkers', () => {
  const target = join(folder, 'target.img');
  checkGpt(target);
  checkFileSystem(target, parts.esp, 'vfat');
  checkFileSystem(target, parts.root, 'ext4');
  checkFileSystem(target, parts.app, 'ext4');
  assert.is(bytesOf(target, { offset: 84 * MiB - 512, length: 8 }).toString('latin1'), 'EFI PART');
  assert.is(bytesOf(target, { offset: 0, length: 23 }).toString('latin1'), 'boot code of the source');
  const entries = (disk: string) => [...tableOf(disk).matchAll(/^disk[1-4] .*$/gm)].map(([line]) => line);
  assert.equal(entries(target), entries(source));
  assert.is(entries(source).length, 4);
});

test('holes stay holes and free blocks are not copied', () => {
  const target = join(folder, 'target.img');
  const marker = bytesOf(source, parts.root).includes('deleted deleted deleted ');
  assert.ok(marker, 'the source has a deleted file');
  assert.not(bytesOf(target, parts.root).includes('deleted deleted deleted '));
  assert.ok(allocated(target) < allocated(source) + 2 * MiB, `${allocated(target)} of ${allocated(source)}`);
});

test('the same clone again gives the same disk, and personalize has nothing left to do', async () => {
  const target = join(folder, 'target.img');
  const seen = () => ({ table: tableOf(target), root: [...filesOf(target, parts.root)], app: [...filesOf(target, parts.app)] });
  const before = seen();
  const { result } = await clone(source, target);
  assert.equal(seen(), before);
  assert.ok(result.filesChanged > 0);
  const written = fingerprint(target);
  const { persona } = await planPersonalize(target);
  assert.equal(persona.changes, []);
  assert.is(fingerprint(target), written);
  assert.equal(loopsOn(folder), []);
});

test('a server with XFS: application data equal, both file systems sound', async () => {
  const xfsSource = join(folder, 'xfs-source.img');
  const target = join(folder, 'xfs-target.img');
  const disk = await makeServerDisk({ path: xfsSource });
  newFile(target, disk.size);
  const region = await giveProfile(target, profileFile(folder));
  const before = hashOf(target, region);
  await clone(xfsSource, target);
  assert.is(hashOf(target, region), before);
  const range = (name: string) => {
    const { offset, size } = disk.parts.find((part) => part.name === name) ?? { offset: 0, size: 0 };
    return { offset, length: size };
  };
  checkGpt(target);
  checkFileSystem(target, range('data'), 'xfs');
  checkFileSystem(target, range('root'), 'ext4');
  checkFileSystem(target, range('esp'), 'vfat');
  assert.equal([...filesOf(target, range('data'), 'xfs')], [...filesOf(xfsSource, range('data'), 'xfs')]);
  assert.is(textOf(target, range('root'), '/etc/hostname'), 'web-07\n');
  assert.ok(allocated(target) < allocated(xfsSource));
});

test.run();
