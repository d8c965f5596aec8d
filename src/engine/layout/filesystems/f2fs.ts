/**
 * Which bytes f2fs uses: all of its metadata areas, and the blocks that the segment table and the journal of the newest checkpoint
 * call valid, provided that the checkpoint was written by unmounting and nothing was written behind it.
 */
import type { ImageSource } from '../../image/contract.ts';
import { IntervalSet } from '../../protect/intervals.ts';
import type { FileSystemInfo, FileSystemReader, FileSystemState, UsedBlocks } from '../contract.ts';
import { insist, mapped, NotMappableError, readAt } from './bytes.ts';
import { scanSetBits, UsedCollector } from './collect.ts';
import { type F2fsCheckpoint, readCheckpoint } from './f2fs/checkpoint.ts';
import { checkNodes } from './f2fs/nodes.ts';
import { segments } from './f2fs/segments.ts';
import { blockBytes, type F2fsSuperblock, readNames, readSuperblock } from './f2fs/superblock.ts';
import { insistClean, UncleanError } from './f2fs/unclean.ts';

/** Where a node block says during which checkpoint it was written. */
const footerVersionAt = 4084;

export const f2fs: FileSystemReader = {
  types: ['f2fs'],

  async probe(part: ImageSource): Promise<FileSystemInfo | undefined> {
    const names = await readNames(part);
    return names && { type: 'f2fs', ...names, size: Math.min(names.size, part.size), state: await stateOf(part) };
  },

  usedBlocks(part: ImageSource): Promise<UsedBlocks> {
    return mapped(async () => {
      const sb = await readSuperblock(part);
      const checkpoint = await readCheckpoint(part, sb);
      await checkNothingFollows(part, sb, checkpoint);
      const map = await used(part, sb, checkpoint);
      await checkNodes(part, sb, checkpoint, map);
      return map;
    });
  },
};

async function stateOf(part: ImageSource): Promise<FileSystemState> {
  try {
    const sb = await readSuperblock(part);
    await checkNothingFollows(part, sb, await readCheckpoint(part, sb));
    return 'clean';
  } catch (error) {
    if (error instanceof NotMappableError) return error instanceof UncleanError ? 'unclean' : 'unknown';
    throw error;
  }
}

/**
 * Mounting writes no checkpoint, so the last one may speak of an unmount that others followed. What fsync wrote since then begins
 * where the log of warm nodes ended, and carries the checkpoint's version.
 */
async function checkNothingFollows(part: ImageSource, sb: F2fsSuperblock, checkpoint: F2fsCheckpoint): Promise<void> {
  if (checkpoint.recoveryStart >= mainEnd(sb)) return;
  const block = await readAt(part, checkpoint.recoveryStart * blockBytes, blockBytes, 'the end of the node log');
  const sameVersion = block.readUInt32LE(footerVersionAt) === Number(checkpoint.version & 0xffffffffn);
  insistClean(!sameVersion, 'files were written after its last checkpoint');
}

function mainEnd(sb: F2fsSuperblock): number {
  return sb.mainAt + sb.mainSegments * sb.segmentBlocks;
}

async function used(part: ImageSource, sb: F2fsSuperblock, checkpoint: F2fsCheckpoint): Promise<IntervalSet> {
  const collector = new UsedCollector();
  collector.add(0, sb.mainAt * blockBytes);
  let valid = 0;
  let validNodes = 0;
  for await (const segment of segments(part, sb, checkpoint)) {
    const first = sb.mainAt + segment.number * sb.segmentBlocks;
    scanSetBits(segment.valid, sb.segmentBlocks, (start, length) => {
      collector.add((first + start) * blockBytes, length * blockBytes);
    });
    valid += segment.count;
    if (segment.isNode) validNodes += segment.count;
  }
  insist(validNodes === checkpoint.validNodes, `the checkpoint says ${checkpoint.validNodes} nodes, the SIT has ${validNodes}`);
  insist(valid <= checkpoint.validBlocks, `the checkpoint says ${checkpoint.validBlocks} valid blocks, the SIT has ${valid}`);
  const end = sb.blocks * blockBytes;
  collector.add(end, part.size - end);
  // A leftover on the target, where recovery begins, could be taken for something that was written after the checkpoint.
  const start =
    checkpoint.recoveryStart < mainEnd(sb) ? [{ offset: checkpoint.recoveryStart * blockBytes, length: blockBytes }] : [];
  return collector.build().union(IntervalSet.of(...start));
}
