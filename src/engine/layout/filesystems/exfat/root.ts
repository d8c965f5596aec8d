/**
 * What stands in the root directory of exFAT before any file: label, allocation bitmap and up-case table.
 * Format: "exFAT file system specification" (Microsoft), sections 7.1 to 7.3.
 */
import type { ByteRange, ImageSource } from '../../../image/contract.ts';
import { chunkSize, insist, readAt, text16, u64le } from '../bytes.ts';
import type { ExfatShape } from './boot-region.ts';
import { followChain } from './chain.ts';

const entryBytes = 32;
const entryType = { end: 0, bitmap: 0x81, upcase: 0x82, label: 0x83 } as const;
/** Directories have at most 256 MiB. */
const maxDirectory = 2 ** 28;

interface Stored {
  readonly cluster: number;
  readonly bytes: number;
}

export interface ExfatRoot {
  readonly label: string;
  /** Where the directory itself stands. */
  readonly ranges: readonly ByteRange[];
  readonly bitmap: Stored;
  readonly upcase: Stored;
}

/** @throws NotMappableError when the directory cannot be followed or lacks the bitmap or the table, or has one of them twice. */
export async function readRoot(part: ImageSource, shape: ExfatShape): Promise<ExfatRoot> {
  // A chain that goes round in circles is found out when it is longer than the volume.
  const length = { minBytes: 1, maxBytes: Math.min(maxDirectory, shape.clusters * shape.clusterBytes) };
  const ranges = await followChain(part, shape, shape.rootCluster, length, 'the root directory');
  let label = '';
  const bitmaps: Stored[] = [];
  const tables: Stored[] = [];
  for await (const entry of entries(part, ranges)) {
    const stored = (): Stored => ({ cluster: entry.readUInt32LE(20), bytes: u64le(entry, 24) });
    if (entry[0] === entryType.label) label = text16(entry, 2, Math.min(entry[1] as number, 11) * 2);
    if (entry[0] === entryType.bitmap) bitmaps.push(stored());
    if (entry[0] === entryType.upcase) tables.push(stored());
    insist(bitmaps.length <= 1 && tables.length <= 1, 'the root directory names two allocation bitmaps or up-case tables');
  }
  const [bitmap] = bitmaps;
  const [upcase] = tables;
  insist(bitmap !== undefined && upcase !== undefined, 'the root directory lacks the allocation bitmap or the up-case table');
  return { label, ranges, bitmap, upcase };
}

async function* entries(part: ImageSource, ranges: readonly ByteRange[]): AsyncIterable<Buffer> {
  for (const range of ranges) {
    for (let done = 0; done < range.length; done += chunkSize) {
      const bytes = await readAt(part, range.offset + done, Math.min(chunkSize, range.length - done), 'the root directory');
      for (let at = 0; at < bytes.length; at += entryBytes) {
        if (bytes[at] === entryType.end) return;
        yield bytes.subarray(at, at + entryBytes);
      }
    }
  }
}
