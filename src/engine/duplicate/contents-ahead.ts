/** The contents of a source's parts, each looked for once, and ahead of time while somebody waits for something else. */
import type { Contents } from './contents.ts';
import type { PartPlace } from './disk.ts';

export class ContentsAhead {
  readonly #find: (part: PartPlace) => Promise<Contents>;
  /** By place: a target may number or cut a part differently. */
  readonly #found = new Map<string, Promise<Contents>>();
  #ahead: Promise<void> | undefined;
  #stopped = false;

  constructor(find: (part: PartPlace) => Promise<Contents>) {
    this.#find = find;
  }

  /** @throws what looking for them throws */
  of(part: PartPlace): Promise<Contents> {
    const place = `${part.range.offset}+${part.range.length}`;
    const found = this.#found.get(place) ?? this.#find(part);
    this.#found.set(place, found);
    return found;
  }

  /** Begins with these, one after the other. What goes wrong is thrown to whoever asks for them. */
  begin(parts: readonly PartPlace[]): void {
    this.#ahead = this.#each(parts);
  }

  /** Ends after the part that it is at. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#ahead;
  }

  async #each(parts: readonly PartPlace[]): Promise<void> {
    for (const part of parts) if (!this.#stopped) await Promise.allSettled([this.of(part)]);
  }
}
