/**
 * Reads blocks of a source, also of one that fails: what cannot be read is narrowed down to single sectors, tried again, and
 * either ends the copy or is noted. Offsets and lengths are bytes.
 */
import { IoError } from '../errors.ts';
import { type ByteRange, end, type ImageSource, type ReadBack } from '../image/contract.ts';
import { isMediumError } from '../image/errors.ts';
import { merged } from './ranges.ts';

/** What becomes of sectors that cannot be read: the copy fails, they become zeros, or they keep what the target has there. */
export const readErrorPolicies = ['fail', 'zero', 'skip'] as const;
export type ReadErrorPolicy = (typeof readErrorPolicies)[number];

export interface SourceReaderOptions {
  readonly policy?: ReadErrorPolicy;
  /**
   * Opens the source past the cache, asked for when something cannot be read: there one sector fails alone, and not with the
   * whole page around it, and what the cache remembers is not taken for a source that is still there.
   */
  readonly openDirect?: () => Promise<Pick<ReadBack, 'read' | 'close'>>;
  /** Throws when the source is known not to be whole any more; asked when much in a row cannot be read, and after the last read. */
  readonly checkWhole?: () => Promise<void>;
}

/** Ranges as near to each other as this are read in one go. */
const READ_THROUGH = 32 << 10;
/** A failing sector is tried so many times in all. */
const ATTEMPTS = 3;
/** In a longer run of sectors that cannot be read each is tried only once. */
const LONG_RUN = 64 << 10;
/** After so many bytes in a row that cannot be read the source is asked whether it is still there. */
const SUSPICIOUS = 1 << 20;

/** A sector cannot be read, and that ends the copy. */
export class SourceUnreadableError extends IoError {
  constructor(source: string, range: ByteRange, sectorSize: number, cause: unknown) {
    super(
      `${range.length} bytes at byte ${range.offset} (sector ${Math.floor(range.offset / sectorSize)}) of ${source} cannot be read`,
      {
        code: 'SOURCE_UNREADABLE',
        todo:
          'The medium or its cable is failing (dmesg tells more). Either rescue it with ddrescue first and clone its image with --source-map, ' +
          'or run the same command with --on-read-error zero: what cannot be read is left out then, and you are told whose it was.',
        data: { source, ...range },
        cause,
      },
    );
  }
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
  readonly #openDirect: SourceReaderOptions['openDirect'];
  readonly #checkWhole: SourceReaderOptions['checkWhole'];
  #direct: Promise<Pick<ReadBack, 'read' | 'close'>> | undefined;
  readonly #bad: ByteRange[] = [];
  #lastGood: number | undefined;
  #badInARow = 0;
  /** What ended the copy: another lane need not find out by itself. */
  #ended: { readonly error: unknown } | undefined;

  /** `close` must be called, which leaves the source open. */
  constructor(source: ImageSource, { policy = 'fail', openDirect, checkWhole }: SourceReaderOptions = {}) {
    this.#source = source;
    this.#policy = policy;
    this.#openDirect = openDirect;
    this.#checkWhole = checkWhole;
  }

