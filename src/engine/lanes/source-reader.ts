/**
 * Reads blocks of a source, also of one that fails: what cannot be read is narrowed down to single sectors, tried again, and
 * either ends the copy or is noted. Offsets and lengths are bytes.
 */
import { IoError } from '../errors.ts';
import { type ByteRange, end, type ImageSource, type ReadBack } from '../image/contract.ts';
import { ImageIoError } from '../image/errors.ts';
import { merged } from './ranges.ts';

/** What becomes of sectors that cannot be read: the copy fails, they become zeros, or they keep what the target has there. */
export const readErrorPolicies = ['fail', 'zero', 'skip'] as const;
export type ReadErrorPolicy = (typeof readErrorPolicies)[number];

export interface SourceReaderOptions {
  readonly policy?: ReadErrorPolicy;
  /** Reads past the cache: there one sector fails alone, and not with the whole page around it. */
  readonly direct?: Pick<ReadBack, 'read'>;
}

/** Ranges as near to each other as this are read in one go. */
const READ_THROUGH = 32 << 10;
/** A failing sector is tried so many times in all. */
const ATTEMPTS = 3;
/** After so many bytes in a row that cannot be read the source is asked whether it is still there. */
const SUSPICIOUS = 1 << 20;

/** What the medium says of a sector; everything else (no such device, lost connection, beyond the end) is the source's end. */
const mediumErrors: ReadonlySet<string> = new Set(['EIO', 'EILSEQ', 'ENODATA', 'EREMOTEIO', 'EBADMSG', 'ETIMEDOUT']);

/** Whether a part of the source could not be read, rather than the whole source being gone. */
export function isMediumError(error: unknown): error is ImageIoError {
  if (!(error instanceof ImageIoError) || error.data.operation !== 'read') return false;
  return mediumErrors.has((error.cause as NodeJS.ErrnoException | undefined)?.code ?? '');
}

/** Every read fails: the source has vanished, and nothing is to be made up in its place. */
export class SourceGoneError extends IoError {
  constructor(source: string, offset: number, cause: unknown) {
    super(`${source} cannot be read any more: everything around byte ${offset} fails, and so does what could be read before`, {
      code: 'SOURCE_GONE',
      todo: 'Check its power, cable or connection (dmesg), then run the same command again: it goes on where it was.',
      data: { source, offset },
      cause,
    });
  }
}

export class SourceReader {
  readonly #source: ImageSource;
  readonly #policy: ReadErrorPolicy;
  readonly #direct: Pick<ReadBack, 'read'>;
  readonly #bad: ByteRange[] = [];
  #lastGood: number | undefined;
  #badInARow = 0;

  constructor(source: ImageSource, { policy = 'fail', direct = source }: SourceReaderOptions = {}) {
    this.#source = source;
    this.#policy = policy;
    this.#direct = direct;
  }

  /** What could not be read so far, whole sectors, merged, in ascending order. */
  get bad(): readonly ByteRange[] {
    return merged(this.#bad);
  }

  /**
   * As `ReadRanges` of the copier; ranges ascend.
   * @throws ImageIoError when the policy is to fail, SourceGoneError
   */
  readonly read = async (into: Uint8Array, offset: number, ranges: readonly ByteRange[]): Promise<readonly ByteRange[]> => {
    const bad: ByteRange[] = [];
    const view = (range: ByteRange): Uint8Array => into.subarray(range.offset - offset, end(range) - offset);
    for (const group of grouped(ranges)) {
      const first = group[0] as ByteRange;
      const whole = { offset: first.offset, length: end(group.at(-1) as ByteRange) - first.offset };
      if (await this.#readsWell(view(whole), whole)) continue;
      // What nobody uses between the ranges may be what cannot be read.
      for (const range of group) await this.#readAll(view(range), range, bad);
    }
    this.#bad.push(...bad);
    return merged(bad);
  };

  /** False when a part of it cannot be read. */
  async #readsWell(into: Uint8Array, range: ByteRange): Promise<boolean> {
    try {
      await this.#source.read(into, range.offset);
    } catch (error) {
      if (isMediumError(error)) return false;
      throw error;
    }
    this.#lastGood = range.offset;
    this.#badInARow = 0;
    return true;
  }

  async #readAll(into: Uint8Array, range: ByteRange, bad: ByteRange[]): Promise<void> {
    if (await this.#readsWell(into, range)) return;
    if (this.#policy === 'fail') await this.#source.read(into, range.offset);
    else await this.#narrow(into, range, bad);
  }

  /** Halves what fails until single sectors are left. */
  async #narrow(into: Uint8Array, range: ByteRange, bad: ByteRange[]): Promise<void> {
    const { sectorSize } = this.#source;
    const middle = Math.ceil(range.length / 2 / sectorSize) * sectorSize;
    if (middle >= range.length) return this.#readSector(into, range, bad);
    for (const [start, stop] of [
      [0, middle],
      [middle, range.length],
    ] as const) {
      const half = { offset: range.offset + start, length: stop - start };
      if (!(await this.#readsWell(into.subarray(start, stop), half))) await this.#narrow(into.subarray(start, stop), half, bad);
    }
  }

  async #readSector(into: Uint8Array, sector: ByteRange, bad: ByteRange[]): Promise<void> {
    let cause: unknown;
    // In the middle of a bad area nobody waits for every sector three times.
    const attempts = this.#badInARow > 1 << 16 ? 1 : ATTEMPTS;
    for (let attempt = 0; attempt < attempts; attempt++) {
      try {
        await this.#direct.read(into, sector.offset);
        this.#badInARow = 0;
        return;
      } catch (error) {
        if (!isMediumError(error)) throw error;
        cause = error;
      }
    }
    into.fill(0);
    bad.push(sector);
    this.#badInARow += sector.length;
    if (this.#badInARow >= SUSPICIOUS) await this.#checkStillThere(sector, cause);
  }

  async #checkStillThere(sector: ByteRange, cause: unknown): Promise<void> {
    this.#badInARow = 0;
    try {
      await this.#direct.read(new Uint8Array(this.#source.sectorSize), this.#lastGood ?? 0);
    } catch (error) {
      if (!isMediumError(error)) throw error;
      throw new SourceGoneError(this.#source.name, sector.offset, cause);
    }
  }
}

function grouped(ranges: readonly ByteRange[]): ByteRange[][] {
  const groups: ByteRange[][] = [];
  for (const range of ranges) {
    const last = groups.at(-1);
    if (last !== undefined && range.offset - end(last.at(-1) as ByteRange) <= READ_THROUGH) last.push(range);
    else groups.push([range]);
  }
  return groups;
}
