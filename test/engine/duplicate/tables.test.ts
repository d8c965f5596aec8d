/** Tables that differ from the source's: other sizes and sectors, grown parts, new ids. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { planClone } from '../../../src/engine/duplicate/make-plan.ts';
import { attachLoop, mount } from '../../fixtures/loop.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { bytesOf, checkFileSystem, checkGpt, filesOf, loopsOn, tableOf, textOf } from './disk-facts.ts';
import { clone, giveProfile, refusal, requestOf } from './requests.ts';
import { copyDisk, MiB, makeSmallDisk, newFile, parts, profileFile, smallSize, tool, writeInto } from './small-disk.ts';

const folder = tempDir('tables');
const source = join(folder, 'source.img');
const at = (name: string) => join(folder, name);

test.before(() => makeSmallDisk(source));
test.after(() => assert.equal(loopsOn(folder), []));

function blank(name: string, size = smallSize): string {
  newFile(at(name), size);
  return at(name);
}

/** Changes files of a part of a disk. */
function edit(disk: string, range: { offset: number; length: number }, change: (path: string) => void): void {
  const loop = attachLoop(disk, { offset: range.offset, size: range.length });
  const mounted = mount(loop.device, 'ext4');
  try {
    change(mounted.path);
  } finally {
    mounted.unmount();
    loop.detach();
  }
}

test('--grow enlarges the last part and its ext4; everything in it stays', async () => {
  const target = blank('grown.img', smallSize + 120 * MiB);
  await giveProfile(target, profileFile(folder));
  const { plan } = await clone(source, target, { grow: ['app'] });
  const [growth] = plan.grow;
  assert.is(growth?.method, 'ext');
  const after = growth?.after ?? { offset: 0, length: 0 };
  assert.is(after.offset + after.length, smallSize + 119 * MiB);
  checkGpt(target);
  checkFileSystem(target, after, 'ext4');
  assert.match(
    tool('dumpe2fs', ['-h', `${target}?offset=${after.offset}`]),
    new RegExp(`Block count: +${after.length / 4096}\\n`),
  );
  assert.equal([...filesOf(target, after)], [...filesOf(source, parts.app)]);
  const behind = await refusal(() => planClone(requestOf(source, target, { grow: ['2'] })));
  assert.is(behind.code, 'GROW_BLOCKED');
  assert.match(behind.message, 'partition 3 ("swap") is right behind it');
  const unknown = await refusal(() => planClone(requestOf(source, target, { grow: ['nothing'] })));
  assert.is(unknown.code, 'GROW_NO_SUCH_PART');
  const same = await planClone(requestOf(source, blank('same.img'), { as: 'none', grow: ['4'] }));
  assert.equal(same.grow, []);
  assert.match(same.notes.join('\n'), 'it ends where the disk ends');
});

test('--grow grows XFS, and of what it cannot grow only the partition', async () => {
  const disk = blank('xfs.img', 420 * MiB);
  const range = { offset: 11 * MiB, length: 310 * MiB };
  const script = `label: gpt\nstart=2048, size=4096, name=raw\nstart=${range.offset / 512}, size=${range.length / 512}, name=data\n`;
  tool('sfdisk', ['--quiet', disk], script);
  const loop = attachLoop(disk, { offset: range.offset, size: range.length });
  tool('mkfs.xfs', ['-q', '-L', 'bulk', loop.device]);
  loop.detach();
  const target = blank('xfs-target.img', 700 * MiB);
  const { plan } = await clone(disk, target, { as: 'none', grow: ['bulk', 'raw'] });
  const [raw, bulk] = plan.grow;
  assert.equal([raw?.method, raw?.after.length, bulk?.method, bulk?.after.length], ['none', 10 * MiB, 'xfs', 688 * MiB]);
  assert.match(
    plan.notes.join('\n'),
    'partition 1 ("raw") grows from 2097152 to 10485760 bytes, but not what is inside (unknown)',
  );
  const after = bulk?.after ?? range;
  checkFileSystem(target, after, 'xfs');
  const blocks = bytesOf(target, { offset: after.offset + 8, length: 8 }).readBigUInt64BE();
  assert.is(Number(blocks) * 4096, after.length);
  checkGpt(target);
});

