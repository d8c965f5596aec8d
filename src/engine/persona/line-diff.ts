/** Differences of two texts by lines, in the unified format (POSIX diff -u). */

interface Edit {
  readonly kind: ' ' | '-' | '+';
  readonly line: string;
}

/** Above this product of line counts the changed middle is shown as replaced: time and memory stay bounded. */
const maxCells = 4_000_000;
const context = 3;

/** Hunks of a unified diff, without the file names; empty when the texts are equal. */
export function unifiedHunks(before: string, after: string): string[] {
  return hunks(edits(lines(before), lines(after)));
}

function lines(text: string): string[] {
  if (text === '') return [];
  const parts = text.split('\n');
  const last = parts.pop();
  return last === '' ? parts : [...parts, `${last}\n\\ No newline at end of file`];
}

/** By the longest common subsequence of what is between the common start and end. */
function edits(a: readonly string[], b: readonly string[]): Edit[] {
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
  let end = 0;
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end += 1;
  const same = (line: string): Edit => ({ kind: ' ', line });
  const middle = between(a.slice(start, a.length - end), b.slice(start, b.length - end));
  return [...a.slice(0, start).map(same), ...middle, ...a.slice(a.length - end).map(same)];
}

function between(a: readonly string[], b: readonly string[]): Edit[] {
  const removed = (line: string): Edit => ({ kind: '-', line });
  const added = (line: string): Edit => ({ kind: '+', line });
  if (a.length * b.length > maxCells) return [...a.map(removed), ...b.map(added)];
  const width = b.length + 1;
  const length = new Uint32Array((a.length + 1) * width);
  const at = (i: number, j: number) => length[i * width + j] ?? 0;
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      length[i * width + j] = a[i] === b[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1));
    }
  }
  const result: Edit[] = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      result.push({ kind: ' ', line: a[i] ?? '' });
      i += 1;
      j += 1;
    } else if (i < a.length && (j >= b.length || at(i + 1, j) >= at(i, j + 1))) {
      result.push(removed(a[i] ?? ''));
      i += 1;
    } else {
      result.push(added(b[j] ?? ''));
      j += 1;
    }
  }
  return result;
}

function hunks(all: readonly Edit[]): string[] {
  const shown = all.map((_, index) =>
    all.slice(Math.max(0, index - context), index + context + 1).some((edit) => edit.kind !== ' '),
  );
  const result: string[] = [];
  let [oldLine, newLine] = [1, 1];
  for (let index = 0; index < all.length; ) {
    let end = index;
    while (end < all.length && shown[end] === shown[index]) end += 1;
    const part = all.slice(index, end);
    const oldCount = part.filter((edit) => edit.kind !== '+').length;
    const newCount = part.filter((edit) => edit.kind !== '-').length;
    if (shown[index]) {
      // A side without lines is named by the line before it.
      const range = (line: number, count: number) => `${count === 0 ? line - 1 : line}${count === 1 ? '' : `,${count}`}`;
      const head = `@@ -${range(oldLine, oldCount)} +${range(newLine, newCount)} @@`;
      result.push([head, ...part.map(({ kind, line }) => kind + line)].join('\n'));
    }
    oldLine += oldCount;
    newLine += newCount;
    index = end;
  }
  return result;
}
