import { test } from 'uvu';
import * as assert from 'uvu/assert';

import { openTarget } from '../../../src/engine/image/open.ts';
import { partOf } from '../../../src/engine/image/part.ts';
import { guard } from '../../../src/engine/protect/guard.ts';
import { assertBytes, type TargetAdapter, testTarget } from './conformance.ts';
import { contentOf, diskFile } from './nbd-servers.ts';

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

testTarget(inFormat('qcow2'));
testTarget(inFormat('vmdk', ['zeroed_grain=on']));
testTarget(inFormat('vhdx', [], { holes: false }));
testTarget(inFormat('vdi', [], { holes: false }));

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
