/** The text in which LVM2 describes volume groups: `name = value`, `name { ... }`, comments. Format: lvm.conf(5), "SYNTAX". */
import { insist, NotMappableError } from '../bytes.ts';

export type ConfigValue = string | number | readonly (string | number)[] | ConfigSection;
export type ConfigSection = ReadonlyMap<string, ConfigValue>;

const maxDepth = 16;
/** Together with the limit of the text this bounds memory. */
const maxEntries = 400_000;

const name = /[A-Za-z0-9_.+/-]+/y;
const numberText = /-?\d+(?:\.\d+)?/y;

/** @throws NotMappableError where the text does not follow the rules, names something twice or is nested too deeply. */
export function parseConfig(text: string): ConfigSection {
  return new Parser(text).parse();
}

class Parser {
  readonly #text: string;
  #at = 0;
  #entries = 0;

  constructor(text: string) {
    this.#text = text;
  }

  parse(): ConfigSection {
    return this.#section(0);
  }

  /** Up to the closing brace, or to the end of the text at depth 0. */
  #section(depth: number): ConfigSection {
    insist(depth <= maxDepth, 'the LVM metadata is nested too deeply');
    const section = new Map<string, ConfigValue>();
    for (;;) {
      this.#space();
      if (depth === 0 ? this.#at === this.#text.length : this.#skip('}')) return section;
      const key = this.#string() ?? this.#match(name);
      if (key === undefined) this.#fail();
      this.#count();
      this.#space();
      if (section.has(key)) throw new NotMappableError(`the LVM metadata says twice what ${JSON.stringify(key.slice(0, 64))} is`);
      section.set(key, this.#skip('{') ? this.#section(depth + 1) : this.#assigned());
    }
  }

  #assigned(): string | number | (string | number)[] {
    if (!this.#skip('=')) this.#fail();
    this.#space();
    return this.#skip('[') ? this.#list() : this.#scalar();
  }

  #list(): (string | number)[] {
    const list: (string | number)[] = [];
    for (;;) {
      this.#space();
      if (this.#skip(']')) return list;
      if (list.length > 0) {
        if (!this.#skip(',')) this.#fail();
        this.#space();
        if (this.#skip(']')) return list;
      }
      list.push(this.#scalar());
      this.#count();
    }
  }

  #scalar(): string | number {
    const quoted = this.#string();
    if (quoted !== undefined) return quoted;
    const number = Number(this.#match(numberText) ?? this.#fail());
    insist(Math.abs(number) <= Number.MAX_SAFE_INTEGER, 'the LVM metadata has a number that is too large');
    return number;
  }

  /** What stands in quotes; a backslash takes the next character as it is. */
  #string(): string | undefined {
    if (this.#text[this.#at] !== '"') return undefined;
    let end = this.#at + 1;
    while (end < this.#text.length && this.#text[end] !== '"') end += this.#text[end] === '\\' ? 2 : 1;
    if (end >= this.#text.length) this.#fail();
    const inside = this.#text.slice(this.#at + 1, end);
    this.#at = end + 1;
    return inside.replace(/\\(.)/gs, '$1');
  }

  /** Over blanks and comments. */
  #space(): void {
    for (; this.#at < this.#text.length; this.#at++) {
      const character = this.#text[this.#at] as string;
      if (character === '#') {
        const line = this.#text.indexOf('\n', this.#at);
        this.#at = line < 0 ? this.#text.length - 1 : line;
      } else if (!/\s/.test(character)) return;
    }
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0];
    this.#at += found?.length ?? 0;
    return found;
  }

  #skip(character: string): boolean {
    const there = this.#text[this.#at] === character;
    if (there) this.#at++;
    return there;
  }

  #count(): void {
    insist(++this.#entries <= maxEntries, 'the LVM metadata has too many entries');
  }

  #fail(): never {
    throw new NotMappableError(`the LVM metadata cannot be understood at character ${this.#at}`);
  }
}