test('--new-guids draws new ids, and what names the old ones names the new ones', async () => {
  const disk = at('partuuid.img');
  copyDisk(source, disk);
  const id = (number: number) => `5eed0000-0002-4000-8000-00000000000${number}`;
  edit(disk, parts.root, (root) => {
    const fstab = `PARTUUID=${id(2)} / ext4 defaults 0 1\n/dev/disk/by-partuuid/${id(4)} /srv/app ext4 defaults 0 2\nPARTUUID=${id(1).toUpperCase()} /boot/efi vfat umask=0077 0 1\nPARTUUID=${id(3)} none swap sw 0 0\n`;
    writeFileSync(join(root, 'etc/fstab'), fstab);
    mkdirSync(join(root, 'boot/grub'), { recursive: true });
    writeFileSync(join(root, 'boot/grub/grub.cfg'), `linux /vmlinuz root=PARTUUID=${id(2)} ro\n`);
    mkdirSync(join(root, 'etc/kernel'), { recursive: true });
    writeFileSync(join(root, 'etc/kernel/cmdline'), `root=PARTUUID=${id(2)} resume=PARTUUID=${id(3)}\n`);
  });
  const entry = at('entry.conf');
  writeFileSync(entry, `options root=PARTUUID=${id(2)}\n`);
  const esp = `${disk}@@${parts.esp.offset}`;
  tool('mmd', ['-i', esp, '::/loader', '::/loader/entries']);
  tool('mcopy', ['-i', esp, entry, '::/loader/entries/a.conf']);
  const target = blank('new-guids.img');
  const { plan } = await clone(disk, target, { as: profileFile(folder), newGuids: true });
  assert.is(plan.renames.length, 5);
  const to = (number: number) => plan.renames.find(({ from }) => from.toLowerCase() === id(number))?.to ?? '';
  checkGpt(target);
  const table = tableOf(target);
  for (const { from, to: fresh } of plan.renames) {
    assert.match(table, fresh);
    assert.not.match(table, from);
  }
  const fstab = textOf(target, parts.root, '/etc/fstab');
  assert.match(fstab, `PARTUUID=${to(2).toLowerCase()} /`);
  assert.match(fstab, `/dev/disk/by-partuuid/${to(4).toLowerCase()} /srv/app`);
  assert.match(fstab, `PARTUUID=${to(1)} /boot/efi`);
  assert.is(
    textOf(target, parts.root, '/etc/kernel/cmdline'),
    `root=PARTUUID=${to(2).toLowerCase()} resume=PARTUUID=${to(3).toLowerCase()}\n`,
  );
  assert.match(textOf(target, parts.root, '/boot/grub/grub.cfg'), to(2).toLowerCase());
  assert.is(
    tool('mtype', ['-i', `${target}@@${parts.esp.offset}`, '::/loader/entries/a.conf']),
    `options root=PARTUUID=${to(2).toLowerCase()}\n`,
  );
  assert.is(textOf(target, parts.root, '/etc/hostname'), 'web-07\n');
  checkFileSystem(target, parts.root, 'ext4');
  // A sealed kernel image names the root: there is nothing to do but refuse.
  tool('mmd', ['-i', esp, '::/EFI/Linux']);
  tool('mcopy', ['-i', esp, entry, '::/EFI/Linux/linux.efi']);
  const error = await refusal(() => planClone(requestOf(disk, blank('uki.img'), { as: 'none', newGuids: true })));
  assert.is(error.code, 'IDS_NOT_REWRITABLE');
  assert.match(error.message, '/EFI/Linux/linux.efi');
});

