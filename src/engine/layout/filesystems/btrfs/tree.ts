/**
 * Reading B-trees of btrfs: every block is checked for being the one that its parent means.
 * Format: btrfs documentation, "On-disk format", sections "Tree block header", "Internal node", "Leaf node".
 */
import type { ImageSource } from '../../../image/contract.ts';
import { insist, readAt, u64le } from '../bytes.ts';
import type { ChunkMap } from './chunks.ts';
import { keySize } from './chunks.ts';
import type { BtrfsSuperblock, TreeRoot } from './superblock.ts';

const header = 101;
const itemSize = keySize + 8;
const pointerSize = keySize + 16;
const maxLevel = 7;
/** Leaves that are read at once. */
const sideBySide = 32;
/** Blocks above the leaves that are kept for the next walk. */
const maxKept = 64;

/** What a parent says of a block. */
interface Expected {
  readonly address: number;
  readonly level: number;
  readonly generation: number;
  /** The parent's block and where in it the key stands; undefined for a root. */
  readonly key: { readonly block: Buffer; readonly at: number } | undefined;
}

/**
 * Takes an item: the leaf, where in it the key stands (object id, type, offset), and where its data stand.
 * Buffers are valid during the call.
 */
export type OnItem = (leaf: Buffer, key: number, data: number, size: number) => void;

export class TreeReader {
  /** Logical addresses of all blocks above the leaves that were read, and of all roots. */
  readonly blocks = new Set<number>();
  /** The same of leaves, in the order of reading; some are read again. */
  readonly leaves: number[] = [];
  readonly #part: ImageSource;
  readonly #sb: BtrfsSuperblock;
  readonly #chunks: ChunkMap;
  readonly #kept = new Map<number, Buffer>();

  constructor(part: ImageSource, sb: BtrfsSuperblock, chunks: ChunkMap) {
    this.#part = part;
    this.#sb = sb;
    this.#chunks = chunks;
  }

  /**
   * Every item whose object id lies in `[from, to)`, ascending. Levels fall with every step down and keys must ascend from
   * block to block, so that no cycle can keep it.
   * @throws NotMappableError for a block that is not what its parent says
   */
  async walk(root: TreeRoot, from: number, to: number, onItem: OnItem): Promise<void> {
    insist(root.level <= maxLevel, `tree ${root.owner} has ${root.level + 1} levels`);
    this.blocks.add(root.address);
    await this.#visit(root, { ...root, key: undefined }, undefined, from, to, onItem);
  }

  /** Reads and checks a block, then what lies below it. */
  async #visit(tree: TreeRoot, it: Expected, read: Buffer | undefined, from: number, to: number, onItem: OnItem): Promise<void> {
    const block = read ?? (await this.#read(tree, it));
    const count = block.readUInt32LE(96);
    if (it.level === 0) {
      items(block, count, from, to, onItem);
      return;
    }
    const children: Expected[] = [];
    for (let i = 0; i < count; i++) {
      const at = header + i * pointerSize;
      // The block before the first key that is not smaller than `from` may still hold such keys.
      if (i + 1 < count && u64le(block, at + pointerSize) < from) continue;
      if (u64le(block, at) >= to) break;
      const address = u64le(block, at + keySize);
      children.push({ address, level: it.level - 1, generation: u64le(block, at + keySize + 8), key: { block, at } });
    }
    if (it.level > 1) {
      for (const child of children) await this.#visit(tree, child, undefined, from, to, onItem);
      return;
    }
    for (let i = 0; i < children.length; i += sideBySide) {
      const some = children.slice(i, i + sideBySide);
      const leaves = await Promise.all(some.map((child) => this.#read(tree, child)));
      for (const { address } of some) if (this.leaves.at(-1) !== address) this.leaves.push(address);
      for (const leaf of leaves) items(leaf, leaf.readUInt32LE(96), from, to, onItem);
    }
  }

  async #read(tree: TreeRoot, it: Expected): Promise<Buffer> {
    const kept = this.#kept.get(it.address);
    const block = kept ?? (await this.#load(it.address));
    const where = `the block at logical address ${it.address} of tree ${tree.owner}`;
    const { nodeSize } = this.#sb;
    if (kept === undefined) {
      insist(this.#sb.verify(block), `the checksum of ${where} is wrong`);
      insist(block.subarray(32, 48).equals(this.#sb.blockUuid), `${where} belongs to another file system`);
      insist(u64le(block, 48) === it.address, `${where} says that it is another block`);
    }
    insist(u64le(block, 88) === tree.owner, `${where} belongs to another tree`);
    insist(block[100] === it.level, `${where} has level ${block[100]} instead of ${it.level}`);
    insist(u64le(block, 80) === it.generation, `${where} is of another generation than its parent says`);
    const count = block.readUInt32LE(96);
    const size = it.level === 0 ? itemSize : pointerSize;
    insist(count <= Math.floor((nodeSize - header) / size), `${where} has ${count} entries`);
    insist(count > 0 || (it.key === undefined && it.level === 0), `${where} is empty`);
    insist(it.key === undefined || compareKeys(block, header, it.key.block, it.key.at) === 0, `${where} begins elsewhere`);
    if (kept === undefined) {
      for (let i = 1, at = header; i < count; i++, at += size) {
        insist(compareKeys(block, at, block, at + size) < 0, `the keys of ${where} do not ascend`);
      }
      if (it.level > 0) this.#keep(it.address, block);
    }
    return block;
  }

  #load(address: number): Promise<Buffer> {
    const places = this.#chunks.find(address, this.#sb.nodeSize);
    insist(places !== undefined, `the logical address ${address} lies in no chunk`);
    return readAt(this.#part, places[0] as number, this.#sb.nodeSize, 'a tree block');
  }

  #keep(address: number, block: Buffer): void {
    this.blocks.add(address);
    this.#kept.set(address, block);
    if (this.#kept.size <= maxKept) return;
    for (const oldest of this.#kept.keys()) {
      this.#kept.delete(oldest);
      return;
    }
  }
}

function items(leaf: Buffer, count: number, from: number, to: number, onItem: OnItem): void {
  const room = leaf.length - header;
  for (let i = 0, key = header; i < count; i++, key += itemSize) {
    const object = u64le(leaf, key);
    if (object < from) continue;
    if (object >= to) return;
    const data = leaf.readUInt32LE(key + keySize);
    const size = leaf.readUInt32LE(key + keySize + 4);
    insist(data + size <= room, 'an item reaches over the end of its leaf');
    onItem(leaf, key, header + data, size);
  }
}

/** Keys are ordered by object id, type and offset. */
function compareKeys(a: Buffer, atA: number, b: Buffer, atB: number): number {
  return (
    a.readUInt32LE(atA + 4) - b.readUInt32LE(atB + 4) ||
    a.readUInt32LE(atA) - b.readUInt32LE(atB) ||
    (a[atA + 8] as number) - (b[atB + 8] as number) ||
    a.readUInt32LE(atA + 13) - b.readUInt32LE(atB + 13) ||
    a.readUInt32LE(atA + 9) - b.readUInt32LE(atB + 9)
  );
}
