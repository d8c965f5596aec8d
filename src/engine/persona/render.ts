/** A persona plan for people and for scripts. Secret contents appear as a short hash only. */
import { createHash } from 'node:crypto';
import { unifiedHunks } from './line-diff.ts';
import type { Change, FileState } from './tree.ts';

/** Longer texts are shown as a hash: bytes. */
const maxShown = 256 * 1024;

export interface ChangeSummary {
  readonly path: string;
  readonly operation: string;
  readonly action: 'create' | 'change' | 'delete';
  readonly secret: boolean;
  readonly before: StateSummary;
  readonly after: StateSummary;
  /** Unified diff hunks, where both sides are text that may be shown. */
  readonly diff?: readonly string[];
}

export type StateSummary =
  | { readonly type: 'absent' }
  | { readonly type: 'symlink'; readonly target: string }
  | { readonly type: 'directory'; readonly mode: string; readonly uid: number; readonly gid: number }
  | {
      readonly type: 'file';
      readonly mode: string;
      readonly uid: number;
      readonly gid: number;
      /** Bytes. */
      readonly size: number;
      /** First 12 hex digits of the SHA-256. */
      readonly sha256: string;
    };

/** What `--json` prints. */
export function summarizeChanges(changes: readonly Change[]): ChangeSummary[] {
  return changes.map((change) => {
    const { path, operation, secret, before, after } = change;
    const action = before.type === 'absent' ? 'create' : after.type === 'absent' ? 'delete' : 'change';
    const diff = textDiff(change);
    return { path, operation, action, secret, before: summary(before), after: summary(after), ...(diff ? { diff } : {}) };
  });
}

/** A unified diff of all changes. Control characters of the target's files are escaped, as it goes to terminals. */
export function renderDiff(changes: readonly Change[]): string {
  return changes.map((change) => render(change)).join('');
}

function render(change: Change): string {
  const { path, before, after } = change;
  const head = `--- ${before.type === 'absent' ? '/dev/null' : `a${path}`}\n+++ ${after.type === 'absent' ? '/dev/null' : `b${path}`}\n`;
  const lines: string[] = [];
  const diff = textDiff(change);
  const [old, now] = [describe(before, diff !== undefined), describe(after, diff !== undefined)];
  if (old !== now) {
    if (old !== '') lines.push(`# was: ${old}`);
    if (now !== '') lines.push(`# now: ${now}`);
  }
  return `${escapeControls(head + [...lines, ...(diff ?? [])].join('\n'))}\n`;
}

function textDiff({ before, after, secret }: Change): string[] | undefined {
  const [old, now] = [text(before), text(after)];
  if (secret || old === undefined || now === undefined) return undefined;
  return unifiedHunks(old, now);
}

/** Text of a file that may be shown as lines, '' for none; undefined for links, directories, binary and long files. */
function text(state: FileState): string | undefined {
  if (state.type === 'absent') return '';
  if (state.type !== 'file' || state.content.length > maxShown || state.content.includes(0)) return undefined;
  return Buffer.from(state.content).toString('utf8');
}

function describe(state: FileState, isShown: boolean): string {
  if (state.type === 'absent') return '';
  if (state.type === 'symlink') return `symlink -> ${state.target}`;
  const owner = `${octal(state.mode)} ${state.uid}:${state.gid}`;
  if (state.type === 'directory') return `directory ${owner}`;
  return isShown ? `mode ${owner}` : `mode ${owner}, ${state.content.length} bytes, sha256 ${shortHash(state.content)}`;
}

function summary(state: FileState): StateSummary {
  if (state.type === 'absent' || state.type === 'symlink') return state;
  const { type, uid, gid } = state;
  const mode = octal(state.mode);
  if (type === 'directory') return { type, mode, uid, gid };
  return { type, mode, uid, gid, size: state.content.length, sha256: shortHash(state.content) };
}

function octal(mode: number): string {
  return mode.toString(8).padStart(4, '0');
}

function shortHash(content: Uint8Array): string {
  return createHash('sha256').update(content).digest('hex').slice(0, 12);
}

function escapeControls(value: string): string {
  return value.replace(/(?![\t\n])\p{Cc}/gu, (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`);
}
