import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { noise } from '../../scripts/demo-image/noise.ts';
import { attachLoop, mount } from '../fixtures/loop.ts';
import { demoIdentity, demoIds, makeServerDisk, type ServerDisk } from '../fixtures/server-disk.ts';
import { tempDir } from '../fixtures/temp.ts';

const folder = tempDir('server-disk');

function part(disk: ServerDisk, name: string): { offset: number; size: number } {
  const found = disk.parts.find((each) => each.name === name);
  assert.ok(found, `no part ${name}`);
  return found as { offset: number; size: number };
}

for (const options of [{}, { sectorSize: 4096 }, { table: 'mbr' }] as const) {
  test(`a disk with ${JSON.stringify(options)} holds a table and file systems that their own tools find sound`, async () => {
    const disk = await makeServerDisk({ path: join(folder, 'disk.img'), ...options });
    assert.is(statSync(disk.path).size, 512 << 20);
    assert.ok(statSync(disk.path).blocks * 512 < 128 << 20, 'the image is not sparse');

    const whole = attachLoop(disk.path, { sectorSize: disk.sectorSize as 512 | 4096, readOnly: true });
    const table = JSON.parse(execFileSync('sfdisk', ['--json', whole.device], { encoding: 'utf8' })).partitiontable;
    assert.is(table.label, disk.table === 'gpt' ? 'gpt' : 'dos');
    const found = table.partitions.map(({ start, size }: { start: number; size: number }) => [
      start * disk.sectorSize,
      size * disk.sectorSize,
    ]);
    assert.equal(
      found,
      disk.parts.map(({ offset, size }) => [offset, size]),
    );
    assert.is(spawnSync('sfdisk', ['--verify', whole.device]).status, 0);
    whole.detach();

    const loops = disk.parts.map(({ name, offset, size }) => ({
      name,
      ...attachLoop(disk.path, { sectorSize: disk.sectorSize as 512, offset, size }),
    }));
    const device = (name: string): string => loops.find((loop) => loop.name === name)?.device ?? '';
    execFileSync('e2fsck', ['-fn', device('root')], { stdio: 'ignore' });
    execFileSync('xfs_repair', ['-n', device('data')], { stdio: 'ignore' });
    execFileSync('fsck.vfat', ['-n', device('esp')]);
    for (const name of ['root', 'data', 'swap'] as const) {
      assert.is(
        execFileSync('blkid', ['-p', '-s', 'UUID', '-o', 'value', device(name)], { encoding: 'utf8' }).trim(),
        demoIds[name],
      );
    }
    const stub = execFileSync('mtype', ['-i', device('esp'), '::/EFI/debian/grub.cfg'], { encoding: 'utf8' });
    assert.match(stub, new RegExp(demoIds.root));

    const root = mount(device('root'), 'ext4', 'ro');
    assert.is(readFileSync(join(root.path, 'etc/hostname'), 'utf8'), `${demoIdentity.hostname}\n`);
    assert.is(statSync(join(root.path, 'etc/shadow')).mode & 0o7777, 0o640);
    assert.is(statSync(join(root.path, 'etc/shadow')).gid, 42);
    assert.match(
      readFileSync(join(root.path, 'lib/systemd/system/ssh.service'), 'utf8'),
      /\[Install\]\nWantedBy=multi-user\.target/,
    );
    execFileSync('ssh-keygen', ['-y', '-f', join(root.path, 'etc/ssh/ssh_host_ed25519_key')]);
    root.unmount();
    const data = mount(device('data'), 'xfs', 'ro,norecovery,nouuid');
    assert.is(statSync(join(data.path, 'www/page-7.html')).uid, 33);
    assert.is(statSync(join(data.path, 'db/main.db')).size, 8 << 20);
    data.unmount();
    for (const loop of loops) loop.detach();
  });
}

test('free blocks of root and data hold what was there before', async () => {
  const disk = await makeServerDisk({ path: join(folder, 'stale.img') });
  const content = readFileSync(disk.path);
  for (const [name, seed] of [
    ['data', 'stale'],
    ['root', 'deleted'],
  ] as const) {
    const { offset, size } = part(disk, name);
    const at = content.indexOf(noise(seed, 4096).subarray(0, 64), offset);
    assert.ok(at >= offset && at < offset + size, `nothing stale in ${name}`);
  }
});

test('a disk without a table is one file system; another host may be named', async () => {
  const disk = await makeServerDisk({
    path: join(folder, 'plain.img'),
    table: 'none',
    size: 256 << 20,
    identity: { hostname: 'other' },
  });
  execFileSync('e2fsck', ['-fn', disk.path], { stdio: 'ignore' });
  assert.is(execFileSync('debugfs', ['-R', 'cat /etc/hostname', disk.path], { encoding: 'utf8' }), 'other\n');
});

test.run();
