import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { planClone } from '../../../src/engine/duplicate/make-plan.ts';
import type { ByteRange } from '../../../src/engine/image/contract.ts';
import { attachLoop, mount } from '../../fixtures/loop.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { bytesOf, checkGpt, hashOf, tableOf } from './disk-facts.ts';
import { asDevice, attempt, badSectors } from './faulty.ts';
import { requestOf, targetWithProfile } from './requests.ts';
import { MiB, makeSmallDisk, newFile, parts, smallSize, tool, writeInto } from './small-disk.ts';

const folder = tempDir('damage');
const source = join(folder, 'source.img');
const at = (name: string) => join(folder, name);
const BLOCK = 4096;
const SECTOR = 512;

test.before(() => makeSmallDisk(source));

function debugfs(command: string): string {
  return tool('debugfs', ['-R', command, `${source}?offset=${parts.app.offset}`]);
}

/** A sector of a file of the application part, counted from its beginning. */
function sectorOf(path: string, index: number): ByteRange {
  const blocks = debugfs(`blocks ${path}`).trim().split(/\s+/).map(Number);
  const block = blocks[Math.floor((index * SECTOR) / BLOCK)] as number;
  return { offset: parts.app.offset + block * BLOCK + ((index * SECTOR) % BLOCK), length: SECTOR };
}

function sectorInBlock(block: number, sector = 0): ByteRange {
  return { offset: parts.app.offset + block * BLOCK + sector * SECTOR, length: SECTOR };
}

function blockOf(structure: 'Block bitmap' | 'Inode table'): number {
  const text = tool('dumpe2fs', [`${source}?offset=${parts.app.offset}`]);
  return Number(new RegExp(`${structure} at (\\d+)`).exec(text)?.[1]);
}

function freeBlock(): number {
  const free = debugfs('ffb 1 3000');
  return Number(/(\d+)\s*$/.exec(free.trim())?.[1]);
}

async function deviceWith(bad: readonly ByteRange[], disk = source): Promise<string> {
  return (await asDevice((await badSectors(disk, bad)).uri)).device;
}

function blank(name: string, size: number = smallSize): string {
  newFile(at(name), size);
  return at(name);
}

test('of a device with bad sectors just those are lost, the files are named, and what nobody uses is not noticed', async () => {
  const bad = [sectorOf('/RELEASE', 0), sectorOf('/db/large', 4097), sectorInBlock(freeBlock(), 3)];
  const target = blank('files.img');
  const { result, state } = await attempt(await deviceWith(bad), target, { readErrors: 'zero' });
  assert.is(state, 'committed');
  assert.equal(result?.unreadable, {
    bytes: 2 * SECTOR,
    ranges: bad.slice(0, 2).toSorted((one, other) => one.offset - other.offset),
    parts: [{ number: 4, label: 'partition 4 ("app")', bytes: 2 * SECTOR, files: ['/RELEASE', '/db/large'], elsewhere: 0 }],
  });
  const page = { offset: (bad[1] as ByteRange).offset - SECTOR, length: BLOCK };
  const wanted = bytesOf(source, page).fill(0, SECTOR, 2 * SECTOR);
  assert.equal(bytesOf(target, page), wanted);
});

test('with skip the target keeps what it had there', async () => {
  const bad = sectorOf('/db/large', 4097);
  const target = blank('skip.img');
  const old = Buffer.alloc(BLOCK, 'older bytes ');
  writeInto(target, old, bad.offset);
  const { result } = await attempt(await deviceWith([bad]), target, { readErrors: 'skip' });
  assert.is(result?.unreadable.bytes, SECTOR);
  assert.equal(bytesOf(target, bad), old.subarray(0, SECTOR));
  const after = { offset: bad.offset + SECTOR, length: SECTOR };
  assert.equal(bytesOf(target, after), bytesOf(source, after));
});

test('a part whose bitmap cannot be read is copied whole, and the bytes belong to no file', async () => {
  const bad = sectorInBlock(blockOf('Block bitmap'), 1);
  const device = await deviceWith([bad]);
  const target = blank('bitmap.img');
  const plan = await planClone(requestOf(device, target, { as: 'none', readErrors: 'zero' }));
  assert.match(plan.notes.join('\n'), /partition 4 \("app"\) is copied whole: .*cannot be read/);
  const { result } = await attempt(device, target, { readErrors: 'zero' });
  assert.equal(result?.unreadable.parts, [
    { number: 4, label: 'partition 4 ("app")', bytes: SECTOR, files: [], elsewhere: SECTOR },
  ]);
});

test('files whose inodes or directories are lost are named as far as they can be', async () => {
  const [, inode] = /Inode: (\d+)/.exec(debugfs('stat /RELEASE')) ?? [];
  const [, block] = /located at block (\d+)/.exec(debugfs(`imap <${inode}>`)) ?? [];
  const offset = Number.parseInt(/offset (0x[0-9a-f]+)/i.exec(debugfs(`imap <${inode}>`))?.[1] ?? '', 16);
  const bad = [sectorInBlock(Number(block), Math.floor(offset / SECTOR)), sectorOf('/db/deep', 0)];
  const { result, state } = await attempt(await deviceWith(bad), blank('inodes.img'), { readErrors: 'zero' });
  assert.is(state, 'committed');
  const [part] = result?.unreadable.parts ?? [];
  const named = [...(part?.files ?? []), ...(part?.lost ?? [])];
  assert.ok(named.includes('/RELEASE'), named.join());
  assert.ok(
    named.some((path) => path.startsWith('/db/deep')),
    named.join(),
  );
  assert.not.ok(named.includes('/db/large'));
});

