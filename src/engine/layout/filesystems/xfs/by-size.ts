/**
 * The second B+tree of a group's free extents, which is ordered by size. Version 4 keeps no checksums: that both trees hold the
 * same extents shows a bit that fell over in one of them.
 * Format: "XFS Algorithms & Data Structures", chapters "AG Free Space Management" and "Short Format Btrees".
 */
import { insist, readAt } from '../bytes.ts';
import type { Group } from './freespace.ts';

const header = 16;
const magic = 'ABTC';

/** Equal for equal sets of extents, in whatever order they are added; different, but for chance, for others. */
export class ExtentSum {
  count = 0;
  #low = 0;
  #high = 0;

  add(start: number, blocks: number): void {
    const mixed = Math.imul(start ^ 0x5bd1e995, 0x9e3779b1) ^ Math.imul(blocks ^ (start >>> 16), 0x85ebca6b);
    this.#low = (this.#low + (mixed ^ (mixed >>> 15))) | 0;
    this.#high = (this.#high ^ Math.imul(mixed, 0xc2b2ae35)) | 0;
    this.count++;
  }

  equals(other: ExtentSum): boolean {
    return this.count === other.count && this.#low === other.#low && this.#high === other.#high;
  }
}

/**
 * Goes through the tree of a group of version 4. Levels fall with every step down, and more than `most` extents end it, so that
 * no cycle can keep it.
 * @throws NotMappableError when a block is none of this tree
 */
export async function sumBySize(
  group: Group,
  root: number,
  levels: number,
  most: number,
): Promise<{ readonly sum: ExtentSum; readonly blocks: readonly number[] }> {
  const { part, sb, number, offset, length } = group;
  const sum = new ExtentSum();
  const blocks: number[] = [];
  const visit = async (block: number, level: number): Promise<void> => {
    const where = `block ${block} of the B+tree by size of group ${number}`;
    insist(block < length, `${where} lies outside the group`);
    const bytes = await readAt(part, offset + block * sb.blockSize, sb.blockSize, where);
    blocks.push(block);
    const records = bytes.readUInt16BE(6);
    const max = Math.floor((sb.blockSize - header) / (level === 0 ? 8 : 12));
    const sane = bytes.toString('latin1', 0, 4) === magic && bytes.readUInt16BE(4) === level && records <= max;
    insist(sane && (records > 0 || levels === 1), `${where} makes no sense`);
    for (let i = 0; i < records; i++) {
      if (level > 0) await visit(bytes.readUInt32BE(header + max * 8 + i * 4), level - 1);
      else {
        insist(sum.count < most, `the two free-space B+trees of group ${number} differ`);
        sum.add(bytes.readUInt32BE(header + i * 8), bytes.readUInt32BE(header + i * 8 + 4));
      }
    }
  };
  await visit(root, levels - 1);
  return { sum, blocks };
}
