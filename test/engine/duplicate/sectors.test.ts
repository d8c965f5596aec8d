/** File systems without a table around them, onto targets with larger sectors: by themselves, and as parts of a disk. */
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { planClone } from '../../../src/engine/duplicate/make-plan.ts';
import { attachLoop, mount } from '../../fixtures/loop.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { hashOf } from './disk-facts.ts';
import { clone, refusal, requestOf } from './requests.ts';
import { MiB, newFile, tool } from './small-disk.ts';

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

test.run();