  /** What could not be read so far, whole sectors, merged, in ascending order. */
  get bad(): readonly ByteRange[] {
    return merged(this.#bad);
  }

  /**
   * As `ReadRanges` of the copier; ranges ascend.
   * @throws SourceUnreadableError when the policy is to fail; SourceGoneError; ImageIoError for what is no fault of a sector
   */
  readonly read = async (into: Uint8Array, offset: number, ranges: readonly ByteRange[]): Promise<readonly ByteRange[]> => {
    const bad: ByteRange[] = [];
    const view = (range: ByteRange): Uint8Array => into.subarray(range.offset - offset, end(range) - offset);
    for (const group of grouped(ranges)) {
      const first = group[0] as ByteRange;
      const whole = { offset: first.offset, length: end(group.at(-1) as ByteRange) - first.offset };
      if (await this.#readsWell(view(whole), whole)) continue;
      // What nobody uses between the ranges may be what cannot be read.
      for (const range of group) {
        if (await this.#readsWell(view(range), range)) continue;
        await this.#narrow(view(range), range, bad).catch((error: unknown) => {
          this.#ended ??= { error };
          throw error;
        });
      }
    }
    this.#bad.push(...bad);
    return merged(bad);
  };

  /** After the last read: makes sure that what was bad was bad in a source that is still there. @throws SourceGoneError, and what `checkWhole` throws */
  async settle(): Promise<void> {
    await this.#checkWhole?.();
    const last = this.#bad.at(-1);
    if (last !== undefined) await this.#checkStillThere(last, undefined);
  }

  async close(): Promise<void> {
    // Whoever asked for one that could not be opened was told.
    const direct = await this.#direct?.catch(() => undefined);
    await direct?.close();
  }

  /** False when a part of it cannot be read. */
  async #readsWell(into: Uint8Array, range: ByteRange, from: Pick<ReadBack, 'read'> = this.#source): Promise<boolean> {
    try {
      await from.read(into, range.offset);
    } catch (error) {
      if (isMediumError(error)) return false;
      throw error;
    }
    this.#lastGood = range.offset;
    this.#badInARow = 0;
    return true;
  }

  /** Halves what fails until single sectors are left. */
  async #narrow(into: Uint8Array, range: ByteRange, bad: ByteRange[]): Promise<void> {
    const { sectorSize } = this.#source;
    const middle = Math.ceil(range.length / 2 / sectorSize) * sectorSize;
    if (middle >= range.length) return this.#readSector(into, range, bad);
    const direct = await this.#past();
    for (const [start, stop] of [
      [0, middle],
      [middle, range.length],
    ] as const) {
      const part = into.subarray(start, stop);
      const half = { offset: range.offset + start, length: stop - start };
      if (!(await this.#readsWell(part, half, direct))) await this.#narrow(part, half, bad);
    }
  }

  async #readSector(into: Uint8Array, sector: ByteRange, bad: ByteRange[]): Promise<void> {
    if (this.#ended !== undefined) throw this.#ended.error;
    const direct = await this.#past();
    let cause: unknown;
    // In the middle of a bad area nobody waits for every sector three times.
    const attempts = this.#badInARow > LONG_RUN ? 1 : ATTEMPTS;
    for (let attempt = 0; attempt < attempts; attempt++) {
      try {
        await direct.read(into, sector.offset);
        this.#badInARow = 0;
        return;
      } catch (error) {
        if (!isMediumError(error)) throw error;
        cause = error;
      }
    }
    if (this.#policy === 'fail') {
      this.#bad.push(sector);
      throw new SourceUnreadableError(this.#source.name, sector, this.#source.sectorSize, cause);
    }
    into.fill(0);
    bad.push(sector);
    this.#badInARow += sector.length;
    if (this.#badInARow >= SUSPICIOUS) await this.#checkStillThere(sector, cause);
  }

  /** One sector that can be read is enough: what was read before, else the first, the middle, the last one. */
  async #checkStillThere(sector: ByteRange, cause: unknown): Promise<void> {
    this.#badInARow = 0;
    await this.#checkWhole?.();
    const { size, sectorSize, name } = this.#source;
    const direct = await this.#past();
    const known = this.#lastGood === undefined ? [] : [this.#lastGood];
    for (const place of [...known, 0, size / 2, size - sectorSize]) {
      try {
        await direct.read(new Uint8Array(sectorSize), Math.floor(place / sectorSize) * sectorSize);
        return;
      } catch (error) {
        if (!isMediumError(error)) throw error;
      }
    }
    throw new SourceGoneError(name, sector.offset, cause);
  }

  #past(): Promise<Pick<ReadBack, 'read' | 'close'>> {
    this.#direct ??=
      this.#openDirect?.() ?? Promise.resolve({ read: this.#source.read.bind(this.#source), close: async () => {} });
    return this.#direct;
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
