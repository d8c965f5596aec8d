/**
 * Building blocks for the schema. Every message begins with its code ("E005 ..."), so that one place (issues.ts) can turn
 * zod's issues into diagnostics. Unknown keys carry the known ones, for "did you mean".
 */
import * as z from 'zod';
import { type Check, quote } from './checks.ts';
import type { DiagnosticCode } from './diagnostic.ts';

type RawIssue = { readonly code?: string | undefined; readonly input?: unknown; readonly keys?: readonly string[] };

const missing = (issue: RawIssue) => issue.code === 'invalid_type' && issue.input === undefined;

function kindOf(value: unknown): string {
  if (value === null) return 'empty';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'a mapping';
  if (typeof value === 'string') return `the text ${quote(value)}`;
  return `the ${typeof value} ${String(value)}`;
}

/** `right` names the expected form. */
const wrong = (code: DiagnosticCode, right: string) => (issue: RawIssue) => {
  if (missing(issue)) return `E031 this key is required: ${right}`;
  // What should have been a hash may be a password.
  const is = code === 'E023' ? 'not a text' : kindOf(issue.input);
  return `${code} this is ${is}; it must be ${right}`;
};

const quoted = (issue: RawIssue, right: string) => {
  const plain = typeof issue.input === 'number' || typeof issue.input === 'boolean';
  return plain && !right.includes('quotes') ? '; put it in quotes to make it text' : '';
};

/** A text of a certain form. `code` is for a value that is no text at all. */
export function text(right: string, check?: Check, code: DiagnosticCode = 'E030') {
  const schema = z.string({ error: (issue) => wrong(code, right)(issue) + quoted(issue, right) }).describe(right);
  return check === undefined ? schema : schema.superRefine((value, context) => refine(check, value, context));
}

function refine(check: Check, value: string, context: z.RefinementCtx): void {
  const finding = check(value);
  if (finding !== undefined) context.addIssue({ code: 'custom', message: `${finding.code} ${finding.message}` });
}

/** A key of a mapping that must have a certain form. */
export function mapping<Value extends z.ZodType>(right: string, key: Check, value: Value) {
  const error = wrong('E030', right);
  return z.record(z.string(), value, { error }).superRefine((map, context) => {
    for (const name of Object.keys(map)) {
      const finding = key(name);
      if (finding === undefined) continue;
      context.addIssue({ code: 'custom', path: [name], message: `${finding.code} ${finding.message}`, params: { atKey: true } });
    }
  });
}

export function object<Shape extends z.core.$ZodShape>(right: string, shape: Shape) {
  const known = Object.keys(shape).join(',');
  const error = (issue: RawIssue) => (issue.code === 'unrecognized_keys' ? `E001 ${known}` : wrong('E030', right)(issue));
  return z.strictObject(shape, { error });
}

export function list<Item extends z.ZodType>(right: string, item: Item) {
  return z.array(item, { error: wrong('E030', right) });
}

export function oneOf<const Values extends readonly [string, ...string[]]>(values: Values) {
  const right = values.join(', ');
  return z.enum(values, {
    error: (issue) =>
      missing(issue)
        ? `E031 this key is required: one of ${right}`
        : `E030 this is ${kindOf(issue.input)}; it must be one of ${right}`,
  });
}

export function flag(describe: string) {
  return z.boolean({ error: wrong('E030', 'true or false') }).describe(describe);
}

export function integer(describe: string, minimum: number, maximum: number) {
  const error = wrong('E030', `a whole number from ${minimum} to ${maximum}`);
  return z.int({ error }).min(minimum, { error }).max(maximum, { error }).describe(describe);
}

/** Known, but this version does not apply it: refused, never silently ignored. `check` may say more about its form. */
export function unsupported(what: string, check?: (value: unknown, context: z.RefinementCtx) => void) {
  return z
    .unknown()
    .superRefine((value, context) => {
      context.addIssue({ code: 'custom', message: `E029 ${what} is not supported yet by this version; take the key out` });
      check?.(value, context);
    })
    .meta({ description: `Not supported yet by this version: ${what}.`, deprecated: true });
}