test('a kept part with the GUID of a copied one is refused by both names; with --new-guids it is none', async () => {
  const target = at('twin.img');
  copyDisk(source, target);
  const kinds = { only: ['os'] } as const;
  tool('sgdisk', ['--delete=2', '--partition-guid=4:5EED0000-0002-4000-8000-000000000002', target]);
  const error = await refusal(() => planClone(requestOf(source, target, { as: 'none', kinds })));
  assert.is(error.code, 'DUPLICATE_GUID');
  assert.match(error.message, /partition 2 \("root"\) of the source and partition 4 \("app"\) of the target/);
  const plan = await planClone(requestOf(source, target, { as: 'none', kinds, newGuids: true }));
  assert.is(plan.renames.filter(({ what }) => what === 'part').length, 1);
});

test('a smaller target: a part with an empty end is cut to its file system, one with data is refused with the missing bytes', async () => {
  const disk = blank('roomy.img', 64 * MiB);
  tool('sfdisk', ['--quiet', disk], `label: gpt\nstart=2048, size=${(60 * MiB) / 512}, name=data\n`);
  const piece = at('roomy.piece');
  newFile(piece, 24 * MiB);
  tool('mkfs.ext4', ['-q', '-F', '-b', '4096', piece]);
  writeInto(disk, readFileSync(piece), MiB);
  const target = blank('smaller.img', 32 * MiB);
  const { plan } = await clone(disk, target, { as: 'none' });
  assert.match(plan.notes.join('\n'), `it is cut from ${60 * MiB} to ${24 * MiB} bytes`);
  checkGpt(target);
  checkFileSystem(target, { offset: MiB, length: 24 * MiB }, 'ext4');
  assert.match(tableOf(target), `size= ${`${(24 * MiB) / 512}`.padStart(11)}`);
  const small = await refusal(() => planClone(requestOf(disk, blank('too-small.img', 24 * MiB), { as: 'none' })));
  assert.is(small.code, 'TARGET_TOO_SMALL');
  writeInto(disk, Buffer.from('something'), 40 * MiB);
  const error = await refusal(() => planClone(requestOf(disk, target, { as: 'none' })));
  assert.is(error.code, 'TARGET_TOO_SMALL');
  assert.match(
    error.message,
    `partition 1 ("data") of the source (${29 * MiB + 33 * 512} bytes too far) needs a disk of at least ${61 * MiB + 33 * 512} bytes`,
  );
});

test('from sectors of 512 to 4096 bytes: what bears it is translated, a FAT with small sectors is refused by name', async () => {
  const target = blank('translated.img', smallSize + MiB);
  const loop = attachLoop(target, { sectorSize: 4096 });
  try {
    const error = await refusal(() => planClone(requestOf(source, loop.device, { as: 'none' })));
    assert.is(error.code, 'SECTOR_SIZE_MISMATCH');
    assert.match(error.message, 'partition 1 ("esp"): its file system is made for sectors of 512 bytes');
    assert.not.match(error.message, 'partition 2');
    const kinds = { skip: ['boot'] } as const;
    const { plan } = await clone(source, loop.device, { as: profileFile(folder), kinds });
    assert.is(plan.table?.sectorSize, 4096);
    assert.match(tool('sgdisk', ['-v', loop.device]), 'No problems found');
    const dump = tool('sfdisk', ['--dump', loop.device]);
    assert.match(dump, `start= ${`${parts.root.offset / 4096}`.padStart(11)}`);
    const again = await planClone(requestOf(source, loop.device, { kinds }));
    assert.is(again.regions[0]?.carrier, 'partition');
  } finally {
    loop.detach();
  }
  checkFileSystem(target, parts.root, 'ext4');
  assert.is(textOf(target, parts.root, '/etc/hostname'), 'web-07\n');
  assert.equal([...filesOf(target, parts.app)], [...filesOf(source, parts.app)]);
  // And back, as files: the tables inside say how large sectors are.
  const back = blank('back.img', smallSize + 2 * MiB);
  const small = attachLoop(back);
  try {
    await clone(target, small.device, { as: 'none' });
  } finally {
    small.detach();
  }
  checkGpt(back);
  assert.equal([...filesOf(back, parts.app)], [...filesOf(source, parts.app)]);
});

test.run();
