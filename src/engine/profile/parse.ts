/**
 * YAML text to a positioned tree. Nothing in the text is trusted: size, depth and the number of values after following
 * aliases are limited, and duplicate keys, tags, several documents and control characters are errors with a position.
 */
import {
  Composer,
  type CST,
  type Document,
  isAlias,
  isCollection,
  isMap,
  isScalar,
  isSeq,
  type Node,
  type ParsedNode,
  Parser,
} from 'yaml';
import { type Diagnostic, diagnostic, type Place } from './diagnostic.ts';
import { type DocumentNode, joinPath, type MapEntry, type MapNode, type Scalar } from './document.ts';

/** Bytes of one file. */
export const maxProfileBytes = 1_048_576;
const maxDepth = 32;
/** Values after following aliases. */
const maxNodes = 50_000;
const maxReported = 20;

export interface ParsedFile {
  /** Absent when the text is not a usable YAML mapping. */
  readonly root?: MapNode;
  readonly diagnostics: readonly Diagnostic[];
}

/** `file` is only a name for positions; nothing is read. */
export function parseProfileText(text: string, file: string): ParsedFile {
  const starts = lineStarts(text);
  const place = (offset: number, path: string): Place => {
    const line = lineOf(starts, offset);
    return { file, line, column: Math.min(offset, text.length) - (starts[line - 1] as number) + 1, path };
  };
  const fail = (message: string, offset: number, path = ''): ParsedFile => ({
    diagnostics: [diagnostic('E000', message, path, place(offset, path))],
  });

  const size = Buffer.byteLength(text);
  if (size > maxProfileBytes) return fail(`the file has ${size} bytes; a profile may have ${maxProfileBytes} (1 MiB)`, 0);
  const control = forbiddenCharacter(text);
  if (control >= 0) {
    const before = text.slice(0, control).split('\n');
    const at = { file, line: before.length, column: (before.at(-1) as string).length + 1 };
    const code = text.charCodeAt(control).toString(16).padStart(2, '0');
    return { diagnostics: [diagnostic('E000', `the control character 0x${code} is not allowed in YAML`, '', at)] };
  }

  const tokens = [...new Parser().parse(text)];
  const deep = tokens.map(tooDeep).find((offset) => offset !== undefined);
  if (deep !== undefined) return fail(`nested deeper than ${maxDepth} levels`, deep);

  // Duplicate keys are found below: the library compares each key with each other.
  const composer = new Composer({ uniqueKeys: false, prettyErrors: false, keepSourceTokens: false, schema: 'core' });
  const documents = [...composer.compose(tokens)];
  const errors = documents.flatMap((document) => [...document.errors, ...document.warnings]).slice(0, maxReported);
  if (errors.length > 0) {
    return { diagnostics: errors.map((e) => diagnostic('E000', `not YAML: ${e.message}`, '', place(e.pos[0], ''))) };
  }
  const [document, second] = documents;
  if (document?.contents == null) return fail('the file is empty; a profile begins with "apiVersion: doppel/v1"', 0);
  if (second !== undefined) return fail('a second document begins here; one file holds one profile', second.range[0]);
  return convert(document, place);
}

/** Offsets at which lines begin. (The library's own count leaves out line ends inside of what it cannot parse.) */
function lineStarts(text: string): number[] {
  const starts = [0];
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) starts.push(at + 1);
  return starts;
}

/** The line that holds the offset, from 1. O(log n). */
function lineOf(starts: readonly number[], offset: number): number {
  let low = 0;
  let high = starts.length;
  while (high - low > 1) {
    const middle = (low + high) >>> 1;
    if ((starts[middle] as number) <= offset) low = middle;
    else high = middle;
  }
  return low + 1;
}

/** Offset of the first character that YAML forbids, or -1. */
function forbiddenCharacter(text: string): number {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 0x7f || (code < 0x20 && code !== 0x09 && code !== 0x0a && code !== 0x0d)) return i;
  }
  return -1;
}

