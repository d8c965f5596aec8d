/**
 * The free space of one XFS allocation group: its B+tree of free extents by block number, and its free list.
 * Format: "XFS Algorithms & Data Structures", chapters "AG Free Space Management" and "Short Format Btrees".
 */
import type { ByteRange, ImageSource } from '../../../image/contract.ts';
import { insist, readAt, u64be } from '../bytes.ts';
import { ExtentSum, sumBySize } from './by-size.ts';
import { checksumFits, type XfsSuperblock } from './superblock.ts';

const none = 0xffffffff;
const maxLevels = 9;
/** Blocks of a B+tree that are read at once. */
const sideBySide = 32;
/** Sectors at the head of a group: superblock, AGF, AGI, AGFL. */
const headerSectors = 4;
/** More free extents than this in one group are not read (128 MB). */
const maxExtents = 1 << 24;

/** Free blocks of a group, counted from its start. */
export interface FreeSpace {
  readonly extents: ExtentList;
  /** Blocks kept for the group's own B+trees. */
  readonly list: readonly number[];
  /** Blocks that the group's B+trees take beyond their roots. */
  readonly treeBlocks: number;
  readonly freeBlocks: number;
}

export interface Group {
  readonly part: ImageSource;
  readonly sb: XfsSuperblock;
  readonly number: number;
  /** Blocks. */
  readonly length: number;
  /** Bytes. */
  readonly offset: number;
}

/** @throws NotMappableError for anything in it that does not fit together. */
export async function readFreeSpace(part: ImageSource, sb: XfsSuperblock, number: number): Promise<FreeSpace> {
  const offset = number * sb.agBlocks * sb.blockSize;
  const group: Group = { part, sb, number, offset, length: Math.min(sb.agBlocks, sb.blocks - number * sb.agBlocks) };
  const agf = await readHeader(group, 1, 'XAGF', 216, 64);
  insist(agf.readUInt32BE(4) === 1, `AGF ${number} has version ${agf.readUInt32BE(4)}`);
  insist(agf.readUInt32BE(8) === number && agf.readUInt32BE(12) === group.length, `AGF ${number} describes another group`);
  const levels = agf.readUInt32BE(28);
  insist(levels >= 1 && levels <= maxLevels, `the free space of group ${number} has ${levels} levels`);

  const walk = new TreeWalk(group, levels);
  await walk.visit(agf.readUInt32BE(16), levels - 1, undefined);
  walk.finish();
  const freeBlocks = agf.readUInt32BE(52);
  insist(walk.sum === freeBlocks, `group ${number} says ${freeBlocks} free blocks, its B+tree has ${walk.sum}`);
  const bySize = sb.version === 4 ? await checkBySize(group, agf, walk) : [];
  const list = await readFreeList(group, agf);
  const headers = Math.ceil((headerSectors * sb.sectorSize) / sb.blockSize);
  const busy = [...walk.blocks, ...bySize, ...list, ...Array.from({ length: headers }, (_, i) => i)];
  insist(new Set(busy).size === busy.length, `group ${number} uses a block twice`);
  for (const block of busy) insist(!walk.extents.has(block), `group ${number} uses block ${block} that it calls free`);
  return { extents: walk.extents, list, freeBlocks, treeBlocks: agf.readUInt32BE(60) };
}

/** The blocks of the other tree, which must hold the same extents. */
async function checkBySize(group: Group, agf: Buffer, walk: TreeWalk): Promise<readonly number[]> {
  const levels = agf.readUInt32BE(32);
  insist(levels >= 1 && levels <= maxLevels, `the free space of group ${group.number} has ${levels} levels by size`);
  const { sum, blocks } = await sumBySize(group, agf.readUInt32BE(20), levels, walk.extents.count);
  insist(sum.equals(walk.listed), `the two free-space B+trees of group ${group.number} differ`);
  return blocks;
}

