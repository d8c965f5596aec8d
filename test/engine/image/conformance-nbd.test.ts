import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ImageTarget } from '../../../src/engine/image/contract.ts';
import { openTarget } from '../../../src/engine/image/open.ts';
import { partOf } from '../../../src/engine/image/part.ts';
import { guard } from '../../../src/engine/protect/guard.ts';
import { assertBytes, type TargetAdapter, testTarget } from './conformance.ts';
import { contentOf, diskFile, nbdkit } from './nbd-servers.ts';

const MiB = 1 << 20;
const size = 4 * MiB + 512;

function inFormat(format: string, options: readonly string[] = [], more: Partial<TargetAdapter> = {}): TargetAdapter {
  return {
    name: ['a disk of format', format, ...options].join(' '),
    size,
    holes: true,
    bypass: ['dropped'],
    async open(content) {
      const path = diskFile(format, content, options);
      return { image: await openTarget(path), dispose() {} };
    },
    ...more,
  };
}

function served(name: string, args: readonly string[], more: Partial<TargetAdapter> = {}): TargetAdapter {
  return {
    name,
    size,
    holes: true,
    bypass: ['none'],
    async open(content) {
      const server = await nbdkit(...args);
      const image = await openTarget(server.uri);
      await image.write(content, 0);
      await zeroHoles(image, content);
      return { image, dispose: () => server.stop() };
    },
    ...more,
  };
}

/** Whole pages of zeros become holes, as in a sparse file. */
async function zeroHoles(image: ImageTarget, content: Uint8Array): Promise<void> {
  const page = 32 << 10;
  for (let at = 0; at + page <= content.length; at += page) {
    if (content.subarray(at, at + page).every((byte) => byte === 0)) await image.zero(at, page);
  }
}

testTarget(inFormat('qcow2'));
testTarget(inFormat('vmdk'));
testTarget(inFormat('vhdx', [], { holes: false }));
testTarget(inFormat('vdi', [], { holes: false }));
testTarget(served('a server of memory', ['memory', String(size)]));
testTarget(
  served('a server of whole blocks', [
    '--filter=blocksize-policy',
    'memory',
    String(size),
    'blocksize-minimum=512',
    'blocksize-preferred=4096',
    'blocksize-error-policy=error',
  ]),
);
testTarget(
  served(
    'a server that knows little',
    ['--filter=noextents', '--filter=nozero', '--filter=multi-conn', 'memory', String(size), 'multi-conn-mode=disable'],
    { holes: false },
  ),
);

const disk = inFormat('qcow2');
testTarget({
  ...disk,
  name: 'a part of a disk',
  async open(content) {
    const around = Buffer.alloc(content.length + 3 * MiB, 0x77);
    around.set(content, MiB);
    const path = diskFile('qcow2', around);
    const image = partOf(await openTarget(path), { offset: MiB, length: content.length }, `${path}#1`);
    return {
      image: guard(image, []),
      async dispose() {
        const after = contentOf(path, 'qcow2');
        assertBytes(after.subarray(0, MiB), around.subarray(0, MiB), 'before the part');
        assertBytes(after.subarray(MiB + content.length), around.subarray(MiB + content.length), 'behind the part');
      },
    };
  },
});

for (const format of ['qcow2', 'vmdk', 'vhdx', 'vdi', 'vpc', 'qed', 'parallels', 'qcow']) {
  test(`what is written into ${format} is what QEMU reads from it`, async () => {
    // VHD has sizes of whole cylinders only.
    const content = Buffer.alloc(8 * MiB, 0x11);
    const path = diskFile(format, content, format === 'vpc' ? ['force_size=on'] : []);
    const image = await openTarget(path);
    assert.is(image.size, content.length);
    await image.write(new Uint8Array(100_000).fill(0x22), MiB - 7);
    await image.zero(3 * MiB, 2 * MiB);
    await image.flush();
    await image.close();
    content.fill(0x22, MiB - 7, MiB - 7 + 100_000).fill(0, 3 * MiB, 5 * MiB);
    assertBytes(contentOf(path, format), content, format);
  });
}

test.run();
