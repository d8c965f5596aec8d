/** The contents of the cells of an image that were asked for last, and of those that will be asked for next. */

import { IntervalSet } from '../protect/intervals.ts';
import type { OpenArchive } from './archive.ts';
import { type Cell, cellAt } from './cells.ts';
import type { ArchivedImage } from './layout.ts';

/** Bytes of content that are kept. */
const KEPT = 64 << 20;
/** Bytes of content that are fetched before anybody asks. */
const AHEAD = 16 << 20;

interface Held {
  readonly cell: Cell;
  readonly content: Promise<Uint8Array>;
  /** Serves another cell when nobody uses it any more: memory that is new every time keeps the collector of garbage busy. */
  readonly room: Uint8Array;
  users: number;
  dropped: boolean;
}

export class CellCache {
  readonly #archive: OpenArchive;
  readonly #image: ArchivedImage;
  /** By the offset of the cell; the one that was used last is the last to go. */
  readonly #held = new Map<number, Held>();
  readonly #free: Uint8Array[] = [];
  #expected = IntervalSet.empty;
  /** Of all cells that were fetched, the one that begins last. */
  #furthest = -1;

  constructor(archive: OpenArchive, image: ArchivedImage) {
    this.#archive = archive;
    this.#image = image;
  }

  /** From here on these data will be asked for, about in their order. */
  expect(data: IntervalSet): void {
    this.#expected = data;
  }

  /** What `action` makes of the content of the cell at `offset`, which is not to be touched afterwards. @throws as `OpenArchive.content` */
  async use<T>(offset: number, action: (cell: Cell, content: Uint8Array) => T): Promise<T> {
    const held = this.#hold(offset);
    held.users++;
    this.#fetchAhead(offset);
    try {
      return action(held.cell, await held.content);
    } finally {
      this.#leave(held);
    }
  }

  #fetchAhead(offset: number): void {
    const { segmentSize } = this.#archive.layout;
    let at = offset;
    for (let fetched = 0; fetched + segmentSize <= AHEAD; fetched += segmentSize) {
      const rest = { offset: at + segmentSize, length: this.#image.size };
      const next = this.#expected.firstTouched(rest);
      if (next === undefined) return;
      at = Math.floor(Math.max(next.offset, rest.offset) / segmentSize) * segmentSize;
      // What has come by once is asked for again by name only.
      if (at > this.#furthest) this.#hold(at);
    }
  }

  #hold(offset: number): Held {
    const found = this.#held.get(offset);
    if (found === undefined) this.#makeRoom();
    const held = found ?? this.#fetch(offset);
    this.#held.delete(offset);
    this.#held.set(offset, held);
    return held;
  }

  /** For one more. */
  #makeRoom(): void {
    const most = Math.max(2, Math.floor(KEPT / this.#archive.layout.segmentSize));
    for (const [old, oldest] of this.#held) {
      if (this.#held.size < most) break;
      this.#drop(old, oldest);
    }
  }

  #fetch(offset: number): Held {
    const { segmentSize } = this.#archive.layout;
    this.#furthest = Math.max(this.#furthest, offset);
    const cell = cellAt(this.#image, segmentSize, offset);
    const room = this.#free.pop() ?? new Uint8Array(segmentSize);
    const held: Held = { cell, content: this.#archive.content(cell, room), room, users: 1, dropped: false };
    held.content
      // Whoever reads it is told.
      .catch(() => this.#drop(offset, held))
      .finally(() => this.#leave(held));
    return held;
  }

  #drop(offset: number, held: Held): void {
    if (this.#held.get(offset) === held) this.#held.delete(offset);
    held.dropped = true;
    this.#reuse(held);
  }

  #leave(held: Held): void {
    held.users--;
    this.#reuse(held);
  }

  #reuse({ users, dropped, room }: Held): void {
    if (dropped && users === 0) this.#free.push(room);
  }
}
