/**
 * Which bytes btrfs uses on a single device: what its extent tree names, through the chunk tree to the device, both copies of
 * what is kept twice; the superblocks; and what boot loaders keep in the reserved space in front.
 */
import type { ByteRange, ImageSource } from '../../image/contract.ts';
import { IntervalBuilder, IntervalSet } from '../../protect/intervals.ts';
import type { FileSystemInfo, FileSystemReader, FileSystemState, UsedBlocks } from '../contract.ts';
import { ChunkCollector, ChunkMap, chunkItem, parseSysChunks } from './btrfs/chunks.ts';
import { ExtentTree } from './btrfs/extents.ts';
import {
  type BtrfsSuperblock,
  describe,
  parseSuperblock,
  readRawSuperblock,
  superblockRanges,
  whyUnclean,
} from './btrfs/superblock.ts';
import { TreeReader } from './btrfs/tree.ts';
import { insist, mapped, NotMappableError, readAt, u64le } from './bytes.ts';
import { UsedCollector } from './collect.ts';

/** Never allocated by btrfs-progs of today; older ones put chunks there. */
const reserved = 1 << 20;
const unit = 4096;

export const btrfs: FileSystemReader = {
  types: ['btrfs'],

  async probe(part: ImageSource): Promise<FileSystemInfo | undefined> {
    const raw = await readRawSuperblock(part);
    return raw && { type: 'btrfs', ...describe(raw, part), state: stateOf(raw, part) };
  },

  usedBlocks(part: ImageSource): Promise<UsedBlocks> {
    return mapped(async () => {
      const raw = await readRawSuperblock(part);
      insist(raw !== undefined, 'there is no btrfs superblock');
      return used(part, parseSuperblock(raw, part));
    });
  },
};

function stateOf(raw: Buffer, part: ImageSource): FileSystemState {
  if (whyUnclean(raw) !== undefined) return 'unclean';
  try {
    parseSuperblock(raw, part);
    return 'clean';
  } catch (error) {
    if (error instanceof NotMappableError) return 'unknown';
    throw error;
  }
}

async function used(part: ImageSource, sb: BtrfsSuperblock): Promise<IntervalSet> {
  const { chunks, reader } = await readChunks(part, sb);
  const trees = new TreeReader(part, sb, chunks);
  const extents = await ExtentTree.open(trees, sb);
  await extents.checkGaps(chunks);

  const collector = new UsedCollector();
  const counted = new Map<number, number>();
  for (const { chunk, physical } of chunks.stripes()) {
    const shift = physical - chunk.logical;
    const bytes = await extents.extents(chunk, (address, length) => collector.add(address + shift, length));
    counted.set(chunk.logical, bytes);
  }
  const sum = [...counted.values()].reduce((a, b) => a + b, 0);
  insist(sum === sb.bytesUsed, `the superblock says that ${sb.bytesUsed} bytes are in use, the extents have ${sum}`);
  const allocated = collector.build();
  checkOwnBlocks(sb, chunks, [reader, trees], allocated);
  return allocated.union(await outside(part, sb));
}

/** The whole chunk tree, read through the system chunks that the superblock carries; and the reader, which knows what it read. */
export async function readChunks(part: ImageSource, sb: BtrfsSuperblock): Promise<{ chunks: ChunkMap; reader: TreeReader }> {
  const system = parseSysChunks(sb);
  const collector = new ChunkCollector(sb);
  const reader = new TreeReader(part, sb, system);
  await reader.walk(sb.chunkRoot, 0, Number.POSITIVE_INFINITY, (leaf, key, data, size) => {
    if (leaf[key + 8] === chunkItem) collector.add(u64le(leaf, key), u64le(leaf, key + 9), leaf.subarray(data, data + size));
  });
  const all = new ChunkMap(collector.chunks);
  for (const { logical, length, physical } of system.chunks) {
    const same = all.find(logical, length);
    insist(same?.join() === physical.join(), `the chunk tree does not know the system chunk at logical address ${logical}`);
  }
  return { chunks: all, reader };
}

/** The blocks that were read must be among those in use. */
function checkOwnBlocks(sb: BtrfsSuperblock, chunks: ChunkMap, trees: readonly TreeReader[], allocated: IntervalSet): void {
  const check = (address: number): void => {
    const places = chunks.find(address, sb.nodeSize) ?? [];
    const known = places.length > 0 && places.every((offset) => allocated.covers({ offset, length: sb.nodeSize }));
    insist(known, `its extent tree calls the tree block at logical address ${address} free`);
  };
  for (const { blocks, leaves } of trees) {
    for (const address of blocks) check(address);
    for (const address of leaves) check(address);
  }
}

/** What no chunk holds: the space up to the first superblock, loaders behind it, the superblocks, and what lies behind the end. */
async function outside(part: ImageSource, sb: BtrfsSuperblock): Promise<IntervalSet> {
  const superblocks = superblockRanges(sb);
  const first = superblocks[0] as ByteRange;
  const head = { offset: 0, length: first.offset + first.length };
  const builder = new IntervalBuilder();
  const end = Math.min(reserved, sb.deviceSize);
  const bytes = await readAt(part, 0, end, 'the reserved space');
  const zero = Buffer.alloc(unit);
  for (let at = head.length; at + unit <= end; at += unit) {
    if (!bytes.subarray(at, at + unit).equals(zero)) builder.add(at, unit);
  }
  const tail = { offset: sb.deviceSize, length: part.size - sb.deviceSize };
  return builder.build().union(IntervalSet.of(head, ...superblocks, tail));
}
