/** What is told of disks that are not plain: logical partitions, hybrid MBRs, formats, servers, parts, and members of something larger. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { executeInit, planInit } from '../../../src/engine/duplicate/init-profile.ts';
import { inspectImage } from '../../../src/engine/duplicate/inspect.ts';
import { inspectionDocument, inspectionText } from '../../../src/ui/disk-view.ts';
import { attachLoop } from '../../fixtures/loop.ts';
import { needRoot } from '../../fixtures/privilege.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { bytesOf, checkGpt, fingerprint, hashOf } from './disk-facts.ts';
import { serve } from './faulty.ts';
import { refusal } from './requests.ts';
import { copyDisk, MiB, makeSmallDisk, newFile, parts, smallSize, tool, writeInto } from './small-disk.ts';

const test = suite('inspect');
needRoot();
const folder = tempDir('inspect');
const source = join(folder, 'source.img');
const at = (name: string) => join(folder, name);

test.before(() => makeSmallDisk(source));

interface Document {
  readonly image: { readonly format?: string; readonly sizeOnDisk: number; readonly backing: readonly string[] };
  readonly table?: { readonly extended?: unknown; readonly hybrid?: readonly unknown[] };
}

async function told(image: string): Promise<{ text: string; document: Document }> {
  const inspection = await inspectImage(image);
  return { text: inspectionText(inspection), document: JSON.parse(JSON.stringify(inspectionDocument(inspection))) };
}

test('logical partitions and the extended one that holds them', async () => {
  const disk = at('logical.img');
  newFile(disk, 64 * MiB);
  tool(
    'sfdisk',
    ['--quiet', disk],
    'label: dos\nstart=2048, size=8192, type=83, bootable\nstart=16384, type=5\nstart=18432, size=8192, type=82\nstart=30720, size=8192, type=83\n',
  );
  const { text, document } = await told(disk);
  assert.match(text, /Extended +partition 2, 56 MiB at 8 MiB, 2 logical partitions/);
  assert.match(text, /^ *6 /m);
  assert.equal(document.table?.extended, { number: 2, type: '05', active: false, offset: 8 * MiB, length: 56 * MiB });
});

test('a hybrid MBR; the profile region goes into what its protective entry covers, and it stays', async () => {
  const disk = at('hybrid.img');
  copyDisk(source, disk);
  tool('sgdisk', ['--hybrid=2', disk]);
  writeInto(disk, Buffer.from([1, 2, 3, 4]), 440);
  const before = bytesOf(disk, { offset: 440, length: 72 });
  const { text, document } = await told(disk);
  assert.match(text, /Hybrid MBR +entry 1: protective, type EE, sectors 1 to \d+/);
  assert.match(text, /entry 2: partition 2, type 83, sectors 18432 to 116735/);
  assert.is(document.table?.hybrid?.length, 2);
  await executeInit(await planInit(disk));
  // All but the CHS addresses, which nobody reads.
  const meaning = (sector: Buffer) =>
    [0, 1, 2, 3].map((slot) => {
      const entry = sector.subarray(6 + slot * 16, 22 + slot * 16);
      return Buffer.concat([entry.subarray(0, 1), entry.subarray(4, 5), entry.subarray(8)]).toString('hex');
    });
  assert.equal(meaning(bytesOf(disk, { offset: 440, length: 72 })), meaning(before));
  assert.match((await told(disk)).text, /entry 2: partition 2, type 83, sectors 18432 to 116735/);
  assert.ok(bytesOf(disk, { offset: 440, length: 4 }).equals(Buffer.from([1, 2, 3, 4])));
  checkGpt(disk);
  for (const name of ['esp', 'root', 'app'] as const) assert.is(hashOf(disk, parts[name]), hashOf(source, parts[name]));
});

test('a hybrid MBR without a protective entry over the gap is refused a region', async () => {
  const disk = at('uncovered.img');
  copyDisk(source, disk);
  tool('sgdisk', ['--hybrid=2', disk]);
  // Its protective entry shows the table and not the gap.
  writeInto(disk, Buffer.from([33, 0, 0, 0]), 446 + 12);
  const error = await refusal(() => planInit(disk));
  assert.is(error.code, 'HYBRID_MBR');
});

test('a qcow2 file: its size on disk and what it is based on; a part of a disk; an NBD server', async () => {
  const base = at('base.qcow2');
  const top = at('top.qcow2');
  execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', source, base]);
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', base, '-F', 'qcow2', top]);
  const before = fingerprint(top);
  const { text, document } = await told(top);
  assert.match(text, /\(qcow2 file, 84 MiB, .* allocated, \d+ KiB on disk\)/);
  assert.match(text, new RegExp(`Based on +${base}`));
  assert.match(text, 'source-01');
  const { image } = document;
  assert.is(image.format, 'qcow2');
  assert.ok(image.sizeOnDisk > 0 && image.sizeOnDisk < MiB);
  assert.equal(image.backing, [base]);
  assert.is(fingerprint(top), before);

  const part = await told(`${top}#label=app`);
  assert.match(part.text, /Table +none/);
  assert.match(part.text, /whole disk +ext4 +app/);
  assert.match(part.text, '24 MiB');

  const server = await serve(join(folder, 'socket'), 'file', source);
  const served = await told(server.uri);
  assert.match(served.text, /NBD server, 84 MiB/);
  assert.match(served.text, 'nobody can tell here who else uses');
  assert.match(served.text, 'source-01');
  await server.stop();
});

test('members of LUKS, md and LVM with the reason why they are copied whole', async () => {
  const disk = at('members.img');
  newFile(disk, 160 * MiB);
  const sizes = [40, 40, 40];
  tool('sfdisk', ['--quiet', disk], `label: gpt\n${sizes.map((size) => `size=${size}MiB\n`).join('')}`);
  const key = at('key');
  writeFileSync(key, 'secret');
  for (const [start, command, ...args] of [
    [1, 'cryptsetup', '-q', 'luksFormat', '--type', 'luks1', '--pbkdf-force-iterations', '1000', '--key-file', key],
    [81, 'pvcreate', '-q', '-y'],
  ] as const) {
    const loop = attachLoop(disk, { offset: start * MiB, size: 40 * MiB });
    try {
      tool(command, [...args, loop.device]);
    } finally {
      loop.detach();
    }
  }
  // The superblock of an md member (md.4: version 1.2 stands 4 KiB behind the start), as far as it is asked for.
  const superblock = Buffer.alloc(256);
  superblock.writeUInt32LE(0xa92b4efc, 0);
  superblock.writeUInt32LE(1, 4);
  superblock.writeBigUInt64LE(8n, 144);
  writeInto(disk, superblock, 41 * MiB + 4096);
  const { text } = await told(disk);
  assert.match(text, /^1: .*crypto_LUKS: it is encrypted/m);
  assert.match(text, /^2: .*linux_raid_member/m);
  assert.match(text, /^ *3 .*LVM2_member/m);
  assert.match(text, /^3: /m);
});

test('a disk of every kind is only read', async () => {
  const before = fingerprint(source);
  const { text } = await told(source);
  assert.match(text, /Table +GPT, 512-byte sectors/);
  assert.is(fingerprint(source), before);
  assert.is((await inspectImage(source)).storage?.backing.length, 0);
  assert.ok((await inspectImage(source)).allocated < smallSize);
});

test.run();