/** Offset of the first token nested too deeply. Walks without recursion: the library's own recursion is not bounded. */
function tooDeep(token: CST.Token): number | undefined {
  const open: { token: CST.Token; depth: number }[] = [{ token, depth: 0 }];
  for (let top = open.pop(); top !== undefined; top = open.pop()) {
    if (top.depth > maxDepth) return top.token.offset;
    const depth = top.depth + 1;
    if (top.token.type === 'document' && top.token.value !== undefined) open.push({ token: top.token.value, depth });
    if (!('items' in top.token)) continue;
    for (const item of top.token.items) {
      if (item.key != null) open.push({ token: item.key, depth });
      if (item.value !== undefined) open.push({ token: item.value, depth });
    }
  }
  return undefined;
}

class ConversionStopped extends Error {}

function convert(document: Document, place: (offset: number, path: string) => Place): ParsedFile {
  const diagnostics: Diagnostic[] = [];
  const anchors = new Map<string, Node>();
  let count = 0;

  const report = (message: string, at: Place) => {
    diagnostics.push(diagnostic('E000', message, at.path, at));
    if (diagnostics.length >= maxReported) throw new ConversionStopped();
  };
  const visit = (node: Node | null, path: string, depth: number, fallback: number): DocumentNode => {
    const at = place((node as ParsedNode | null)?.range?.[0] ?? fallback, path);
    if (++count > maxNodes) {
      report(`more than ${maxNodes} values (aliases count as often as they are used)`, at);
      throw new ConversionStopped();
    }
    if (depth > maxDepth) {
      report(`nested deeper than ${maxDepth} levels, perhaps an alias inside its own anchor`, at);
      throw new ConversionStopped();
    }
    if (node !== null && 'tag' in node && node.tag !== undefined) report(`the tag ${node.tag} is not used in profiles`, at);
    if (isAlias(node)) {
      const target = anchors.get(node.source);
      if (target !== undefined) return visit(target, path, depth, fallback);
      report(`the alias *${node.source} has no anchor &${node.source} before it`, at);
    } else if (node !== null && (isScalar(node) || isCollection(node)) && node.anchor !== undefined) {
      anchors.set(node.anchor, node);
    }
    if (isMap(node)) return visitMap(node, path, depth, at);
    if (isSeq(node)) {
      const list = node.items.map((item, i) => visit(item as Node | null, joinPath(path, i), depth + 1, node.range?.[0] ?? 0));
      return { kind: 'list', items: list, place: at };
    }
    const value = isScalar(node) ? (node.value as Scalar) : null;
    const plain = isScalar(node) && node.type === 'PLAIN' && node.source !== undefined;
    return { kind: 'scalar', value, text: plain ? (node.source as string) : String(value ?? ''), place: at };
  };
  const visitMap = (node: { items: unknown[] }, path: string, depth: number, at: Place): MapNode => {
    const map = new Map<string, MapEntry>();
    for (const pair of node.items as { key: Node | null; value: Node | null }[]) {
      const { key } = pair;
      const offset = (key as ParsedNode | null)?.range?.[0] ?? 0;
      if (!isScalar(key) || key.value === null) {
        report('a key must be a plain word', key === null ? at : place(offset, path));
        continue;
      }
      const name = typeof key.value === 'string' ? key.value : String(key.source ?? key.value);
      const keyPlace = place(offset, joinPath(path, name));
      if (key.anchor !== undefined) anchors.set(key.anchor, key);
      const earlier = map.get(name);
      if (earlier !== undefined)
        report(`the key "${name}" stands here a second time; the first is in line ${earlier.key.line}`, keyPlace);
      if (name === '__proto__') report('the key "__proto__" is not allowed', keyPlace);
      map.set(name, { key: keyPlace, value: visit(pair.value, keyPlace.path, depth + 1, offset) });
    }
    return { kind: 'map', entries: map, place: at };
  };

  try {
    const root = visit(document.contents as Node, '', 0, 0);
    if (root.kind !== 'map') report('a profile is a mapping that begins with "apiVersion: doppel/v1"', root.place);
    else if (diagnostics.length === 0) return { root, diagnostics };
  } catch (error) {
    if (!(error instanceof ConversionStopped)) throw error;
  }
  return { diagnostics };
}
