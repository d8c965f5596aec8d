import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { imageUsers } from '../../../src/engine/image/users.ts';
import { attachLoop } from '../../fixtures/loop.ts';
import { tempDir } from '../../fixtures/temp.ts';

test('a loop device on a file whose FUSE server was killed keeps nobody from looking at other disks', async () => {
  const folder = tempDir('dead-server');
  const disk = join(folder, 'disk.img');
  writeFileSync(disk, Buffer.alloc(1 << 20));
  const mount = join(folder, 'mount');
  mkdirSync(mount);
  const server = spawn('nbdfuse', [join(mount, 'raw'), '--command', 'nbdkit', '-s', 'memory', '1M'], { stdio: 'ignore' });
  try {
    for (let tries = 0; tries < 200 && !existsSync(join(mount, 'raw')); tries++) await setTimeout(20);
    const loop = attachLoop(join(mount, 'raw'));
    try {
      server.kill('SIGKILL');
      await new Promise((resolve) => server.once('close', resolve));
      assert.equal(await imageUsers(disk), []);
    } finally {
      loop.detach();
    }
  } finally {
    server.kill('SIGKILL');
    spawnSync('umount', ['--lazy', mount]);
  }
});

test.run();
