/** Clones whose tables differ from the source's by intent are equal, when verify is told the same; a byte, an entry, a file that is off is found. */
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { attachLoop } from '../../fixtures/loop.ts';
import { bytesOf } from './disk-facts.ts';
import { clone } from './requests.ts';
import { copyDisk, MiB, newFile, parts, profileFile, smallSize, tool, writeInto } from './small-disk.ts';
import { assertEqual, compareSmallDisks, differing, edit, flipByte, messages, placeOf, verified } from './verified.ts';

const test = suite('verify, changed tables');
const { folder, source, at, blank } = compareSmallDisks(test, 'verify-changed');

test('new ids are expected with --new-guids, in the table and in every file that names them', async () => {
  const disk = at('partuuid.img');
  copyDisk(source, disk);
  const id = (number: number) => `5eed0000-0002-4000-8000-00000000000${number}`;
  edit(disk, parts.root, (root) => {
    writeFileSync(
      join(root, 'etc/fstab'),
      `PARTUUID=${id(2)} / ext4 defaults 0 1\n/dev/disk/by-partuuid/${id(4)} /srv/app ext4 defaults 0 2\n`,
    );
  });
  const entry = at('entry.conf');
  writeFileSync(entry, `options root=PARTUUID=${id(2)}\n`);
  const esp = `${disk}@@${parts.esp.offset}`;
  tool('mmd', ['-i', esp, '::/loader', '::/loader/entries']);
  tool('mcopy', ['-i', esp, entry, '::/loader/entries/a.conf']);
  for (const as of ['none', profileFile(folder)]) {
    const target = blank('new-guids.img');
    const { plan } = await clone(disk, target, { as, newGuids: true });
    const wishes = { as: as === 'none' ? 'none' : 'target', newGuids: true };
    const result = await verified(disk, target, wishes);
    assertEqual(result);
    assert.equal(result.renames, plan.renames);
    assert.equal(
      result.parts.filter(({ method }) => method === 'files').map(({ number }) => number),
      [1, 2],
    );
  }
  const target = at('new-guids.img');
  const untold = await verified(disk, target);
  assert.match(messages(untold).join('\n'), /all ids are others than on the source, as --new-guids draws them/);
  assert.ok(differing(untold).includes(2));
  const told = (result: Awaited<ReturnType<typeof verified>>) =>
    result.parts.flatMap(({ paths }) => (paths ?? []).map(({ path }) => path));
  const fstab = placeOf(target, 'PARTUUID=', parts.root.offset) + 12;
  flipByte(target, fstab);
  assert.equal(told(await verified(disk, target, { newGuids: true })), ['/etc/fstab']);
  flipByte(target, fstab);
  tool('mcopy', ['-D', 'o', '-i', `${target}@@${parts.esp.offset}`, entry, '::/loader/entries/a.conf']);
  assert.equal(told(await verified(disk, target, { newGuids: true })), ['/loader/entries/a.conf']);
  tool('sgdisk', [`--partition-guid=4:${id(4)}`, target]);
  assert.ok(
    messages(await verified(disk, target, { newGuids: true })).includes('partition 4 ("app") differs in the table: guid'),
  );
});

test('a part that was cut to a smaller disk', async () => {
  const disk = blank('roomy.img', 64 * MiB);
  tool('sfdisk', ['--quiet', disk], `label: gpt\nstart=2048, size=${(60 * MiB) / 512}, name=data\n`);
  const piece = at('roomy.piece');
  newFile(piece, 24 * MiB);
  tool('mkfs.ext4', ['-q', '-F', '-b', '4096', '-L', 'roomy', piece]);
  writeInto(disk, readFileSync(piece), MiB);
  const target = blank('smaller.img', 32 * MiB);
  await clone(disk, target, { as: 'none' });
  const result = await verified(disk, target, { as: 'none' });
  assertEqual(result);
  assert.match(result.notes.join('\n'), 'it is cut from');
  flipByte(target, MiB + 1024 + 130);
  assert.equal(differing(await verified(disk, target, { as: 'none' })), [1]);
});

