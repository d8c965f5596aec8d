/** How profiles are laid over each other: mappings merge, lists and scalars replace, `key+` appends, null removes. */
import { type Diagnostic, diagnostic } from './diagnostic.ts';
import type { DocumentNode, ListNode, MapEntry, MapNode } from './document.ts';

const appends = (key: string) => key.length > 1 && key.endsWith('+');

/** `over` wins. A `key+` that finds nothing to append to stays pending for the next layer. */
export function merge(base: MapNode, over: MapNode): MapNode {
  const result = new Map(base.entries);
  // The plain keys first, so that `key` and `key+` in one mapping mean: replace, then append.
  for (const [key, entry] of over.entries) {
    if (appends(key)) continue;
    result.delete(`${key}+`);
    const below = base.entries.get(key);
    if (below !== undefined && entry.value.kind === 'scalar' && entry.value.value === null) result.delete(key);
    else result.set(key, below === undefined ? entry : { key: entry.key, value: mergeValue(below.value, entry.value) });
  }
  for (const [key, entry] of over.entries) {
    if (!appends(key)) continue;
    const name = key.slice(0, -1);
    const onto = result.has(name) ? name : key;
    result.set(onto, append(result.get(onto), entry) ?? entry);
  }
  return { kind: 'map', entries: result, place: over.place };
}

function mergeValue(base: DocumentNode, over: DocumentNode): DocumentNode {
  return base.kind === 'map' && over.kind === 'map' ? merge(base, over) : over;
}

function append(onto: MapEntry | undefined, entry: MapEntry): MapEntry | undefined {
  if (onto?.value.kind !== 'list' || entry.value.kind !== 'list') return undefined;
  const list: ListNode = { kind: 'list', items: [...onto.value.items, ...entry.value.items], place: entry.value.place };
  return { key: onto.key, value: list };
}

/** Turns every `key+` that is still pending into `key`; one whose value is no list is reported as E030. */
export function settle(map: MapNode, report: (d: Diagnostic) => void): MapNode {
  const result = new Map<string, MapEntry>();
  for (const [key, entry] of map.entries) {
    if (!appends(key)) result.set(key, { key: entry.key, value: settleValue(entry.value, report) });
  }
  for (const [key, entry] of map.entries) {
    if (!appends(key)) continue;
    if (entry.value.kind !== 'list') {
      report(
        diagnostic('E030', `"${key}" appends to a list, so its value must be a list: ${key}: [...]`, entry.key.path, entry.key),
      );
      continue;
    }
    const name = key.slice(0, -1);
    const own: MapEntry = { key: entry.key, value: settleValue(entry.value, report) };
    result.set(name, append(result.get(name), own) ?? own);
  }
  return { kind: 'map', entries: result, place: map.place };
}

function settleValue(node: DocumentNode, report: (d: Diagnostic) => void): DocumentNode {
  if (node.kind === 'map') return settle(node, report);
  if (node.kind === 'list') return { ...node, items: node.items.map((item) => settleValue(item, report)) };
  return node;
}
