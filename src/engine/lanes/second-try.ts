/**
 * What could not be read, tried once more at the end of a copy: a connection, a drive that was reset, or one that was too hot may
 * have come to itself. Bounded, so that a medium that is really bad does not take much longer than it did the first time.
 */
import type { ByteRange, ReadBack } from '../image/contract.ts';
import { isMediumError } from '../image/errors.ts';

/** When there are more places, it is the medium. */
export const MOST_PLACES = 1000;
/** After so many sectors in a row that fail again, the rest of their place is left. */
const SECTORS_IN_A_ROW = 10;
/** After so many places in a row of which nothing could be read, all others are left. */
const PLACES_IN_A_ROW = 10;

export class SecondTry {
  readonly #medium: Pick<ReadBack, 'read'>;
  readonly #sectorSize: number;
  #inVain = 0;

  constructor(medium: Pick<ReadBack, 'read'>, sectorSize: number) {
    this.#medium = medium;
    this.#sectorSize = sectorSize;
  }

  /** Fills what can be read of the place now, and answers it, in ascending order. @throws ImageIoError for what is no fault of a sector */
  async read(into: Uint8Array, place: ByteRange): Promise<readonly ByteRange[]> {
    if (this.#inVain >= PLACES_IN_A_ROW) return [];
    const found: Found = { good: [], badInARow: 0 };
    await this.#halve(into, place, found);
    this.#inVain = found.good.length === 0 ? this.#inVain + 1 : 0;
    return found.good;
  }

  async #halve(into: Uint8Array, range: ByteRange, found: Found): Promise<void> {
    if (found.badInARow >= SECTORS_IN_A_ROW) return;
    if (await this.#reads(into, range)) {
      found.good.push(range);
      found.badInARow = 0;
      return;
    }
    const middle = Math.ceil(range.length / 2 / this.#sectorSize) * this.#sectorSize;
    if (middle >= range.length) {
      found.badInARow++;
      return;
    }
    await this.#halve(into.subarray(0, middle), { offset: range.offset, length: middle }, found);
    await this.#halve(into.subarray(middle), { offset: range.offset + middle, length: range.length - middle }, found);
  }

  async #reads(into: Uint8Array, { offset }: ByteRange): Promise<boolean> {
    try {
      await this.#medium.read(into, offset);
      return true;
    } catch (error) {
      if (isMediumError(error)) return false;
      throw error;
    }
  }
}

interface Found {
  readonly good: ByteRange[];
  badInARow: number;
}
