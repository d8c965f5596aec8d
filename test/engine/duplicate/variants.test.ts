import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { executeClone } from '../../../src/engine/duplicate/execute.ts';
import { planClone } from '../../../src/engine/duplicate/make-plan.ts';
import { attachLoop } from '../../fixtures/loop.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { bytesOf, checkFileSystem, checkGpt, filesOf, fingerprint, hashOf, tableOf, textOf } from './disk-facts.ts';
import { clone, giveProfile, refusal, requestOf, targetWithProfile, writeProfile } from './requests.ts';
import { copyDisk, copyPart, MiB, makeSmallDisk, newFile, parts, profileFile, smallSize, tool, writeInto } from './small-disk.ts';

const folder = tempDir('variants');
const source = join(folder, 'source.img');
const regionRange = { offset: 32_768, length: 1_015_808 };
const at = (name: string) => join(folder, name);

test.before(() => makeSmallDisk(source));

function blank(name: string, size = smallSize): string {
  newFile(at(name), size);
  return at(name);
}

test('a plain copy onto a blank disk is a twin', async () => {
  const target = blank('plain.img');
  const { result } = await clone(source, target, { as: 'none' });
  assert.is(result.filesChanged, 0);
  assert.is(tableOf(target), tableOf(source));
  for (const name of ['root', 'app'] as const) assert.equal([...filesOf(target, parts[name])], [...filesOf(source, parts[name])]);
  checkGpt(target);
});

test('a plain copy leaves the region of its target alone', async () => {
  const target = await targetWithProfile(folder, 'plain-region.img');
  const before = hashOf(target, regionRange);
  await clone(source, target, { as: 'none' });
  assert.is(hashOf(target, regionRange), before);
  assert.match(tableOf(target), 'doppel');
  assert.is(textOf(target, parts.root, '/etc/hostname'), 'source-01\n');
  checkGpt(target);
});

test('--as source takes the identity over that the source carries', async () => {
  const carrying = at('carrying.img');
  copyDisk(source, carrying);
  await giveProfile(carrying, profileFile(folder));
  const target = blank('heir.img');
  const { plan } = await clone(carrying, target, { as: 'source' });
  assert.is(plan.identity.bundle?.resolved.host, 'web-07');
  assert.is(textOf(target, parts.root, '/etc/hostname'), 'web-07\n');
  assert.is(
    (await planClone(requestOf(source, target))).identity.bundle?.generated.machineId,
    plan.identity.bundle?.generated.machineId,
  );
  const error = await refusal(() => planClone(requestOf(source, target, { as: 'source' })));
  assert.is(error.code, 'SOURCE_WITHOUT_PROFILE');
});

test('a disk with 4096-byte sectors, through loop devices', async () => {
  const native = at('native.img');
  await makeSmallDisk(native, { sectorSize: 4096 });
  const target = blank('native-target.img');
  const [from, to] = [attachLoop(native, { sectorSize: 4096, readOnly: true }), attachLoop(target, { sectorSize: 4096 })];
  await clone(from.device, to.device, { as: profileFile(folder) });
  const verdict = tool('sgdisk', ['-v', to.device]);
  assert.match(verdict, 'No problems found');
  const dump = (device: string) =>
    [...tool('sfdisk', ['--dump', device]).matchAll(/^\S+[1-4] : (.*)$/gm)].map(([, rest]) => rest);
  assert.equal(dump(to.device), dump(from.device));
  for (const loop of [from, to]) loop.detach();
  checkFileSystem(target, parts.root, 'ext4');
  assert.is(textOf(target, parts.root, '/etc/hostname'), 'web-07\n');
  assert.equal([...filesOf(target, parts.app)], [...filesOf(native, parts.app)]);
  // As plain files too: the table inside tells the size of a sector.
  const fileTarget = blank('native-file.img');
  await clone(native, fileTarget, { as: 'none' });
  assert.is(hashOf(fileTarget, { offset: 0, length: 4096 }), hashOf(native, { offset: 0, length: 4096 }));
});

test('an MBR disk: a raw region, the loader in the gap, and the active flag only at the end', async () => {
  const mbr = at('mbr.img');
  await makeSmallDisk(mbr, { table: 'mbr' });
  const loader = Buffer.alloc(30_000, 'core.img ');
  writeInto(mbr, loader, 512);
  const target = blank('mbr-target.img');
  tool('sfdisk', ['--quiet', target], 'label: dos\n');
  await writeProfile(target, profileFile(folder));
  const plan = await planClone(requestOf(mbr, target));
  const [region] = plan.regions;
  assert.is(region?.carrier, 'raw');
  const before = hashOf(target, region);
  const aborting = new AbortController();
  const fenced = await executeClone(plan, {
    signal: aborting.signal,
    onEvent: (event) => event.type === 'phase' && event.phase === 'verify' && aborting.abort(new Error('stop here')),
  }).catch((error: Error) => error.message);
  assert.is(fenced, 'stop here');
  const sector = () => bytesOf(target, { offset: 0, length: 512 });
  assert.match(sector().toString('latin1'), 'doppel-incomplete');
  assert.not(
    [446, 462, 478, 494].some((entry) => sector()[entry] === 0x80),
    'no entry is active',
  );
  await clone(mbr, target);
  assert.is(hashOf(target, region), before);
  assert.ok(bytesOf(target, { offset: 512, length: loader.length }).equals(loader));
  assert.ok(sector().equals(bytesOf(mbr, { offset: 0, length: 512 })), "table, boot code and active flag are the source's");
  assert.is(textOf(target, parts.root, '/etc/hostname'), 'web-07\n');
  tool('sfdisk', ['--verify', target]);
});