/** One of the group's header sectors, checked. Version 4 has neither UUID nor checksum in them. */
async function readHeader(group: Group, sector: number, magic: string, crcAt: number, uuidAt: number): Promise<Buffer> {
  const { sb, number } = group;
  const what = `${magic} header of group ${number}`;
  const bytes = await readAt(group.part, group.offset + sector * sb.sectorSize, sb.sectorSize, what);
  insist(bytes.toString('latin1', 0, 4) === magic, `the ${what} has no magic`);
  if (sb.version === 5) {
    insist(checksumFits(bytes, crcAt), `the checksum of the ${what} is wrong`);
    insist(bytes.subarray(uuidAt, uuidAt + 16).equals(sb.metaUuid), `the ${what} belongs to another file system`);
  }
  return bytes;
}

async function readFreeList(group: Group, agf: Buffer): Promise<number[]> {
  const { sb, number } = group;
  const head = sb.version === 5 ? 36 : 0;
  const slots = Math.floor((sb.sectorSize - head) / 4);
  const first = agf.readUInt32BE(40);
  const last = agf.readUInt32BE(44);
  const count = agf.readUInt32BE(48);
  const active = count === 0 ? 0 : ((last - first + slots) % slots) + 1;
  insist(first < slots && last < slots && count === active, `the free list of group ${number} makes no sense`);
  if (count === 0) return [];
  const bytes =
    sb.version === 5
      ? await readHeader(group, 3, 'XAFL', 32, 8)
      : await readAt(group.part, group.offset + 3 * sb.sectorSize, sb.sectorSize, `the free list of group ${number}`);
  if (sb.version === 5) insist(bytes.readUInt32BE(4) === number, `the free list of group ${number} belongs to another group`);
  return Array.from({ length: count }, (_, i) => {
    const block = bytes.readUInt32BE(head + ((first + i) % slots) * 4);
    insist(block < group.length, `the free list of group ${number} names block ${block} outside the group`);
    return block;
  });
}

/** Ascending, disjoint extents in blocks: start, end, start, end, ... */
class ExtentList {
  #edges = new Uint32Array(256);
  #length = 0;

  /** How many extents there are. */
  get count(): number {
    return this.#length / 2;
  }

  /** End of the last extent, or -1. */
  get end(): number {
    return this.#length === 0 ? -1 : this.#at(this.#length - 1);
  }

  add(start: number, end: number): void {
    if (this.#length + 2 > this.#edges.length) {
      const grown = new Uint32Array(this.#edges.length * 2);
      grown.set(this.#edges);
      this.#edges = grown;
    }
    this.#edges[this.#length] = start;
    this.#edges[this.#length + 1] = end;
    this.#length += 2;
  }

  /** O(log n). */
  has(block: number): boolean {
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#at(middle * 2 + 1) > block) high = middle;
      else low = middle + 1;
    }
    return low < this.count && this.#at(low * 2) <= block;
  }

  /** The extents together with single blocks that lie in none of them, ascending. */
  *with(blocks: readonly number[]): Iterable<ByteRange> {
    const rest = [...blocks].sort((a, b) => a - b);
    let next = 0;
    for (let i = 0; i < this.#length; i += 2) {
      const start = this.#at(i);
      for (; next < rest.length && (rest[next] as number) < start; next++) yield { offset: rest[next] as number, length: 1 };
      yield { offset: start, length: this.#at(i + 1) - start };
    }
    for (; next < rest.length; next++) yield { offset: rest[next] as number, length: 1 };
  }

  #at(index: number): number {
    return this.#edges[index] as number;
  }
}

/**
 * Visits a B+tree from left to right. Levels fall with every step down and records must ascend, so that no cycle can
 * keep it: a block met twice either has the wrong level or repeats records.
 */
class TreeWalk {
  readonly extents = new ExtentList();
  readonly blocks: number[] = [];
  readonly listed = new ExtentSum();
  sum = 0;
  readonly #group: Group;
  /** Per level: the block visited last, and which one it says comes next. */
  readonly #left: number[];
  readonly #right: number[];

  constructor(group: Group, levels: number) {
    this.#group = group;
    this.#left = new Array<number>(levels).fill(none);
    this.#right = new Array<number>(levels).fill(none);
  }

