/**
 * Which bytes FAT12, FAT16 and FAT32 use: everything before the first cluster, and the clusters that the FAT does not call free.
 * Format: "FAT: General Overview of On-Disk Format" 1.03 (Microsoft); the dirty bits of the boot sector are Linux's.
 */
import type { ImageSource } from '../../image/contract.ts';
import type { IntervalSet } from '../../protect/intervals.ts';
import type { FileSystemInfo, FileSystemReader, FileSystemState, UsedBlocks } from '../contract.ts';
import { chunkSize, insist, mapped, peek, readAt } from './bytes.ts';
import { UsedCollector } from './collect.ts';
import { type FatShape, parseBootSector } from './fat/boot-sector.ts';
import { volumeLabel } from './fat/label.ts';

export const fat: FileSystemReader = {
  types: ['vfat'],

  async probe(part: ImageSource): Promise<FileSystemInfo | undefined> {
    const shape = await readShape(part);
    if (shape === undefined) return undefined;
    return {
      type: 'vfat',
      uuid: shape.serial,
      label: await volumeLabel(part, shape),
      size: Math.min(shape.size, part.size),
      state: await stateOf(part, shape),
    };
  },

  usedBlocks(part: ImageSource): Promise<UsedBlocks> {
    return mapped(async () => {
      const shape = await readShape(part);
      insist(shape !== undefined, 'there is no FAT boot sector');
      insist(shape.size <= part.size, `the file system has ${shape.size} bytes, more than the part (${part.size} bytes)`);
      insist(shape.mirrored, 'its FATs are not copies of each other (mirroring is off)');
      const unclean = await whyUnclean(part, shape);
      insist(unclean === undefined, `the file system is not clean: ${unclean}`);
      return used(part, shape);
    });
  },
};

async function readShape(part: ImageSource): Promise<FatShape | undefined> {
  const sector = await peek(part, 0, 512);
  return sector && parseBootSector(sector);
}

async function stateOf(part: ImageSource, shape: FatShape): Promise<FileSystemState> {
  if (shape.size > part.size) return 'unknown';
  return (await whyUnclean(part, shape)) === undefined ? 'clean' : 'unclean';
}

async function whyUnclean(part: ImageSource, shape: FatShape): Promise<string | undefined> {
  if (shape.dirty) return 'its dirty bit is set';
  if (shape.bits === 12) return undefined;
  const entry = (await readAt(part, shape.fatStart, 8, 'the FAT')).subarray(shape.bits / 8);
  const [clean, noErrors] =
    shape.bits === 16
      ? [entry.readUInt16LE(0) & 0x8000, entry.readUInt16LE(0) & 0x4000]
      : [entry.readUInt32LE(0) & 0x8000000, entry.readUInt32LE(0) & 0x4000000];
  if (clean === 0) return 'its FAT says that it was not shut down';
  return noErrors === 0 ? 'its FAT has noted I/O errors' : undefined;
}

