import { rmSync, writeFileSync } from 'node:fs';
import { test } from 'uvu';
import { FileImage } from '../../../src/engine/image/file.ts';
import { slice } from '../../../src/engine/image/slice.ts';
import { guard } from '../../../src/engine/protect/guard.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { type TargetAdapter, testSource, testTarget } from './conformance.ts';
import { changeBelow, fileSystem, memory, type Place, sharedMemory, sparseFile } from './places.ts';
import { writeSparse } from './write-sparse.ts';

const MiB = 1 << 20;
const size = 4 * MiB + 512;

function onPlace(name: string, place: Place, more: Partial<TargetAdapter> = {}): TargetAdapter {
  return {
    name,
    size,
    holes: true,
    bypass: ['direct'],
    async open(content) {
      const path = sparseFile(place.folder, content.length);
      writeSparse(path, content);
      const image = await FileImage.open(path, 'write');
      const dispose = () => rmSync(path);
      if (place.backing === undefined) return { image, dispose };
      return { image, changeMedium: (offset, bytes) => changeBelow(path, place, offset, bytes), dispose };
    },
    ...more,
  };
}

testTarget(onPlace('a sparse file', { folder: tempDir() }));
testTarget({
  ...onPlace('a file without holes', { folder: tempDir() }, { holes: false }),
  async open(content) {
    const path = sparseFile(tempDir(), 0);
    writeFileSync(path, content);
    const image = await FileImage.open(path, 'write');
    return { image, dispose: () => rmSync(path) };
  },
});
testTarget(onPlace('a file on ext4', fileSystem('ext4')));
testTarget(onPlace('a file on XFS', fileSystem('xfs')));
// A change below btrfs does not pass its checksums.
testTarget(onPlace('a file on btrfs', { folder: fileSystem('btrfs').folder }));
// O_DIRECT is there since Linux 6.6.
testTarget(onPlace('a file in shared memory', sharedMemory(), { bypass: ['direct', 'none'] }));
testTarget(onPlace('a file that nothing can drop', memory('ramfs'), { bypass: ['none'], holes: false }));

const guarded = onPlace('a guarded file', { folder: tempDir() });
testTarget({
  ...guarded,
  async open(content) {
    const { image, dispose } = await guarded.open(content);
    return { image: guard(image, []), dispose };
  },
});

const inner = onPlace('a slice', { folder: tempDir() });
testSource({
  ...inner,
  async open(content) {
    const around = Buffer.alloc(content.length + 3 * MiB, 0x77);
    around.set(content, MiB);
    const { image, dispose } = await inner.open(around);
    return {
      image: slice(image, { offset: MiB, length: content.length }),
      async dispose() {
        await image.close();
        await dispose();
      },
    };
  },
});

test.run();