test('a table that was translated to sectors of 4096 bytes, by device and by file', async () => {
  const target = blank('translated.img', smallSize + MiB);
  const kinds = { skip: ['boot'] } as const;
  const loop = attachLoop(target, { sectorSize: 4096 });
  try {
    await clone(source, loop.device, { as: profileFile(folder), kinds });
    const result = await verified(source, loop.device, { kinds });
    assertEqual(result);
    assert.match(result.notes.join('\n'), 'the table is translated from sectors of 512 bytes to sectors of 4096 bytes');
  } finally {
    loop.detach();
  }
  assertEqual(await verified(source, target, { kinds }));
  flipByte(target, placeOf(target, 'row 12 row 12', parts.app.offset));
  assert.equal(differing(await verified(source, target, { kinds })), [4]);
});

test('logical partitions that moved up, and the extended partition', async () => {
  const disk = at('logical.img');
  copyDisk(source, disk);
  tool('sgdisk', ['--zap-all', disk]);
  const size = smallSize + 8 * MiB;
  truncateSync(disk, size);
  const swap = { offset: smallSize + MiB, length: parts.swap.length };
  writeInto(disk, bytesOf(source, parts.swap), swap.offset);
  const place = ({ offset, length }: { offset: number; length: number }) => `start=${offset / 512}, size=${length / 512}`;
  const script = `label: dos\nlabel-id: 0x5eed0001\n${place(parts.esp)}, type=ef\n${place(parts.root)}, type=83, bootable\nstart=${parts.swap.offset / 512}, type=5\n${place(parts.app)}, type=83\n${place(swap)}, type=82\n`;
  tool('sfdisk', ['--quiet', '--no-reread', '--no-tell-kernel', '--wipe=never', '--wipe-partitions=never', disk], script);
  writeInto(disk, Buffer.alloc(30_000, 'core.img '), 512);
  const whole = blank('logical-whole.img', size);
  await clone(disk, whole, { as: profileFile(folder) });
  assertEqual(await verified(disk, whole));
  const wishes = { as: 'none', kinds: { skip: ['application'] } } as const;
  const target = blank('logical-target.img', size);
  await clone(disk, target, wishes);
  const result = await verified(disk, target, wishes);
  assertEqual(result);
  assert.match(result.notes.join('\n'), 'partition 6 of the source becomes partition 5');
  assert.equal(
    result.parts.map(({ number }) => number),
    [0, 1, 2, 5],
  );
  flipByte(target, swap.offset + 4090);
  assert.equal(differing(await verified(disk, target, wishes)), [5]);
  flipByte(target, 1000);
  assert.equal(differing(await verified(disk, target, wishes)), [0, 5]);
});

test('a hybrid MBR, the protective entry and the disk signature', async () => {
  const disk = at('hybrid.img');
  copyDisk(source, disk);
  tool('sgdisk', ['--hybrid=2:4', disk]);
  writeInto(disk, Buffer.from([1, 2, 3, 4]), 440);
  const target = blank('hybrid-target.img', smallSize + 16 * MiB);
  await clone(disk, target, { as: profileFile(folder) });
  assertEqual(await verified(disk, target));
  for (const [place, message] of [
    [441, 'the disk signature in the MBR differs'],
    [446 + 16 + 4, 'entry 2 of the MBR differs'],
    [446 + 32, 'entry 3 of the MBR differs'],
  ] as const) {
    const before = bytesOf(target, { offset: place, length: 1 });
    writeInto(target, Buffer.from([place === 446 + 32 ? 0x80 : 0x11]), place);
    assert.ok(messages(await verified(disk, target)).includes(message), message);
    writeInto(target, before, place);
  }
  const plain = blank('protective.img');
  await clone(source, plain, { as: 'none' });
  writeInto(plain, Buffer.from([0x77]), 446 + 12);
  assert.equal(messages(await verified(source, plain, { as: 'none' })), ['entry 1 of the MBR differs']);
});

test.run();