async function used(part: ImageSource, shape: FatShape): Promise<IntervalSet> {
  const collector = new UsedCollector();
  collector.add(0, shape.dataStart);
  const last = shape.clusters + 1;
  const endMark = { 12: 0xff8, 16: 0xfff8, 32: 0xffffff8 }[shape.bits];
  const bad = endMark - 1;
  const inUse = new Uint8Array((last >>> 3) + 1);
  const followed = new Uint8Array((last >>> 3) + 1);
  let start = -1;
  for await (const { entries, first } of fatEntries(part, shape)) {
    if (entries === undefined) {
      if (start >= 0) addClusters(collector, shape, start, first);
      start = -1;
      continue;
    }
    for (let i = 0; i < entries.length; i++) {
      const cluster = first + i;
      const value = entries[i] as number;
      if (cluster < 2) continue;
      if (value === 0) {
        if (start >= 0) addClusters(collector, shape, start, cluster);
        start = -1;
        continue;
      }
      if (start < 0) start = cluster;
      inUse[cluster >>> 3] = (inUse[cluster >>> 3] as number) | (1 << (cluster & 7));
      if (value >= bad) continue;
      if (value < 2 || value > last) insist(false, `cluster ${cluster} is followed by cluster ${value}, which does not exist`);
      followed[value >>> 3] = (followed[value >>> 3] as number) | (1 << (value & 7));
    }
  }
  if (start >= 0) addClusters(collector, shape, start, last + 1);
  for (let i = 0; i < followed.length; i++) {
    if (((followed[i] as number) & ~(inUse[i] as number)) !== 0)
      insist(false, `a chain goes on in a free cluster (near ${i * 8})`);
  }
  if (shape.bits === 32) {
    const root = shape.rootCluster;
    insist(root >= 2 && root <= last, `the root directory begins at cluster ${root}, which does not exist`);
    insist(((inUse[root >>> 3] as number) & (1 << (root & 7))) !== 0, 'the root directory begins at a free cluster');
  }
  const end = shape.dataStart + shape.clusters * shape.clusterBytes;
  collector.add(end, part.size - end);
  return collector.build();
}

function addClusters(collector: UsedCollector, shape: FatShape, from: number, to: number): void {
  collector.add(shape.dataStart + (from - 2) * shape.clusterBytes, (to - from) * shape.clusterBytes);
}

/** Entries that are looked at together: even, so that no FAT12 pair is torn. */
const GROUP = 1024;
const free = Buffer.alloc(GROUP * 4);

interface EntryGroup {
  readonly first: number;
  /** Undefined where all clusters are free. */
  readonly entries: Uint32Array | undefined;
}

/** All entries of the FAT in order, group by group, every copy compared with the first. @throws NotMappableError where they differ. */
async function* fatEntries(part: ImageSource, shape: FatShape): AsyncIterable<EntryGroup> {
  const total = shape.clusters + 2;
  // A multiple of 3 bytes, so that no FAT12 pair is torn.
  const step = shape.bits === 12 ? 3 << 18 : chunkSize;
  const bytesInAll = Math.ceil((total * shape.bits) / 8);
  for (let at = 0; at < shape.fatBytes; at += step) {
    const length = Math.min(step, shape.fatBytes - at);
    const bytes = await readAt(part, shape.fatStart + at, length, 'the FAT');
    for (let copy = 1; copy < shape.fats; copy++) {
      const other = await readAt(part, shape.fatStart + copy * shape.fatBytes + at, length, `copy ${copy + 1} of the FAT`);
      insist(other.equals(bytes), 'the copies of its FAT differ');
    }
    if (at >= bytesInAll) continue;
    const first = (at * 8) / shape.bits;
    const inPiece = Math.min(Math.floor((length * 8) / shape.bits), total - first);
    for (let from = 0; from < inPiece; from += GROUP) {
      const count = Math.min(GROUP, inPiece - from);
      const group = bytes.subarray((from * shape.bits) / 8, Math.ceil(((from + count) * shape.bits) / 8));
      const isFree = group.equals(free.subarray(0, group.length));
      yield { first: first + from, entries: isFree ? undefined : decode(group, shape.bits, count) };
    }
  }
}

function decode(bytes: Buffer, bits: 12 | 16 | 32, count: number): Uint32Array {
  const entries = new Uint32Array(count);
  for (let i = 0; i < count; i++) {
    if (bits === 32) entries[i] = bytes.readUInt32LE(i * 4) & 0xfffffff;
    else if (bits === 16) entries[i] = bytes.readUInt16LE(i * 2);
    else {
      const at = i + (i >>> 1);
      const pair = (bytes[at] as number) | ((bytes[at + 1] as number) << 8);
      entries[i] = i % 2 === 0 ? pair & 0xfff : pair >>> 4;
    }
  }
  return entries;
}
