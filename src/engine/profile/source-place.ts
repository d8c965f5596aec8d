/** Where a value of a resolved profile was written, as far as the bundle's own text tells: its bases are not in it. */
import { normalizeUnit } from './checks.ts';
import type { Place } from './diagnostic.ts';
import { type DocumentNode, type DocumentPath, items, locate, type MapNode } from './document.ts';
import type { Bundle } from './model.ts';
import { parseProfileText } from './parse.ts';

/** `path` counts in the resolved profile, as `['services', 'enable', 0]`. Undefined when the value came from a base or a default. */
export function placeInSource({ source, resolved }: Bundle, path: DocumentPath): Place | undefined {
  const { root } = parseProfileText(source.text, source.file);
  if (root === undefined) return undefined;
  const role = resolved.role === undefined ? [] : [['roles', resolved.role, ...path]];
  for (const candidate of [...role, path]) {
    const place =
      typeof candidate.at(-1) === 'number' ? itemPlace(root, candidate, valueAt(resolved, path)) : keyPlace(root, candidate);
    if (place !== undefined) return place;
  }
  return undefined;
}

/** Lists may have been put together from several; the item is found by what it says. */
function itemPlace(root: MapNode, path: DocumentPath, value: unknown): Place | undefined {
  const list = path.slice(0, -1);
  const appended = [...list.slice(0, -1), `${String(list.at(-1))}+`];
  for (const each of [list, appended]) {
    const { node, rest } = locate(root, each);
    const item = rest.length === 0 ? items(node).find((one) => says(one, value)) : undefined;
    if (item !== undefined) return item.place;
  }
  return undefined;
}

function says(node: DocumentNode, value: unknown): boolean {
  return node.kind === 'scalar' && typeof value === 'string' && (node.text === value || normalizeUnit(node.text) === value);
}

function keyPlace(root: MapNode, path: DocumentPath): Place | undefined {
  const { rest, key } = locate(root, path);
  return rest.length === 0 ? key : undefined;
}

function valueAt(document: unknown, path: DocumentPath): unknown {
  return path.reduce<unknown>((at, key) => (at as Record<PropertyKey, unknown> | undefined)?.[key], document);
}