test('a GPT whose primary copy and a superblock that cannot be read do not keep the rest from being cloned', async () => {
  const bad = [
    { offset: SECTOR, length: SECTOR },
    { offset: parts.app.offset + 1024, length: SECTOR },
  ];
  const device = await deviceWith(bad);
  const target = blank('tables.img');
  const refused = await attempt(device, target);
  assert.is(refused.error?.exitCode, 7);
  assert.is(refused.state, 'untouched');
  const plan = await planClone(requestOf(device, target, { as: 'none', readErrors: 'zero' }));
  assert.match(plan.notes.join('\n'), /512 bytes at byte 512 cannot be read/);
  assert.match(plan.notes.join('\n'), /the backup at sector \d+ was used/);
  assert.match(plan.notes.join('\n'), /what partition 4 \("app"\) holds cannot be told/);
  const { result } = await attempt(device, target, { readErrors: 'zero' });
  assert.is(result?.unreadable.bytes, SECTOR);
  checkGpt(target);
  assert.is(tableOf(target), tableOf(source));
  const app = { offset: parts.app.offset + 2048, length: parts.app.length - 2048 };
  assert.is(hashOf(target, app), hashOf(source, app));
});

test('bad sectors in the boot gap are lost loader code at most, and no reason to touch a profile there', async () => {
  const bad = [{ offset: 40 * SECTOR, length: SECTOR }];
  const target = await targetWithProfile(folder, 'gap.img');
  const region = { offset: 32_768, length: 1_015_808 };
  const before = hashOf(target, region);
  const { result, state, error } = await attempt(await deviceWith(bad), target, { as: 'target', readErrors: 'zero' });
  assert.is(error, undefined);
  assert.is(state, 'committed');
  assert.equal(result?.unreadable.parts, [{ number: 0, label: 'outside every partition', bytes: SECTOR, elsewhere: SECTOR }]);
  assert.is(hashOf(target, region), before);
});

test('a root that is too damaged to be changed is said to be so, and a plain copy of it is made', async () => {
  const bitmap = /Block bitmap at (\d+)/.exec(tool('dumpe2fs', [`${source}?offset=${parts.root.offset}`]))?.[1];
  const bad = { offset: parts.root.offset + Number(bitmap) * BLOCK, length: SECTOR };
  const device = await deviceWith([bad]);
  const target = await targetWithProfile(folder, 'root.img');
  const failed = await attempt(device, target, { as: 'target', readErrors: 'zero' });
  assert.is(failed.error?.code, 'COPY_DAMAGED');
  assert.is(failed.error?.exitCode, 7);
  assert.match(failed.error?.todo ?? '', '--as none');
  assert.is(failed.state, 'fenced');
  const plain = await attempt(device, target, { readErrors: 'zero' });
  assert.is(plain.state, 'committed');
  assert.equal(plain.result?.unreadable.ranges, [bad]);
});

test('files of XFS on a disk without a table are named too, and its head is read as the plan says', async () => {
  const disk = blank('xfs.img', 320 * MiB);
  tool('mkfs.xfs', ['-q', disk]);
  const loop = attachLoop(disk);
  const mounted = mount(loop.device, 'xfs');
  tool('mkdir', [join(mounted.path, 'data')]);
  tool('cp', [source, join(mounted.path, 'data/first')]);
  tool('cp', [source, join(mounted.path, 'data/second')]);
  const second = tool('filefrag', ['-v', '-s', '-b512', join(mounted.path, 'data/second')]);
  const place = Number(/^\s*0:\s+\d+\.\.\s*\d+:\s+(\d+)\.\./m.exec(second)?.[1]) * SECTOR;
  mounted.unmount();
  loop.detach();
  assert.ok(place > 0);
  const bad = { offset: place + 8 * SECTOR, length: SECTOR };
  const target = blank('xfs-target.img', 320 * MiB);
  const { result, state, error } = await attempt(await deviceWith([bad], disk), target, { readErrors: 'zero' });
  assert.is(error, undefined);
  assert.is(state, 'committed');
  assert.equal(result?.unreadable.parts, [
    { number: 0, label: 'the whole disk', bytes: SECTOR, files: ['/data/second'], elsewhere: 0 },
  ]);
  const head = bytesOf(disk, { offset: 0, length: 65_536 }).fill(0, bad.offset, bad.offset + SECTOR);
  const found = bytesOf(target, { offset: 0, length: 65_536 });
  const first = head.findIndex((byte, index) => byte !== found[index]);
  assert.is(first, -1, `bad at ${bad.offset}`);
});

test.run();
