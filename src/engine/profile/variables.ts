/**
 * `{{ name }}` in parsed scalars, never in YAML text. A scalar that is one reference takes the variable's own kind
 * (`mtu: "{{ mtu }}"` is a number), `\{{` stands for two literal braces.
 */
import { type Diagnostic, diagnostic } from './diagnostic.ts';
import { child, type DocumentNode, entries, type MapEntry, type MapNode, type ScalarNode } from './document.ts';

/** Characters that substitution may produce in all. */
const maxSubstituted = 4_194_304;
const builtIn = ['host', 'hostname'];

interface Context {
  readonly report: (d: Diagnostic) => void;
  /** `requester` names the place in messages. */
  readonly lookUp: (name: string, requester: ScalarNode) => ScalarNode | undefined;
  produced: number;
}

/** The whole document with its variables substituted; undefined ones (E011) leave the scalar marked `unresolved`. */
export function substituteVariables(root: MapNode, report: (d: Diagnostic) => void): MapNode {
  const vars = child(root, 'vars');
  const known = new Map<string, ScalarNode | undefined>();
  const open: string[] = [];
  for (const [name, entry] of entries(vars)) checkVariable(name, entry, report);

  const sourceOf = (name: string): DocumentNode | undefined => {
    if (name === 'host') return child(root, 'host');
    if (name === 'hostname') return child(root, 'identity', 'hostname') ?? child(root, 'host');
    return child(vars, name);
  };
  const context: Context = {
    report,
    produced: 0,
    lookUp(name, requester) {
      if (known.has(name)) return known.get(name);
      if (open.includes(name)) {
        const chain = [...open.slice(open.indexOf(name)), name].join(' -> ');
        report(
          diagnostic('E011', `the variable "${name}" is defined by itself: ${chain}`, requester.place.path, requester.place),
        );
        return undefined;
      }
      const source = sourceOf(name);
      if (source?.kind !== 'scalar') {
        const names = [...new Set([...entries(vars).map(([key]) => key), ...builtIn])].join(', ');
        const message = `the variable "${name}" is not defined; add it under vars. Defined are: ${names}`;
        if (source === undefined) report(diagnostic('E011', message, requester.place.path, requester.place));
        return undefined;
      }
      open.push(name);
      const value = substituteScalar(source, context);
      open.pop();
      known.set(name, value.unresolved ? undefined : value);
      return known.get(name);
    },
  };
  return substituteMap(root, context);
}

function checkVariable(name: string, entry: MapEntry, report: (d: Diagnostic) => void): void {
  const say = (message: string) => report(diagnostic('E030', message, entry.key.path, entry.key));
  if (builtIn.includes(name))
    say(`"${name}" is built in and cannot be set under vars; set ${name === 'host' ? 'host' : 'identity.hostname'}`);
  else if (!/^[A-Za-z_][A-Za-z0-9_-]*$/.test(name))
    say(`"${name}" is not a variable name: a letter, then letters, digits, "_" and "-"`);
}

function substituteMap(map: MapNode, context: Context): MapNode {
  const result = new Map<string, MapEntry>();
  for (const [key, entry] of map.entries) result.set(key, { key: entry.key, value: substitute(entry.value, context) });
  return { ...map, entries: result };
}

function substitute(node: DocumentNode, context: Context): DocumentNode {
  if (node.kind === 'map') return substituteMap(node, context);
  if (node.kind === 'list') return { ...node, items: node.items.map((item) => substitute(item, context)) };
  return substituteScalar(node, context);
}

/** Either an escaped `\{{`, a reference, or braces that are neither. */
const token = /\\\{\{|\{\{[ \t]*([A-Za-z_][A-Za-z0-9_-]*)[ \t]*\}\}|\{\{/g;

function substituteScalar(node: ScalarNode, context: Context): ScalarNode {
  const text = node.value;
  if (typeof text !== 'string' || !text.includes('{{')) return node;
  const whole = /^\{\{[ \t]*([A-Za-z_][A-Za-z0-9_-]*)[ \t]*\}\}$/.exec(text)?.[1];
  if (whole !== undefined) {
    const found = context.lookUp(whole, node);
    return found === undefined ? { ...node, unresolved: true } : { ...node, value: found.value, text: found.text };
  }
  let unresolved = false;
  const parts: string[] = [];
  let last = 0;
  for (const match of text.matchAll(token)) {
    parts.push(text.slice(last, match.index));
    last = match.index + match[0].length;
    if (match[0].startsWith('\\')) parts.push('{{');
    else if (match[1] === undefined) {
      unresolved = true;
      const message = '"{{" begins a variable, as in {{ host }}; for the characters themselves write \\{{';
      context.report(diagnostic('E011', message, node.place.path, node.place));
    } else {
      const found = context.lookUp(match[1], node);
      const value = found?.text ?? '';
      if (found === undefined) unresolved = true;
      context.produced += value.length;
      if (context.produced > maxSubstituted) {
        context.report(diagnostic('E011', 'the variables grow to more than 4 MiB of text', node.place.path, node.place));
        return { ...node, unresolved: true };
      }
      parts.push(value);
    }
  }
  parts.push(text.slice(last));
  if (unresolved) return { ...node, unresolved };
  const value = parts.join('');
  return { ...node, value, text: value };
}
