/**
 * Makes changed metadata look right again, so that what lies behind checksums and copies is reached. Independent of the readers:
 * places come from the formats, checksums are computed bit by bit.
 */
import { crc32 } from 'node:zlib';
import {
  sealBtrfs as sealBtrfsBlock,
  sealExtDescriptor,
  sealExt as sealExtSuperblock,
  sealF2fs as sealF2fsBlock,
  sealXfs as sealXfsBlock,
} from '../engine/layout/filesystems/seal.ts';
import type { ChangedBytes } from './sparse.ts';

export type Seal = (bytes: ChangedBytes) => void;

/** Every aligned block of `size` bytes that was touched, at most so many. */
function touchedBlocks(bytes: ChangedBytes, size: number): number[] {
  const blocks = new Set<number>();
  for (const { offset, length } of bytes.touched) {
    for (let at = offset - (offset % size); at < offset + length && blocks.size < 64; at += size) blocks.add(at);
  }
  return [...blocks].filter((at) => at >= 0 && at + size <= bytes.size);
}

function rewrite(bytes: ChangedBytes, at: number, length: number, change: (block: Buffer) => void): void {
  const block = bytes.get(at, length);
  change(block);
  bytes.set(at, block);
}

interface Ext {
  readonly blockSize: number;
  readonly cluster: number;
  readonly firstDataBlock: number;
  readonly groups: number;
  readonly blocks: number;
  readonly blocksPerGroup: number;
  readonly descriptorSize: number;
  readonly checked: boolean;
  readonly uuid: Buffer;
  descriptorAt(group: number): number;
}

/** As the sample was made: changes of these fields must not lead the seal astray. */
function extShape(bytes: ChangedBytes): Ext {
  const page = bytes.base.pages.get(0) as Buffer;
  const raw = page.subarray(1024, 2048);
  const blockSize = 1024 << raw.readUInt32LE(24);
  const [firstDataBlock, blocks, blocksPerGroup] = [raw.readUInt32LE(20), raw.readUInt32LE(4), raw.readUInt32LE(32)] as const;
  const descriptorSize = raw.readUInt32LE(0x60) & 0x80 ? raw.readUInt16LE(0xfe) : 32;
  const metaBg = (raw.readUInt32LE(0x60) & 0x10) !== 0;
  const perBlock = blockSize / descriptorSize;
  const descriptorAt = (group: number): number => {
    const index = Math.floor(group / perBlock);
    const first = index * perBlock;
    const start = firstDataBlock + first * blocksPerGroup;
    // A group that begins a meta group: behind its superblock copy, where it has one (odd powers of 3, 5 and 7 are never among them but 0).
    const block = metaBg ? (index === 0 ? start + 1 : start) : firstDataBlock + 1 + index;
    return block * blockSize + (group % perBlock) * descriptorSize;
  };
  return {
    blockSize,
    cluster: raw.readUInt32LE(0x64) & 0x200 ? 1 << (raw.readUInt32LE(28) - raw.readUInt32LE(24)) : 1,
    firstDataBlock,
    groups: Math.ceil((blocks - firstDataBlock) / blocksPerGroup),
    blocks,
    blocksPerGroup,
    descriptorSize,
    checked: (raw.readUInt32LE(0x64) & 0x400) !== 0,
    uuid: raw.subarray(0x68, 0x78),
    descriptorAt,
  };
}

/** Checksums of superblock, descriptors and block bitmaps. */
export function sealExt(bytes: ChangedBytes): void {
  const ext = extShape(bytes);
  if (!ext.checked) return;
  for (let group = 0; group < ext.groups; group++) {
    rewrite(bytes, ext.descriptorAt(group), ext.descriptorSize, (descriptor) => {
      const bitmap = descriptor.readUInt32LE(0) * ext.blockSize;
      const sum = crc32cOf(ext.uuid, bytes.get(bitmap, ext.blocksPerGroup / ext.cluster / 8));
      descriptor.writeUInt16LE(sum & 0xffff, 0x18);
      if (ext.descriptorSize >= 64) descriptor.writeUInt16LE(sum >>> 16, 0x38);
      sealExtDescriptor(descriptor, group, ext.uuid);
    });
  }
  rewrite(bytes, 1024, 1024, sealExtSuperblock);
}

