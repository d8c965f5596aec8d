/** A YAML document as a small tree in which every value knows where it was written; it survives merging and substitution. */
import type { Place } from './diagnostic.ts';

export type Scalar = string | number | boolean | null;

export interface ScalarNode {
  readonly kind: 'scalar';
  readonly value: Scalar;
  /** As written: the source text of a plain scalar, the value of a quoted one. `007` stays `007`. */
  readonly text: string;
  readonly place: Place;
  /** A variable in it is undefined, which has been reported: nothing more can be said of its form. */
  readonly unresolved?: boolean;
}
export interface MapNode {
  readonly kind: 'map';
  readonly entries: ReadonlyMap<string, MapEntry>;
  readonly place: Place;
}
export interface MapEntry {
  /** Where the key stands. */
  readonly key: Place;
  readonly value: DocumentNode;
}
export interface ListNode {
  readonly kind: 'list';
  readonly items: readonly DocumentNode[];
  readonly place: Place;
}
export type DocumentNode = ScalarNode | MapNode | ListNode;

export type DocumentPath = readonly PropertyKey[];

/** `network.ethernets.lan0.addresses[0]`; keys with other characters than letters, digits, `-`, `_`, `+` are quoted. */
export function joinPath(parent: string, key: PropertyKey): string {
  if (typeof key === 'number') return `${parent}[${key}]`;
  const text = String(key);
  if (!/^[A-Za-z0-9_+-]+$/.test(text)) return `${parent}[${JSON.stringify(text)}]`;
  return parent === '' ? text : `${parent}.${text}`;
}

export function child(node: DocumentNode | undefined, ...keys: readonly string[]): DocumentNode | undefined {
  let at = node;
  for (const key of keys) at = at?.kind === 'map' ? at.entries.get(key)?.value : undefined;
  return at;
}

/** The items of a list; of anything else, none. */
export function items(node: DocumentNode | undefined): readonly DocumentNode[] {
  return node?.kind === 'list' ? node.items : [];
}

/** The entries of a mapping; of anything else, none. */
export function entries(node: DocumentNode | undefined): readonly (readonly [string, MapEntry])[] {
  return node?.kind === 'map' ? [...node.entries] : [];
}

/** The text of a scalar string whose variables are all known. */
export function textOf(node: DocumentNode | undefined): string | undefined {
  return node?.kind === 'scalar' && typeof node.value === 'string' && !node.unresolved ? node.value : undefined;
}

export interface Located {
  /** The deepest node on the path that exists. */
  readonly node: DocumentNode;
  /** What of the path does not exist. */
  readonly rest: DocumentPath;
  /** Where the last key or item on the existing part stands: the key of a mapping, else the value itself. */
  readonly key: Place;
}

export function locate(root: DocumentNode, path: DocumentPath): Located {
  let node = root;
  let key = root.place;
  for (const [depth, step] of path.entries()) {
    if (node.kind === 'map' && node.entries.has(String(step))) {
      const entry = node.entries.get(String(step)) as MapEntry;
      node = entry.value;
      key = entry.key;
    } else if (node.kind === 'list' && typeof step === 'number' && node.items[step] !== undefined) {
      node = node.items[step];
      key = node.place;
    } else {
      return { node, rest: path.slice(depth), key };
    }
  }
  return { node, rest: [], key };
}

/** Plain data without positions; mappings have no prototype, so that no key means anything special. */
export function toPlain(node: DocumentNode): unknown {
  if (node.kind === 'scalar') return node.value;
  if (node.kind === 'list') return node.items.map(toPlain);
  const plain: Record<string, unknown> = Object.create(null);
  for (const [key, entry] of node.entries) plain[key] = toPlain(entry.value);
  return plain;
}
