/** Following chains of clusters through the FAT of exFAT. Format: "exFAT file system specification" (Microsoft), section 4.1. */
import type { ByteRange, ImageSource } from '../../../image/contract.ts';
import { insist, readAt } from '../bytes.ts';
import type { ExfatShape } from './boot-region.ts';

const endOfChain = 0xffffffff;
/** Entries that are read at once, and how often that is done for one chain at most. */
const windowEntries = 1024;
const maxWindows = 16384;

/**
 * The pieces that a chain takes, neighbours merged, as byte ranges of the part.
 * @throws NotMappableError when it leaves the volume, is longer than `maxBytes`, or shorter than `minBytes`
 */
export async function followChain(
  part: ImageSource,
  shape: ExfatShape,
  first: number,
  length: { readonly minBytes: number; readonly maxBytes: number },
  what: string,
): Promise<ByteRange[]> {
  const fat = new FatWindow(part, shape);
  const pieces: { offset: number; length: number }[] = [];
  let bytes = 0;
  for (let cluster = first; cluster !== endOfChain; cluster = await fat.next(cluster)) {
    const inside = cluster >= 2 && cluster < shape.clusters + 2;
    insist(inside, `${what} goes on in cluster ${cluster}, which does not exist`);
    insist(bytes < length.maxBytes, `${what} is too long, or its chain of clusters has no end`);
    bytes += shape.clusterBytes;
    const offset = shape.heapStart + (cluster - 2) * shape.clusterBytes;
    const last = pieces.at(-1);
    if (last !== undefined && last.offset + last.length === offset) last.length += shape.clusterBytes;
    else pieces.push({ offset, length: shape.clusterBytes });
  }
  insist(bytes >= length.minBytes, `${what} ends after ${bytes} of ${length.minBytes} bytes`);
  return pieces;
}

/** Chains mostly run on: entries are read by the window. */
class FatWindow {
  readonly #part: ImageSource;
  readonly #shape: ExfatShape;
  #first = 0;
  #entries: Buffer = Buffer.alloc(0);
  #windows = 0;

  constructor(part: ImageSource, shape: ExfatShape) {
    this.#part = part;
    this.#shape = shape;
  }

  async next(cluster: number): Promise<number> {
    if (cluster < this.#first || cluster >= this.#first + this.#entries.length / 4) {
      insist(++this.#windows <= maxWindows, 'a chain of clusters is in too many pieces');
      const count = Math.min(windowEntries, this.#shape.clusters + 2 - cluster);
      this.#entries = await readAt(this.#part, this.#shape.fatStart + cluster * 4, count * 4, 'the FAT');
      this.#first = cluster;
    }
    return this.#entries.readUInt32LE((cluster - this.#first) * 4);
  }
}
