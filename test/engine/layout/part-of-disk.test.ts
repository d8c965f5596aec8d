import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { NoSuchPartError, UnusableImageError } from '../../../src/engine/image/errors.ts';
import { openForInspection, openSource, openTarget } from '../../../src/engine/layout/part-of-disk.ts';
import { tempDir } from '../../fixtures/temp.ts';

const MiB = 1 << 20;
const folder = tempDir();
const disk = join(folder, 'disk.img');
const guid = 'AAAAAAAA-0001-4000-8000-000000000001';
const fsUuid = 'bbbbbbbb-0001-4000-8000-000000000001';

writeFileSync(disk, '');
execFileSync('truncate', ['--size=64M', disk]);
execFileSync('sfdisk', ['--quiet', disk], {
  input: `label: gpt\nsize=8M, name=one, uuid=${guid}\nsize=16M, name=root\nsize=8M, name=twice\nsize=8M, name=twice\n`,
});
execFileSync('mkfs.ext4', ['-q', '-L', 'system', '-U', fsUuid, '-E', `offset=${9 * MiB}`, disk, '16M']);
const container = join(folder, 'disk.qcow2');
execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', disk, container]);

async function refused(text: string, kind: typeof NoSuchPartError | typeof UnusableImageError, message: RegExp): Promise<void> {
  try {
    const image = await openTarget(text);
    await image.close();
  } catch (error) {
    assert.instance(error, kind);
    assert.match((error as Error).message, message);
    return;
  }
  assert.unreachable(`${text} was opened`);
}

for (const base of [disk, container]) {
  test(`parts of ${base === disk ? 'a raw disk' : 'a qcow2'} are found by number, name, label and UUID`, async () => {
    for (const part of ['2', 'label=root', 'label=system', `uuid=${fsUuid.toUpperCase()}`]) {
      const image = await openForInspection(`${base}#${part}`);
      assert.equal([image.size, image.name], [16 * MiB, `${base}#${part}`]);
      const magic = new Uint8Array(2);
      await image.read(magic, 1080);
      assert.equal([...magic], [0x53, 0xef]);
      await image.close();
    }
    const { image } = await openSource(`${base}#partuuid=${guid.toLowerCase()}`);
    assert.is(image.size, 8 * MiB);
    await image.close();
  });

  test(`what is written to a part of ${base === disk ? 'a raw disk' : 'a qcow2'} stands there and nowhere else`, async () => {
    const part = await openTarget(`${base}#1`);
    await part.write(new Uint8Array(4096).fill(1), 8 * MiB - 4096);
    await part.flush();
    await part.close();
    const whole = await openForInspection(base);
    const around = Buffer.alloc(12_288);
    await whole.read(around, 9 * MiB - 8192);
    await whole.close();
    assert.ok(around.subarray(4096, 8192).every((byte) => byte === 1));
    assert.ok(around.subarray(0, 4096).every((byte) => byte === 0));
  });
}

test('none, and several, are refused with what is there', async () => {
  await refused(`${disk}#7`, NoSuchPartError, /no part is #7/);
  await refused(`${disk}#label=twice`, NoSuchPartError, /2 parts are/);
  const blank = join(folder, 'blank.img');
  writeFileSync(blank, Buffer.alloc(MiB));
  await refused(`${blank}#1`, NoSuchPartError, /no partition table/);
});

test('the part with a profile is never a target', async () => {
  const protectedDisk = join(folder, 'protected.img');
  execFileSync('truncate', ['--size=64M', protectedDisk]);
  const { planInit, executeInit } = await import('../../../src/engine/duplicate/init-profile.ts');
  await executeInit(await planInit(protectedDisk));
  await refused(`${protectedDisk}#label=doppel-profile`, UnusableImageError, /protected region/);
});

test.run();
