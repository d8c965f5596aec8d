/** Changes of texts: what parsers stumble over, lines twice, moved and gone, numbers that are too large, pieces of other samples. */
import type { Random } from './random.ts';

export interface TextOptions {
  /** Words and signs of the language. */
  readonly words: readonly string[];
  /** Other texts, to take pieces from. */
  readonly others: readonly string[];
}

const signs = [
  '',
  '\n',
  '\r',
  '\r\n',
  '\t',
  ' ',
  '  ',
  '\0',
  '\\',
  '"',
  "'",
  '#',
  '=',
  ',',
  ':',
  '/',
  '{',
  '}',
  '[',
  ']',
  '\u00e9',
  '\ufffd',
  '\ud800',
  '\u2028',
  '\x7f',
  '\x1b[',
];
const numbers = [
  '0',
  '-0',
  '-1',
  '+1',
  '1e999',
  '0x',
  '0x0',
  '00',
  '4294967295',
  '4294967296',
  '9007199254740991',
  '9007199254740992',
  '18446744073709551616',
  '0x7fffffffffffffff',
  '1.5',
  'NaN',
];

/** One to a few changes; answers the text, and adds to `log` what was done. */
export function mutateText(text: string, random: Random, options: TextOptions, log: string[]): string {
  let changed = text;
  for (let count = random.once(2) ? 1 : 2 + random.below(4); count > 0; count--) {
    const [name, change] = random.pick(changes);
    changed = change(changed, random, options).slice(0, 4 * text.length + 10_000);
    log.push(name);
  }
  return changed;
}

type Change = (text: string, random: Random, options: TextOptions) => string;

const changes: readonly (readonly [string, Change])[] = [
  ['sign', (text, random) => replaceAt(text, random.below(text.length + 1), random.below(4), random.pick(signs))],
  ['word', (text, random, { words }) => replaceAt(text, random.below(text.length + 1), random.below(8), random.pick(words))],
  ['word for word', (text, random, { words }) => replaceMatch(text, random, /[A-Za-z_]+/g, () => random.pick(words))],
  ['number', (text, random) => replaceMatch(text, random, /(0x)?[0-9A-Fa-f]*\d+/g, (old) => otherNumber(old, random))],
  ['number', (text, random) => replaceMatch(text, random, /\d+/g, (old) => otherNumber(old, random))],
  [
    'byte',
    (text, random) =>
      replaceAt(text, random.below(text.length), 1, String.fromCharCode(random.below(random.once(4) ? 65536 : 256))),
  ],
  ['cut', (text, random) => (random.once(3) ? text.slice(0, random.below(text.length)) : text.slice(random.below(40)))],
  ['gone', (text, random) => replaceAt(text, random.below(text.length), random.below(60), '')],
  ['line twice', (text, random) => eachLine(text, (lines) => lines.splice(random.below(lines.length), 0, random.pick(lines)))],
  ['line gone', (text, random) => eachLine(text, (lines) => lines.splice(random.below(lines.length), 1))],
  [
    'line moved',
    (text, random) =>
      eachLine(text, (lines) => lines.splice(random.below(lines.length), 0, ...lines.splice(random.below(lines.length), 1))),
  ],
  [
    'many',
    (text, random, { words }) =>
      replaceAt(
        text,
        random.below(text.length),
        0,
        random.pick([...signs, ...words]).repeat(1 + random.below(random.once(8) ? 3000 : 40)),
      ),
  ],
  [
    'piece',
    (text, random, { others }) => {
      const other = random.pick(others.length > 0 ? others : [text]);
      const from = random.below(other.length);
      return replaceAt(text, random.below(text.length), random.below(20), other.slice(from, from + random.below(200)));
    },
  ],
];

function replaceAt(text: string, at: number, length: number, by: string): string {
  return text.slice(0, at) + by + text.slice(at + length);
}

function replaceMatch(text: string, random: Random, pattern: RegExp, by: (old: string) => string): string {
  const found = [...text.matchAll(pattern)];
  if (found.length === 0) return text;
  const one = random.pick(found);
  return replaceAt(text, one.index, one[0].length, by(one[0]));
}

function otherNumber(old: string, random: Random): string {
  const value = Number(old);
  const near = Number.isSafeInteger(value)
    ? [String(value + 1), String(value - 1), String(value * 2), `0x${value.toString(16)}`]
    : [];
  return random.pick([...numbers, ...near]);
}

function eachLine(text: string, change: (lines: string[]) => void): string {
  const lines = text.split('\n');
  change(lines);
  return lines.join('\n');
}
