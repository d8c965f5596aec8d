/**
 * Which bytes XFS uses: everything that the free-space B+trees and free lists of its allocation groups do not call free,
 * provided that its log is clean.
 */
import type { ImageSource } from '../../image/contract.ts';
import type { IntervalSet } from '../../protect/intervals.ts';
import type { FileSystemInfo, FileSystemReader, FileSystemState, UsedBlocks } from '../contract.ts';
import { insist, mapped, NotMappableError } from './bytes.ts';
import { UsedCollector } from './collect.ts';
import { freeRanges, readFreeSpace } from './xfs/freespace.ts';
import { whyLogUnclean } from './xfs/log.ts';
import { describe, parseSuperblock, readRawSuperblock, type XfsSuperblock } from './xfs/superblock.ts';

export const xfs: FileSystemReader = {
  types: ['xfs'],

  async probe(part: ImageSource): Promise<FileSystemInfo | undefined> {
    const raw = await readRawSuperblock(part);
    return raw && { type: 'xfs', ...describe(raw, part), state: await stateOf(raw, part) };
  },

  usedBlocks(part: ImageSource): Promise<UsedBlocks> {
    return mapped(async () => {
      const raw = await readRawSuperblock(part);
      insist(raw !== undefined, 'there is no XFS superblock');
      const sb = parseSuperblock(raw, part);
      const unclean = await whyLogUnclean(part, sb);
      insist(unclean === undefined, `the file system is not clean: ${unclean}`);
      return used(part, sb);
    });
  },
};

async function stateOf(raw: Buffer, part: ImageSource): Promise<FileSystemState> {
  try {
    return (await whyLogUnclean(part, parseSuperblock(raw, part))) === undefined ? 'clean' : 'unclean';
  } catch (error) {
    if (error instanceof NotMappableError) return 'unknown';
    throw error;
  }
}

async function used(part: ImageSource, sb: XfsSuperblock): Promise<IntervalSet> {
  const collector = new UsedCollector();
  const logFrom = sb.logStart * sb.blockSize;
  const logTo = logFrom + sb.logBlocks * sb.blockSize;
  let at = 0;
  let free = 0;
  for (let group = 0; group < sb.agCount; group++) {
    const space = await readFreeSpace(part, sb, group);
    free += space.freeBlocks + space.list.length + (sb.lazyCounters ? space.treeBlocks : 0);
    for (const range of freeRanges(sb, group, space)) {
      insist(range.offset >= logTo || range.offset + range.length <= logFrom, `group ${group} calls blocks of the log free`);
      collector.add(at, range.offset - at);
      at = range.offset + range.length;
    }
  }
  insist(free === sb.freeBlocks, `the superblock says ${sb.freeBlocks} free blocks, the groups have ${free}`);
  collector.add(at, part.size - at);
  return collector.build();
}
