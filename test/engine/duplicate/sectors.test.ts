/** File systems without a table around them, onto targets with larger sectors: by themselves, and as parts of a disk. And files that hold tables with such. */
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { executeClone } from '../../../src/engine/duplicate/execute.ts';
import { inspectImage } from '../../../src/engine/duplicate/inspect.ts';
import { planClone } from '../../../src/engine/duplicate/make-plan.ts';
import { attachLoop, mount } from '../../fixtures/loop.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { bytesOf, checkFileSystem, filesOf, hashOf } from './disk-facts.ts';
import { clone, refusal, requestOf } from './requests.ts';
import { MiB, makeSmallDisk, newFile, parts, smallSize, tool } from './small-disk.ts';
import { assertEqual, verified } from './verified.ts';

const folder = tempDir('sectors');
const length = 20 * MiB;

function fileSystem(name: string, command: string, ...args: string[]): string {
  const path = join(folder, name);
  newFile(path, length);
  tool(command, [...args, path]);
  return path;
}

const small = {
  ext4: ['its file system counts in units of 1024 bytes', fileSystem('ext4', 'mkfs.ext4', '-q', '-b', '1024')],
  vfat: ['its file system is made for sectors of 512 bytes', fileSystem('vfat', 'mkfs.vfat', '-S', '512')],
} as const;
const large = fileSystem('large', 'mkfs.ext4', '-q', '-b', '4096');
const luks = join(folder, 'luks');

/** A disk of 32 MiB whose table was written for sectors of 4096 bytes, with one part. */
function nativeDisk(name: string): string {
  const path = join(folder, name);
  newFile(path, 32 * MiB);
  const loop = attachLoop(path, { sectorSize: 4096 });
  tool('sgdisk', ['-n1:256:+24M', loop.device]);
  loop.detach();
  return path;
}

async function refusedOn(target: string): Promise<void> {
  for (const [why, source] of Object.values(small)) {
    const error = await refusal(() => planClone(requestOf(source, target, { as: 'none' })));
    assert.is(error.code, 'SECTOR_SIZE_MISMATCH');
    assert.is(error.exitCode, 4);
    assert.match(error.message, why);
  }
}

test('what counts in smaller units is refused on a device with sectors of 4096 bytes; what does not can be mounted there', async () => {
  const target = join(folder, 'device.img');
  newFile(target, length);
  const loop = attachLoop(target, { sectorSize: 4096 });
  try {
    await refusedOn(loop.device);
    await clone(large, loop.device, { as: 'none' });
    mount(loop.device, 'ext4').unmount();
  } finally {
    loop.detach();
  }
});

test('as it is in a part of such a disk, be it a device or a file', async () => {
  const target = nativeDisk('native.img');
  const loop = attachLoop(target, { sectorSize: 4096 });
  await refusedOn(`${loop.device}#1`).finally(loop.detach);
  await refusedOn(`${target}#1`);
  await clone(large, `${target}#1`, { as: 'none' });
  const part = attachLoop(target, { sectorSize: 4096, offset: MiB, size: 24 * MiB });
  try {
    mount(part.device, 'ext4').unmount();
  } finally {
    part.detach();
  }
});

test('a file takes it: nobody knows yet how it will be attached', async () => {
  for (const [name, [, source]] of Object.entries(small)) {
    const target = join(folder, `${name}.copy`);
    newFile(target, length);
    await clone(source, target, { as: 'none' });
    assert.is(hashOf(target), hashOf(source));
  }
});

test('of what cannot be judged the plan warns', async () => {
  newFile(luks, 32 * MiB);
  tool('cryptsetup', ['luksFormat', '--batch-mode', '--type', 'luks1', '--pbkdf-force-iterations', '1000', luks, '-'], 'secret');
  const target = join(folder, 'device-of-luks.img');
  newFile(target, 32 * MiB);
  const loop = attachLoop(target, { sectorSize: 4096 });
  try {
    const { warnings } = await planClone(requestOf(luks, loop.device, { as: 'none' }));
    assert.match(warnings.join('\n'), 'has sectors of 4096 bytes: whether crypto_LUKS bears other sectors cannot be judged');
  } finally {
    loop.detach();
  }
});

for (const table of ['gpt', 'mbr'] as const) {
  test(`the ${table} of a device with sectors of 4096 bytes, in a file: the plan says how to attach it, and it is read as what it is`, async () => {
    const native = join(folder, `${table}-native.img`);
    await makeSmallDisk(native, { table, sectorSize: 4096 });
    const [file, second] = [join(folder, `${table}-file.img`), join(folder, `${table}-second.img`)];
    for (const path of [file, second]) newFile(path, smallSize);
    const loop = attachLoop(native, { sectorSize: 4096, readOnly: true });
    try {
      // What a run leaves that was stopped in the middle is read as what it is, too.
      const stop = new AbortController();
      const stopped = await executeClone(await planClone(requestOf(loop.device, file, { as: 'none' })), {
        signal: stop.signal,
        onEvent: (event) => event.type === 'phase' && event.phase === 'copy' && stop.abort(new Error('stopped')),
      }).catch((error: Error) => error.message);
      assert.is(stopped, 'stopped');
      assert.is((await inspectImage(file)).disk.table?.sectorSize, 4096);
      const { plan } = await clone(loop.device, file, { as: 'none' });
      assert.match(plan.notes.join('\n'), /losetup --sector-size 4096; QEMU: logical_block_size=4096/);
      assertEqual(await verified(loop.device, file, { as: 'none' }));
      const same = await planClone(requestOf(loop.device, file, { as: 'none' }));
      assert.is(same.table?.sectorSize, 4096);
    } finally {
      loop.detach();
    }
    const { disk } = await inspectImage(file);
    assert.equal([disk.table?.kind, disk.table?.sectorSize], [table, 4096]);
    assert.equal(
      disk.parts.map(({ fs }) => fs?.type),
      ['vfat', 'ext4', 'swap', 'ext4'],
    );
    await clone(file, second, { as: 'none' });
    checkFileSystem(second, parts.root, 'ext4');
    assert.equal([...filesOf(second, parts.app)], [...filesOf(native, parts.app)]);
    assert.ok(bytesOf(second, { offset: 446, length: 66 }).equals(bytesOf(native, { offset: 446, length: 66 })));
  });
}

test('a table with logical parts in sectors of 4096 bytes is read from a file; one in sectors of 512 bytes stays what it is', async () => {
  for (const sectorSize of [512, 4096] as const) {
    const path = join(folder, `logical-${sectorSize}.img`);
    newFile(path, 64 * MiB);
    const loop = attachLoop(path, { sectorSize });
    const at = (offset: number) => offset / sectorSize;
    const lines = `start=${at(MiB)}, size=${at(4 * MiB)}\nstart=${at(8 * MiB)}, size=${at(32 * MiB)}, type=5\nstart=${at(9 * MiB)}, size=${at(4 * MiB)}\n`;
    tool('sfdisk', ['--quiet', '--no-reread', '--no-tell-kernel', loop.device], `label: dos\n${lines}`);
    loop.detach();
    for (const offset of [MiB, 9 * MiB]) {
      const part = attachLoop(path, { offset, size: 4 * MiB });
      tool('mkswap', ['-q', part.device]);
      part.detach();
    }
    const { disk } = await inspectImage(path);
    assert.is(disk.table?.sectorSize, sectorSize);
    assert.equal(
      disk.parts.map(({ number, fs, range }) => [number, fs?.type, range.offset]),
      [
        [1, 'swap', MiB],
        [5, 'swap', 9 * MiB],
      ],
    );
  }
});

test.run();