test('a file system without a table is copied with --as none, its first MiB last', async () => {
  const whole = at('whole.img');
  copyPart(source, parts.app, whole);
  const target = blank('whole-target.img', parts.app.length);
  tool('mkfs.ext4', ['-q', '-F', target]);
  const plan = await planClone(requestOf(whole, target, { as: 'none' }));
  const aborting = new AbortController();
  const outcome = await executeClone(plan, {
    signal: aborting.signal,
    onEvent: (event) => event.type === 'phase' && event.phase === 'verify' && aborting.abort(new Error('stop here')),
  }).catch((error: Error) => error.message);
  assert.is(outcome, 'stop here');
  assert.ok(
    bytesOf(target, { offset: 0, length: MiB }).every((byte) => byte === 0),
    'nothing can be found there',
  );
  await clone(whole, target, { as: 'none' });
  const range = { offset: 0, length: parts.app.length };
  checkFileSystem(target, range, 'ext4');
  assert.equal([...filesOf(target, range)], [...filesOf(whole, range)]);
  const error = await refusal(() => planClone(requestOf(whole, blank('whole-as.img'), { as: profileFile(folder) })));
  assert.is(error.code, 'NO_TABLE');
});

test('--exact copies every byte of parts and gaps', async () => {
  const full = at('full.img');
  copyDisk(source, full);
  tool('sgdisk', ['--delete=3', full]);
  writeInto(full, Buffer.alloc(5000, 'in a gap between parts '), parts.swap.offset + 4096);
  writeInto(full, Buffer.alloc(5000, 'in the gap in front '), 900 * 1024);
  const target = blank('exact.img');
  writeInto(target, Buffer.alloc(smallSize - 2 * MiB, 'what was there '), MiB);
  await clone(full, target, { as: 'none', exact: true });
  const inner = { offset: 34 * 512, length: smallSize - 67 * 512 };
  assert.is(hashOf(target, inner), hashOf(full, inner));
  const withRegion = await targetWithProfile(folder, 'exact-region.img');
  const before = hashOf(withRegion, regionRange);
  const other = at('exact-source.img');
  copyDisk(source, other);
  await clone(other, withRegion, { exact: true });
  assert.is(hashOf(withRegion, regionRange), before);
  for (const name of ['esp', 'swap', 'app'] as const) assert.is(hashOf(withRegion, parts[name]), hashOf(other, parts[name]));
});

test('unused space is left, zeroed or discarded as asked', async () => {
  const old = blank('old.img');
  writeInto(old, Buffer.alloc(smallSize - 2 * MiB, 'of the previous owner '), MiB);
  for (const unused of ['skip', 'zero', 'discard'] as const) {
    const target = at(`unused-${unused}.img`);
    copyDisk(old, target);
    await clone(source, target, { as: 'none', unused });
    const rest = bytesOf(target, parts.app).includes('of the previous owner');
    assert.is(rest, unused === 'skip', unused);
    assert.equal([...filesOf(target, parts.app)], [...filesOf(source, parts.app)]);
  }
});

test('--no-verify says so', async () => {
  const { result } = await clone(source, blank('unverified.img'), { as: 'none', verify: false });
  assert.is(result.verified, 'skipped');
});

test('on a larger target the backup table stands at its end, and a stale one is gone', async () => {
  const target = await targetWithProfile(folder, 'larger.img');
  const before = hashOf(target, regionRange);
  const stale = smallSize - 512;
  assert.is(bytesOf(target, { offset: stale, length: 8 }).toString('latin1'), 'EFI PART');
  tool('truncate', ['--size', String(smallSize + 16 * MiB), target]);
  await clone(source, target);
  assert.is(bytesOf(target, { offset: smallSize + 16 * MiB - 512, length: 8 }).toString('latin1'), 'EFI PART');
  assert.is.not(bytesOf(target, { offset: stale, length: 8 }).toString('latin1'), 'EFI PART');
  checkGpt(target);
  assert.is(hashOf(target, regionRange), before);
  const entries = (disk: string) => [...tableOf(disk).matchAll(/^disk[1-4] .*$/gm)].map(([line]) => line);
  assert.equal(entries(target), entries(source));
});

test('a block device as a target', async () => {
  const file = await targetWithProfile(folder, 'device.img');
  const before = hashOf(file, regionRange);
  const loop = attachLoop(file, { partitions: true });
  await clone(source, loop.device);
  // Does the kernel read GPTs at all? Where it does, it must know the new one.
  if (existsSync(`/sys/block/${basename(loop.device)}/${basename(loop.device)}p4`))
    assert.is(tool('blockdev', ['--getsize64', `${loop.device}p4`]).trim(), String(parts.app.length));
  loop.detach();
  assert.is(hashOf(file, regionRange), before);
  assert.is(textOf(file, parts.root, '/etc/hostname'), 'web-07\n');
  checkGpt(file);
});

test('a target that changed after the plan was made is refused', async () => {
  const target = await targetWithProfile(folder, 'changed.img');
  const plan = await planClone(requestOf(source, target));
  tool('sgdisk', ['--new=1:4M:+4M', target]);
  const before = fingerprint(target);
  const error = await refusal(() => executeClone(plan));
  assert.is(error.code, 'PLAN_OUTDATED');
  assert.is(fingerprint(target), before);
});

test.run();