  /** `key` is the first start block that the parent promises. */
  async visit(block: number, level: number, key: number | undefined, read?: Buffer): Promise<void> {
    const { sb } = this.#group;
    const where = this.#where(block);
    const bytes = read ?? (await this.#read(block, level));
    const header = sb.version === 5 ? 56 : 16;
    const records = bytes.readUInt16BE(6);
    const max = Math.floor((sb.blockSize - header) / (level === 0 ? 8 : 12));
    // Only the root of a full group may be empty.
    insist(records <= max && (records > 0 || (key === undefined && level === 0)), `${where} has ${records} records`);
    insist(key === undefined || bytes.readUInt32BE(header) === key, `${where} does not begin where its parent says`);
    this.#follow(block, level, bytes, where);
    if (level === 0) return this.#leaf(bytes, header, records, where);
    for (let from = 0; from < records; from += sideBySide) {
      const children = Array.from({ length: Math.min(sideBySide, records - from) }, (_, i) => ({
        childKey: bytes.readUInt32BE(header + (from + i) * 8),
        child: bytes.readUInt32BE(header + max * 8 + (from + i) * 4),
      }));
      const read = await Promise.all(children.map(({ child }) => this.#read(child, level - 1)));
      for (const [i, { child, childKey }] of children.entries()) await this.visit(child, level - 1, childKey, read[i]);
    }
  }

  /** Every level must have ended with its rightmost block. */
  finish(): void {
    const ended = this.#right.every((block) => block === none);
    insist(ended, `the free-space B+tree of group ${this.#group.number} has blocks that its parents do not name`);
  }

  #where(block: number): string {
    return `block ${block} of the free-space B+tree of group ${this.#group.number}`;
  }

  async #read(block: number, level: number): Promise<Buffer> {
    const where = this.#where(block);
    const { part, sb, offset, number, length } = this.#group;
    insist(block < length, `${where} lies outside the group`);
    const at = offset + block * sb.blockSize;
    const bytes = await readAt(part, at, sb.blockSize, where);
    insist(bytes.toString('latin1', 0, 4) === (sb.version === 5 ? 'AB3B' : 'ABTB'), `${where} has no magic`);
    insist(bytes.readUInt16BE(4) === level, `${where} has level ${bytes.readUInt16BE(4)} instead of ${level}`);
    if (sb.version === 5) {
      insist(checksumFits(bytes, 52), `the checksum of ${where} is wrong`);
      const own = u64be(bytes, 16) * 512 === at && bytes.readUInt32BE(48) === number;
      insist(own && bytes.subarray(32, 48).equals(sb.metaUuid), `${where} says that it is another block`);
    }
    return bytes;
  }

  #follow(block: number, level: number, bytes: Buffer, where: string): void {
    const expected = this.#right[level];
    const first = this.#left[level] === none;
    insist(bytes.readUInt32BE(8) === this.#left[level], `${where} has the wrong left neighbour`);
    insist(first || expected === block, `${where} is not the right neighbour of the block before it`);
    this.#left[level] = block;
    this.#right[level] = bytes.readUInt32BE(12);
    this.blocks.push(block);
  }

  #leaf(bytes: Buffer, header: number, records: number, where: string): void {
    for (let i = 0; i < records; i++) {
      const start = bytes.readUInt32BE(header + i * 8);
      const count = bytes.readUInt32BE(header + i * 8 + 4);
      insist(
        start > this.extents.end && count > 0 && start + count <= this.#group.length,
        `${where} has a record that makes no sense`,
      );
      insist(this.extents.count < maxExtents, `group ${this.#group.number} has more than ${maxExtents} free extents`);
      this.extents.add(start, start + count);
      this.listed.add(start, count);
      this.sum += count;
    }
  }
}

/**
 * Free blocks of a group as ascending byte ranges of the part. What the free list of version 4 names is not among them: nothing
 * else vouches for these few blocks.
 */
export function* freeRanges(sb: XfsSuperblock, number: number, free: FreeSpace): Iterable<ByteRange> {
  const base = number * sb.agBlocks;
  for (const range of free.extents.with(sb.version === 5 ? free.list : [])) {
    yield { offset: (base + range.offset) * sb.blockSize, length: range.length * sb.blockSize };
  }
}
