/** What partclone says is in use: the bitmap of the images that it makes, version 0002. */
import { readFile, rm } from 'node:fs/promises';
import { execa } from 'execa';
import { scanSetBits } from '../../../../src/engine/layout/filesystems/collect.ts';
import { IntervalBuilder, type IntervalSet } from '../../../../src/engine/protect/intervals.ts';

const bitmapAt = 110;

/** Used bytes of the file system in `image`, as `partclone.TYPE` sees them. */
export async function usedByPartclone(type: string, image: string): Promise<IntervalSet> {
  const out = `${image}.partclone`;
  try {
    await execa(`partclone.${type}`, ['-c', '-F', '-s', image, '-o', out, '-L', '/dev/null']);
    const bytes = await readFile(out);
    if (bytes.toString('latin1', 0, 15) !== 'partclone-image' || bytes.toString('latin1', 30, 34) !== '0002') {
      throw new Error(`partclone.${type} made an image of another format`);
    }
    const blocks = Number(bytes.readBigUInt64LE(60));
    const blockSize = bytes.readUInt32LE(84);
    const builder = new IntervalBuilder();
    scanSetBits(bytes.subarray(bitmapAt, bitmapAt + Math.ceil(blocks / 8)), blocks, (start, length) => {
      builder.add(start * blockSize, length * blockSize);
    });
    return builder.build();
  } finally {
    await rm(out, { force: true });
  }
}