/** The same, and the counts of free blocks are what the bitmaps say. */
export function recountExt(bytes: ChangedBytes): void {
  const ext = extShape(bytes);
  let free = 0;
  for (let group = 0; group < ext.groups; group++) {
    const blocks = Math.min(ext.blocksPerGroup, ext.blocks - ext.firstDataBlock - group * ext.blocksPerGroup);
    const clusters = Math.ceil(blocks / ext.cluster);
    rewrite(bytes, ext.descriptorAt(group), ext.descriptorSize, (descriptor) => {
      if (ext.checked && descriptor.readUInt16LE(0x12) & 2) {
        free += descriptor.readUInt16LE(0xc);
        return;
      }
      const bitmap = bytes.get(descriptor.readUInt32LE(0) * ext.blockSize, ext.blockSize);
      let count = 0;
      for (let i = 0; i < clusters; i++) if (((bitmap[i >>> 3] as number) & (1 << (i & 7))) === 0) count++;
      descriptor.writeUInt16LE(count & 0xffff, 0xc);
      free += count;
    });
  }
  rewrite(bytes, 1024, 1024, (superblock) => superblock.writeUInt32LE((free * ext.cluster) >>> 0, 0xc));
  sealExt(bytes);
}

const crcTable = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc >>> 0;
});

/** CRC-32C without the last inversion. */
function crc32cOf(...pieces: readonly Uint8Array[]): number {
  let crc = 0xffffffff;
  for (const piece of pieces) for (const byte of piece) crc = (crc >>> 8) ^ (crcTable[(crc ^ byte) & 0xff] as number);
  return crc >>> 0;
}

const xfsBlocks = [
  ['XFSB', 512, 224],
  ['XAGF', 512, 216],
  ['XAFL', 512, 32],
] as const;

/** By the magic at the start of the sector or block. The counts of a group are made those of its leaf when there is only one. */
export function sealXfs(bytes: ChangedBytes): void {
  const raw = bytes.base.pages.get(0) as Buffer;
  const [blockSize, agBlocks, groups] = [raw.readUInt32BE(4), raw.readUInt32BE(84), raw.readUInt32BE(88)];
  for (let group = 0; group < groups; group++) recountXfs(bytes, group * agBlocks * blockSize, blockSize);
  for (const at of touchedBlocks(bytes, blockSize)) {
    if (bytes.get(at, 4).toString('latin1') === 'AB3B') rewrite(bytes, at, blockSize, (block) => sealXfsBlock(block, 52));
  }
  for (const at of touchedBlocks(bytes, 512)) {
    const known = xfsBlocks.find(([magic]) => magic === bytes.get(at, 4).toString('latin1'));
    if (known) rewrite(bytes, at, known[1], (block) => sealXfsBlock(block, known[2]));
  }
}

function recountXfs(bytes: ChangedBytes, group: number, blockSize: number): void {
  const agf = bytes.get(group + 512, 512);
  const root = group + agf.readUInt32BE(16) * blockSize;
  if (
    agf.readUInt32BE(28) !== 1 ||
    !bytes.touched.some((range) => range.offset < root + blockSize && root < range.offset + range.length)
  )
    return;
  const leaf = bytes.get(root, blockSize);
  const records = Math.min(leaf.readUInt16BE(6), (blockSize - 56) / 8);
  let sum = 0;
  for (let i = 0; i < records; i++) sum += leaf.readUInt32BE(56 + i * 8 + 4);
  const before = agf.readUInt32BE(52);
  rewrite(bytes, group + 512, 512, (block) => block.writeUInt32BE(sum >>> 0, 52));
  rewrite(bytes, 0, 512, (block) =>
    block.writeBigUInt64BE(BigInt.asUintN(64, block.readBigUInt64BE(144) + BigInt(sum - before)), 144),
  );
  bytes.touched.push({ offset: 0, length: 1 }, { offset: group + 512, length: 1 });
}

export function sealBtrfs(bytes: ChangedBytes): void {
  for (const at of touchedBlocks(bytes, 4096)) rewrite(bytes, at, 4096, sealBtrfsBlock);
}

