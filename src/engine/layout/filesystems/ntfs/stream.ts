/** The content of a file that stands in clusters: its runs, and reading through them. */
import type { ByteRange, ImageSource } from '../../../image/contract.ts';
import { insist, readAt } from '../bytes.ts';
import type { NtfsShape } from './boot-sector.ts';
import type { Attribute } from './record.ts';

/** More pieces than a file that is needed here can have. */
const maxRuns = 1 << 20;

/** Clusters `[lcn, lcn + count)` of the volume hold the clusters from `vcn` on of the file. */
interface Run {
  readonly vcn: number;
  readonly lcn: number;
  readonly count: number;
}

/**
 * The runs of one extent of an attribute.
 * Format: the NTFS documentation of the Linux-NTFS project, "Data Runs".
 * @throws NotMappableError for holes, compression and runs outside the volume.
 */
function decodeRuns(shape: NtfsShape, attribute: Attribute, what: string): Run[] {
  const { extent, flags } = attribute;
  insist(extent !== undefined, `${what} stands in the file's record, not in clusters`);
  insist(flags === 0, `${what} is compressed, encrypted or sparse`);
  const { pairs } = extent;
  const runs: Run[] = [];
  let vcn = extent.firstVcn;
  let lcn = 0;
  for (let at = 0; ; ) {
    insist(at < pairs.length, `the runs of ${what} have no end`);
    const head = pairs[at] as number;
    if (head === 0) break;
    const countBytes = head & 0xf;
    const lcnBytes = head >>> 4;
    const sane = countBytes >= 1 && countBytes <= 6 && lcnBytes <= 6 && at + 1 + countBytes + lcnBytes <= pairs.length;
    insist(sane, `the runs of ${what} make no sense`);
    insist(lcnBytes > 0, `${what} has holes`);
    const count = pairs.readIntLE(at + 1, countBytes);
    lcn += pairs.readIntLE(at + 1 + countBytes, lcnBytes);
    insist(count > 0 && lcn >= 0 && lcn + count <= shape.clusters, `a run of ${what} lies outside the volume`);
    runs.push({ vcn, lcn, count });
    vcn += count;
    at += 1 + countBytes + lcnBytes;
  }
  insist(vcn === extent.lastVcn + 1, `the runs of ${what} do not have the length that its header says`);
  return runs;
}

export class Stream {
  readonly #part: ImageSource;
  readonly #shape: NtfsShape;
  /** How it is named in messages. */
  readonly what: string;
  readonly #runs: Run[] = [];
  #clusters = 0;
  #size = 0;
  #initialized = 0;

  constructor(part: ImageSource, shape: NtfsShape, what: string) {
    this.#part = part;
    this.#shape = shape;
    this.what = what;
  }

  /** Bytes. */
  get size(): number {
    return this.#size;
  }

  /** Bytes from the start that were ever written; what follows reads as zeros. */
  get initialized(): number {
    return this.#initialized;
  }

  /** Adds the next extent. @throws NotMappableError when it does not follow the one before, or its runs are not sane. */
  append(attribute: Attribute): void {
    const runs = decodeRuns(this.#shape, attribute, this.what);
    insist(this.#runs.length + runs.length <= maxRuns, `${this.what} is in more than ${maxRuns} pieces`);
    insist(attribute.extent?.firstVcn === this.#clusters, `an extent of ${this.what} is missing or twice there`);
    if (this.#clusters === 0) {
      this.#size = attribute.extent.size;
      this.#initialized = attribute.extent.initialized;
      insist(this.#initialized <= this.#size, `${this.what} says that more than all of it was written`);
    }
    for (const run of runs) this.#runs.push(run);
    this.#clusters = attribute.extent.lastVcn + 1;
  }

  /** @throws NotMappableError unless there are clusters for all its bytes. */
  finish(): this {
    insist(this.#clusters * this.#shape.clusterBytes >= this.#size, `clusters of ${this.what} are missing`);
    return this;
  }

  /** Byte ranges of the volume that it takes, in the order of the file. */
  *ranges(): Iterable<ByteRange> {
    const { clusterBytes } = this.#shape;
    for (const run of this.#runs) yield { offset: run.lcn * clusterBytes, length: run.count * clusterBytes };
  }

  /** @throws NotMappableError when the bytes do not lie inside it. */
  async read(offset: number, length: number): Promise<Buffer> {
    const { clusterBytes } = this.#shape;
    const inside = offset >= 0 && offset + length <= Math.min(this.#size, this.#clusters * clusterBytes);
    insist(inside, `byte ${offset} and what follows lie outside ${this.what}`);
    const bytes = Buffer.alloc(length);
    const written = Math.min(length, this.#initialized - offset);
    for (let done = 0; done < written; ) {
      const run = this.#runAt(Math.floor((offset + done) / clusterBytes));
      const inRun = offset + done - run.vcn * clusterBytes;
      const step = Math.min(written - done, run.count * clusterBytes - inRun);
      (await readAt(this.#part, run.lcn * clusterBytes + inRun, step, this.what)).copy(bytes, done);
      done += step;
    }
    return bytes;
  }

  #runAt(vcn: number): Run {
    let low = 0;
    let high = this.#runs.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if ((this.#runs[middle] as Run).vcn <= vcn) low = middle;
      else high = middle - 1;
    }
    return this.#runs[low] as Run;
  }
}
