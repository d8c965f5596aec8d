/** From zod's issues to diagnostics with the place in the YAML. */
import type * as z from 'zod';
import { quote } from './checks.ts';
import { type Diagnostic, type DiagnosticCode, diagnostic, diagnosticCodes } from './diagnostic.ts';
import { type DocumentPath, joinPath, locate, type MapNode } from './document.ts';

/** `root` is the tree that was validated; issues inside of unresolved scalars are dropped, E011 has said it. */
export function issuesToDiagnostics(root: MapNode, issues: readonly z.core.$ZodIssue[]): Diagnostic[] {
  return issues.flatMap((issue) => {
    if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => unknownKey(root, [...issue.path, key], issue.message));
    const found = locate(root, issue.path);
    if (found.node.kind === 'scalar' && found.node.unresolved) return [];
    const { code, message } = split(issue.message);
    const path = found.rest.reduce<string>(joinPath, found.node.place.path);
    const aboutKey = issue.code === 'custom' && (issue.params?.atKey === true || found.node.kind !== 'scalar');
    const place = aboutKey ? found.key : found.node.place;
    return [diagnostic(code, message, path, place)];
  });
}

function split(message: string): { code: DiagnosticCode; message: string } {
  const match = /^(E\d{3}) (.*)$/s.exec(message);
  if (match?.[1] !== undefined && match[1] in diagnosticCodes) {
    return { code: match[1] as DiagnosticCode, message: match[2] as string };
  }
  return { code: 'E030', message };
}

function unknownKey(root: MapNode, path: DocumentPath, message: string): Diagnostic {
  const found = locate(root, path);
  const known = split(message).message.split(',').filter(Boolean);
  const name = String(path.at(-1));
  const near = nearest(name, known);
  const hint = near === undefined ? `known keys are ${known.join(', ')}` : `did you mean "${near}"?`;
  const merges = name === '<<' ? 'merge keys are not part of YAML 1.2, use extends or an alias' : hint;
  return diagnostic('E001', `unknown key ${quote(name)}; ${merges}`, found.key.path, found.key);
}

/** The known key that differs least, if it differs by at most a third of its letters (and two are always allowed). */
export function nearest(name: string, known: readonly string[]): string | undefined {
  if (name.length > 64) return undefined;
  const plain = (text: string) => text.toLowerCase().replaceAll(/[-_]/g, '');
  const ranked = known
    .map((key) => ({ key, distance: editDistance(plain(name), plain(key)) }))
    .filter(({ key, distance }) => distance <= Math.max(2, Math.floor(key.length / 3)) && distance < key.length)
    .sort((a, b) => a.distance - b.distance);
  return ranked[0]?.key;
}

/** Insertions, deletions, replacements, and swaps of neighbours (optimal string alignment). */
function editDistance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, i) => i)];
  const at = (i: number, j: number) => rows[i]?.[j] ?? Number.POSITIVE_INFINITY;
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    rows.push(row);
    for (let j = 1; j <= b.length; j++) {
      const change = a[i - 1] === b[j - 1] ? 0 : 1;
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      row.push(
        Math.min(
          at(i - 1, j) + 1,
          (row[j - 1] as number) + 1,
          at(i - 1, j - 1) + change,
          swapped ? at(i - 2, j - 2) + 1 : a.length + b.length,
        ),
      );
    }
  }
  return at(a.length, b.length);
}
