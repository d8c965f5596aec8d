import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import { test } from 'uvu';
import { BlockImage } from '../../../src/engine/image/block.ts';
import { guard } from '../../../src/engine/protect/guard.ts';
import { attachLoop } from '../../fixtures/loop.ts';
import { tempDir } from '../../fixtures/temp.ts';
import { type TargetAdapter, testTarget } from './conformance.ts';
import { changeBelow, fileSystem, sparseFile } from './places.ts';
import { writeSparse } from './write-sparse.ts';

const MiB = 1 << 20;

function onLoop(name: string, sectorSize: 512 | 4096, folder = tempDir()): TargetAdapter {
  return {
    name,
    size: 4 * MiB + sectorSize,
    holes: false,
    bypass: ['direct'],
    async open(content) {
      const path = sparseFile(folder, content.length);
      writeSparse(path, content);
      const loop = attachLoop(path, { sectorSize });
      const image = await BlockImage.open(loop.device, 'write');
      return {
        image,
        changeMedium(offset, bytes) {
          const fd = openSync(path, 'r+');
          writeSync(fd, bytes, 0, bytes.length, offset);
          closeSync(fd);
        },
        dispose() {
          loop.detach();
          rmSync(path);
        },
      };
    },
  };
}

testTarget(onLoop('a block device with sectors of 512 bytes', 512));
testTarget(onLoop('a block device with sectors of 4096 bytes', 4096));

const plain = onLoop('a guarded block device', 512);
testTarget({
  ...plain,
  async open(content) {
    const opened = await plain.open(content);
    return { ...opened, image: guard(opened.image, []) };
  },
});

const place = fileSystem('xfs');
const stacked = onLoop('a block device whose backing file is cached above another loop device', 512, place.folder);
testTarget({
  ...stacked,
  async open(content) {
    const path = sparseFile(place.folder, content.length);
    writeSparse(path, content);
    const loop = attachLoop(path);
    const image = await BlockImage.open(loop.device, 'write');
    return {
      image,
      changeMedium: (offset, bytes) => changeBelow(path, place, offset, bytes),
      dispose() {
        loop.detach();
        rmSync(path);
      },
    };
  },
});

test.run();
