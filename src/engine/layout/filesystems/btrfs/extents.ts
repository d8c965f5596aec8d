/**
 * The extent tree of btrfs: which logical addresses are in use, chunk by chunk.
 * Format: btrfs documentation, "On-disk format", sections "Extent tree" and "Block group items".
 */
import { insist, u64le } from '../bytes.ts';
import type { Chunk, ChunkMap } from './chunks.ts';
import { type BtrfsSuperblock, type TreeRoot, treeId } from './superblock.ts';
import type { TreeReader } from './tree.ts';

const rootItem = 132;
const extentItem = 168;
const metadataItem = 169;
const blockGroupItem = 192;
/** Back references that stand beside their extent: owner, tree block, data, shared block, shared data. */
const references = new Set([172, 176, 178, 182, 184]);
/** Extents have at least a reference count, a generation and flags. */
const leastExtent = 24;
const leastRoot = 239;

/** Finds a tree in the tree of roots. */
export async function findTree(trees: TreeReader, sb: BtrfsSuperblock, owner: number): Promise<TreeRoot> {
  const found: TreeRoot[] = [];
  await trees.walk(sb.rootTree, owner, owner + 1, (leaf, key, data, size) => {
    if (leaf[key + 8] !== rootItem) return;
    insist(size >= leastRoot, `the root of tree ${owner} is cut short`);
    found.push({
      address: u64le(leaf, data + 176),
      level: leaf.readUInt8(data + 238),
      generation: u64le(leaf, data + 160),
      owner,
    });
  });
  const [root] = found;
  insist(root !== undefined && found.length === 1, `tree ${owner} has ${found.length} roots`);
  return root;
}

/** Bytes in use of every block group, by logical address, for chunks alone and together with their lengths. */
type GroupSizes = Map<number, { readonly length: number; readonly used: number }>;

export class ExtentTree {
  readonly #trees: TreeReader;
  readonly #sb: BtrfsSuperblock;
  readonly #root: TreeRoot;
  /** Where block groups have a tree of their own. */
  readonly #groups: GroupSizes | undefined;

  private constructor(trees: TreeReader, sb: BtrfsSuperblock, root: TreeRoot, groups: GroupSizes | undefined) {
    this.#trees = trees;
    this.#sb = sb;
    this.#root = root;
    this.#groups = groups;
  }

  static async open(trees: TreeReader, sb: BtrfsSuperblock): Promise<ExtentTree> {
    const root = await findTree(trees, sb, treeId.extent);
    if (!sb.blockGroupTree) return new ExtentTree(trees, sb, root, undefined);
    const groups: GroupSizes = new Map();
    await trees.walk(await findTree(trees, sb, treeId.blockGroup), 0, Number.POSITIVE_INFINITY, (leaf, key, data, size) => {
      insist(leaf[key + 8] === blockGroupItem, `its block group tree has an item of type ${leaf[key + 8]}`);
      groups.set(u64le(leaf, key), groupSize(leaf, key, data, size));
    });
    return new ExtentTree(trees, sb, root, groups);
  }

  /** @throws NotMappableError when an extent or a block group lies in no chunk */
  async checkGaps(chunks: ChunkMap): Promise<void> {
    const inNoChunk = (leaf: Buffer, key: number): void => {
      insist(false, `its extent tree has an item at logical address ${u64le(leaf, key)}, where there is no chunk`);
    };
    let end = 0;
    for (const chunk of chunks.chunks) {
      if (chunk.logical > end) await this.#trees.walk(this.#root, end, chunk.logical, inNoChunk);
      end = chunk.logical + chunk.length;
    }
    await this.#trees.walk(this.#root, end, Number.POSITIVE_INFINITY, inNoChunk);
    const groups = this.#groups?.size ?? chunks.chunks.length;
    insist(groups === chunks.chunks.length, `it has ${groups} block groups in ${chunks.chunks.length} chunks`);
  }

  /**
   * Reports every extent of a chunk: logical address and length in bytes, ascending.
   * @returns how many bytes are in use
   * @throws NotMappableError where extents overlap, leave the chunk or do not add up to what the block group says
   */
  async extents(chunk: Chunk, onExtent: (address: number, length: number) => void): Promise<number> {
    const limit = chunk.logical + chunk.length;
    let group = this.#groups?.get(chunk.logical);
    let end = chunk.logical;
    let used = 0;
    await this.#trees.walk(this.#root, chunk.logical, limit, (leaf, key, data, size) => {
      const type = leaf[key + 8] as number;
      if (type === extentItem || type === metadataItem) {
        const address = u64le(leaf, key);
        const length = type === metadataItem ? this.#sb.nodeSize : u64le(leaf, key + 9);
        insist(
          address >= end && length > 0 && address + length <= limit && size >= leastExtent,
          `the extent at logical address ${address} makes no sense`,
        );
        insist(
          address % this.#sb.sectorSize === 0 && length % this.#sb.sectorSize === 0,
          `the extent at logical address ${address} is not aligned`,
        );
        end = address + length;
        used += length;
        onExtent(address, length);
      } else if (type === blockGroupItem) {
        insist(this.#groups === undefined && u64le(leaf, key) === chunk.logical, 'it has a block group without a chunk');
        group = groupSize(leaf, key, data, size);
      } else {
        insist(references.has(type), `its extent tree has an item of type ${type}`);
      }
    });
    const where = `the block group at logical address ${chunk.logical}`;
    insist(group !== undefined, `${where} is missing`);
    insist(group.length === chunk.length, `${where} has ${group.length} bytes, its chunk ${chunk.length}`);
    insist(group.used === used, `${where} says that ${group.used} bytes are in use, its extents have ${used}`);
    return used;
  }
}

function groupSize(leaf: Buffer, key: number, data: number, size: number): { length: number; used: number } {
  insist(size >= leastExtent, 'a block group item is cut short');
  return { length: u64le(leaf, key + 9), used: u64le(leaf, data) };
}
