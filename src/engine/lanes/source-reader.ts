/**
 * Reads blocks of a source, also of one that fails: what cannot be read is narrowed down to single sectors, tried again, and
 * either ends the copy or is noted, and tried once more when all the rest was read. Offsets and lengths are bytes.
 */
import { setTimeout } from 'node:timers/promises';
import { type ByteRange, end, type ImageSource, type ReadBack } from '../image/contract.ts';
import { isMediumError } from '../image/errors.ts';
import { SourceGoneError, SourceUnreadableError } from './errors.ts';
import { merged, subtract, without } from './ranges.ts';
import { MOST_PLACES, SecondTry } from './second-try.ts';

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
  /** What of a range is known to be lost for ever (ascending): nobody tries it again. */
  readonly lostIn?: (range: ByteRange) => readonly ByteRange[];
  /** Called before anything is tried once more, with the number of places; `tried` is false when they are too many. */
  readonly onAgain?: (places: number, tried: boolean) => void;
  /** Milliseconds without an error before anything is tried once more; 2000 when absent. */
  readonly patience?: number;
}

/** Ranges as near to each other as this are read in one go. */
const READ_THROUGH = 32 << 10;
/** A failing sector is tried so many times in all. */
const ATTEMPTS = 3;
/** In a longer run of sectors that cannot be read each is tried only once. */
const LONG_RUN = 64 << 10;
/** Milliseconds in which a connection or a drive may come to itself. */
const PATIENCE = 2000;
/** After so many bytes in a row that cannot be read the source is asked whether it is still there. */
const SUSPICIOUS = 1 << 20;

export class SourceReader {
  readonly #source: ImageSource;
  readonly #policy: ReadErrorPolicy;
  readonly #openDirect: SourceReaderOptions['openDirect'];
  readonly #checkWhole: SourceReaderOptions['checkWhole'];
  readonly #lostIn: (range: ByteRange) => readonly ByteRange[];
  readonly #onAgain: SourceReaderOptions['onAgain'];
  readonly #patience: number;
  #direct: Promise<Pick<ReadBack, 'read' | 'close'>> | undefined;
  readonly #bad: ByteRange[] = [];
  /** Of these, what could be read in the end. */
  #recovered: ByteRange[] = [];
  #lastError = 0;
  #second: Promise<SecondTry | undefined> | undefined;
  #lastGood: number | undefined;
  #badInARow = 0;
  /** What ended the copy: another lane need not find out by itself. */
  #ended: { readonly error: unknown } | undefined;

  /** `close` must be called, which leaves the source open. */
  constructor(source: ImageSource, options: SourceReaderOptions = {}) {
    this.#source = source;
    this.#policy = options.policy ?? 'fail';
    this.#openDirect = options.openDirect;
    this.#checkWhole = options.checkWhole;
    this.#lostIn = options.lostIn ?? (() => []);
    this.#onAgain = options.onAgain;
    this.#patience = options.patience ?? PATIENCE;
  }

  /** What could not be read so far, whole sectors, merged, in ascending order. */
  get bad(): readonly ByteRange[] {
    return subtract(merged(this.#bad), merged(this.#recovered));
  }

  /** What reads well, but is known not to be what stood there once. */
  noteLost(ranges: Iterable<ByteRange>): void {
    this.#bad.push(...ranges);
  }

  /** Bytes that could not be read at first, and then could. */
  get recovered(): number {
    return this.#recovered.reduce((sum, { length }) => sum + length, 0);
  }

  /**
   * As `ReadRanges` of the copier; ranges ascend.
   * @throws SourceUnreadableError when the policy is to fail; SourceGoneError; ImageIoError for what is no fault of a sector
   */
  readonly read = async (into: Uint8Array, offset: number, ranges: readonly ByteRange[]): Promise<readonly ByteRange[]> => {
    const bad: ByteRange[] = [];
    const view = viewer(into, offset);
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
    for (const sector of bad) this.#bad.push(sector);
    // Whoever was given it earlier has it; this one has not.
    if (this.#recovered.length > 0) this.#recovered = subtract(merged(this.#recovered), merged(bad));
    return merged(bad);
  };

  /**
   * Tries once more what `read` could not read; answers what still cannot be read (and is zeros in `into`). To be called when
   * everything else was read.
   * @throws ImageIoError for what is no fault of a sector
   */
  readonly readAgain = async (into: Uint8Array, offset: number, ranges: readonly ByteRange[]): Promise<readonly ByteRange[]> => {
    const view = viewer(into, offset);
    this.#second ??= this.#beginAgain();
    const second = await this.#second;
    const good: ByteRange[] = [];
    for (const piece of ranges.flatMap((range) => without(range, this.#lostIn(range)))) {
      good.push(...((await second?.read(view(piece), piece)) ?? []));
    }
    this.#recovered.push(...good);
    const bad = subtract(ranges, good);
    for (const range of bad) view(range).fill(0);
    return bad;
  };

  /** Undefined when there is nothing to be hoped for. */
  async #beginAgain(): Promise<SecondTry | undefined> {
    const places = merged(this.#bad).reduce((sum, range) => sum + without(range, this.#lostIn(range)).length, 0);
    if (places === 0) return undefined;
    this.#onAgain?.(places, places <= MOST_PLACES);
    if (places > MOST_PLACES) return undefined;
    await setTimeout(Math.max(0, this.#lastError + this.#patience - performance.now()));
    return new SecondTry(await this.#past(), this.#source.sectorSize);
  }

  /** After the last read: makes sure that what was bad was bad in a source that is still there. @throws SourceGoneError, and what `checkWhole` throws */
  async settle(): Promise<void> {
    await this.#checkWhole?.();
    const last = this.bad.at(-1);
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
    this.#lastError = performance.now();
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

/** Finds ranges of the source in a buffer that begins at byte `offset` of it. */
function viewer(bytes: Uint8Array, offset: number): (range: ByteRange) => Uint8Array {
  return (range) => bytes.subarray(range.offset - offset, end(range) - offset);
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
