/**
 * Which bytes exFAT uses: everything before its cluster heap, and the clusters that the allocation bitmap of a clean volume names.
 * Format: "exFAT file system specification" (Microsoft).
 */
import type { ByteRange, ImageSource } from '../../image/contract.ts';
import type { IntervalSet } from '../../protect/intervals.ts';
import type { FileSystemInfo, FileSystemReader, FileSystemState, UsedBlocks } from '../contract.ts';
import { chunkSize, insist, mapped, NotMappableError, readAt } from './bytes.ts';
import { scanSetBits, UsedCollector } from './collect.ts';
import { checkShape, type ExfatShape, readShape, whyUnclean } from './exfat/boot-region.ts';
import { followChain } from './exfat/chain.ts';
import { type ExfatRoot, readRoot } from './exfat/root.ts';

/** More than a table of all of Unicode takes. */
const maxUpcase = 2 ** 20;

export const exfat: FileSystemReader = {
  types: ['exfat'],

  async probe(part: ImageSource): Promise<FileSystemInfo | undefined> {
    const shape = await readShape(part);
    if (shape === undefined) return undefined;
    return { type: 'exfat', uuid: shape.serial, size: Math.min(shape.size, part.size), ...(await look(part, shape)) };
  },

  usedBlocks(part: ImageSource): Promise<UsedBlocks> {
    return mapped(async () => {
      const shape = await readShape(part);
      insist(shape !== undefined, 'there is no exFAT boot sector');
      const unclean = whyUnclean(shape);
      insist(unclean === undefined, `the file system is not clean: ${unclean}`);
      await checkShape(part, shape);
      return used(part, shape, await readRoot(part, shape));
    });
  },
};

async function look(part: ImageSource, shape: ExfatShape): Promise<{ label: string; state: FileSystemState }> {
  try {
    await checkShape(part, shape);
    const { label } = await readRoot(part, shape);
    return { label, state: whyUnclean(shape) === undefined ? 'clean' : 'unclean' };
  } catch (error) {
    if (error instanceof NotMappableError) return { label: '', state: 'unknown' };
    throw error;
  }
}

async function used(part: ImageSource, shape: ExfatShape, root: ExfatRoot): Promise<IntervalSet> {
  const { bitmap, upcase } = root;
  insist(bitmap.bytes === Math.ceil(shape.clusters / 8), `the bitmap has ${bitmap.bytes} bytes for ${shape.clusters} clusters`);
  insist(upcase.bytes > 0 && upcase.bytes <= maxUpcase, `the up-case table has ${upcase.bytes} bytes`);
  const chain = ({ cluster, bytes }: typeof bitmap, what: string): Promise<ByteRange[]> =>
    followChain(part, shape, cluster, { minBytes: bytes, maxBytes: bytes }, what);
  const bitmapRanges = await chain(bitmap, 'the allocation bitmap');
  const upcaseRanges = await chain(upcase, 'the up-case table');

  const collector = new UsedCollector();
  collector.add(0, shape.heapStart);
  let first = 0;
  for (const range of bitmapRanges) {
    for (let done = 0; done < range.length && first < shape.clusters; done += chunkSize) {
      const bytes = await readAt(part, range.offset + done, Math.min(chunkSize, range.length - done), 'the allocation bitmap');
      const bits = Math.min(bytes.length * 8, shape.clusters - first);
      scanSetBits(bytes, bits, (start, length) => {
        collector.add(shape.heapStart + (first + start) * shape.clusterBytes, length * shape.clusterBytes);
      });
      first += bits;
    }
  }
  const end = shape.heapStart + shape.clusters * shape.clusterBytes;
  collector.add(end, part.size - end);
  const map = collector.build();
  for (const range of [...bitmapRanges, ...upcaseRanges, ...root.ranges]) {
    insist(map.covers(range), `the allocation bitmap calls metadata at byte ${range.offset} free`);
  }
  return map;
}