/** Both superblocks are the first, both ends of a checkpoint the changed one, and each count of a segment is what its bitmap says. */
export function sealF2fs(bytes: ChangedBytes): void {
  const raw = (bytes.base.pages.get(0) as Buffer).subarray(1024);
  const [checkpointAt, sitAt, sitSegments] = [76, 80, 56].map((at) => raw.readUInt32LE(at)) as [number, number, number];
  rewrite(bytes, 1024, 3072, (superblock) => {
    if (superblock.readUInt32LE(32) === 3068) sealF2fsBlock(superblock, 3068);
  });
  bytes.set(4096 + 1024, bytes.get(1024, 3072));
  for (const at of [checkpointAt, checkpointAt + 512].map((block) => block * 4096)) {
    rewrite(bytes, at, 4096, (block) => {
      if (block.readUInt32LE(164) === 4092) sealF2fsBlock(block, 4092);
    });
    const blocks = bytes.get(at + 136, 4).readUInt32LE(0);
    if (blocks > 1 && blocks <= 512) bytes.set(at + (blocks - 1) * 4096, bytes.get(at, 4096));
  }
  const sit = { from: sitAt * 4096, to: (sitAt + sitSegments * 512) * 4096 };
  for (const at of touchedBlocks(bytes, 4096).filter((block) => block >= sit.from && block < sit.to)) {
    rewrite(bytes, at, 4096, (block) => {
      for (let entry = 0; entry + 74 <= 4096; entry += 74) {
        let count = 0;
        for (const byte of block.subarray(entry + 2, entry + 66)) count += byte.toString(2).replaceAll('0', '').length;
        block.writeUInt16LE((block.readUInt16LE(entry) & ~0x3ff) | (count & 0x3ff), entry);
      }
    });
  }
}

/** All copies of the FAT are the first. */
export function sealFat(bytes: ChangedBytes): void {
  const boot = bytes.base.pages.get(0) as Buffer;
  const sector = boot.readUInt16LE(11);
  const start = boot.readUInt16LE(14) * sector;
  const length = (boot.readUInt16LE(22) || boot.readUInt32LE(36)) * sector;
  for (const { offset, length: touched } of [...bytes.touched]) {
    for (const copy of [0, 1]) {
      const inFat = offset - start - copy * length;
      if (inFat >= 0 && inFat < length)
        bytes.set(start + (1 - copy) * length + inFat, bytes.get(offset, Math.min(touched, length - inFat)));
    }
  }
}

/** The checksum of the boot region, at the sector size that it says. */
export function sealExfat(bytes: ChangedBytes): void {
  const shift = bytes.get(108, 1)[0] as number;
  const sector = shift >= 9 && shift <= 12 ? 2 ** shift : 512;
  const region = bytes.get(0, 11 * sector);
  let sum = 0;
  for (let i = 0; i < region.length; i++) {
    if (i !== 106 && i !== 107 && i !== 112) sum = (((sum & 1 ? 0x80000000 : 0) + (sum >>> 1)) % 2 ** 32) + (region[i] as number);
    sum %= 2 ** 32;
  }
  rewrite(bytes, 11 * sector, sector, (last) => {
    for (let at = 0; at < sector; at += 4) last.writeUInt32LE(sum, at);
  });
}

/** The first records of the master file table and their copies are the same. */
export function sealNtfs(bytes: ChangedBytes): void {
  const boot = bytes.base.pages.get(0) as Buffer;
  const cluster = boot.readUInt16LE(11) * (boot[13] as number);
  const [table, mirror] = [48, 56].map((at) => Number(boot.readBigUInt64LE(at)) * cluster) as [number, number];
  for (const { offset, length } of [...bytes.touched]) {
    for (const [from, to] of [
      [table, mirror],
      [mirror, table],
    ] as const) {
      const inside = offset - from;
      if (inside >= 0 && inside < 4096) bytes.set(to + inside, bytes.get(offset, Math.min(length, 4096 - inside)));
    }
  }
}

/** Labels, headers of metadata areas and the texts that they name. */
export function sealLvm(bytes: ChangedBytes): void {
  const sum = (piece: Uint8Array): number => ~crc32(piece, ~0xf597a6cf >>> 0) >>> 0;
  for (let at = 0; at < 2048; at += 512) {
    rewrite(bytes, at, 512, (sector) => {
      if (sector.toString('latin1', 0, 8) === 'LABELONE') sector.writeUInt32LE(sum(sector.subarray(20)), 16);
    });
  }
  for (const area of [4096, 63 << 20]) {
    rewrite(bytes, area, 512, (header) => {
      const [offset, length] = [header.readBigUInt64LE(40), header.readBigUInt64LE(48)].map(Number) as [number, number];
      const size = Number(header.readBigUInt64LE(32));
      if (header.toString('latin1', 4, 9) === ' LVM2' && offset < size && length <= size && size <= 1 << 21) {
        const first = Math.min(length, size - offset);
        const text = Buffer.concat([bytes.get(area + offset, first), bytes.get(area + 512, length - first)]);
        header.writeUInt32LE(sum(text), 56);
      }
      header.writeUInt32LE(sum(header.subarray(4)), 0);
    });
  }
}
