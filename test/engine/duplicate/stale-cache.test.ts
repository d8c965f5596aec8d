import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { mount } from '../../fixtures/loop.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { checkFileSystem, filesOf } from './disk-facts.ts';
import { asDevice, attempt, serve } from './faulty.ts';
import { copyDisk, MiB, makeSmallDisk, parts, tool, writeInto } from './small-disk.ts';

test('a delta compares with the medium: after a failed write the page cache shows what never got there', async () => {
  const folder = tempDir('stale');
  const source = join(folder, 'source.img');
  const broken = join(folder, 'broken');
  await makeSmallDisk(source);
  // A file system on a disk that takes no writes as long as that file is there.
  const server = await serve(
    join(folder, 'socket'),
    '--filter=error',
    'memory',
    '300M',
    'error-pwrite-rate=100%',
    `error-file=${broken}`,
  );
  const loop = await asDevice(server.uri);
  tool('mkfs.ext4', ['-q', '-F', '-O', '^has_journal', loop.device]);
  const mounted = mount(loop.device, 'ext4');
  const target = join(mounted.path, 'target.img');
  copyDisk(source, target);
  writeInto(target, Buffer.alloc(10 * MiB, 'what the target held before '), parts.app.offset + 4 * MiB);
  tool('sync', []);
  tool('sysctl', ['-q', 'vm.drop_caches=3']);
  writeFileSync(broken, '');
  assert.throws(() => tool('dd', [`if=${source}`, `of=${target}`, 'bs=1M', 'conv=notrunc,fsync', 'status=none']));
  rmSync(broken);

  const { result } = await attempt(source, target, { delta: true, as: 'none' });
  assert.ok((result?.written ?? 0) > 0);
  tool('sysctl', ['-q', 'vm.drop_caches=3']);
  assert.equal([...filesOf(target, parts.app)], [...filesOf(source, parts.app)]);
  checkFileSystem(target, parts.app, 'ext4');
  mounted.unmount();
});

test.run();
