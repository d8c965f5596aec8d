/** What the validator says: a code, a sentence, and the place in the YAML file that it speaks of. */
import { ProfileError } from '../errors.ts';

/** Every code with its short title. docs/profile.md explains each with an example. */
export const diagnosticCodes = {
  E000: 'not usable YAML',
  E001: 'unknown key',
  E002: 'host name not RFC 1123',
  E003: 'machine id malformed',
  E004: "machine id equals the source's",
  E005: 'address malformed',
  E006: 'gateway outside every address of its interface',
  E007: 'set-name without match',
  E008: 'belongs to another host too',
  E009: 'extends cycle',
  E010: 'unknown base',
  E011: 'undefined variable or secret',
  E012: 'role not defined',
  E013: 'unit both enabled and disabled or masked',
  E014: 'unit not in the target',
  E015: 'driver both loaded and blacklisted',
  E016: "module not found for the target's kernel",
  E017: 'secret file not safe',
  E018: 'secret written into the YAML',
  E019: 'path not absolute or not plain',
  E020: 'permissions not a quoted octal string',
  E021: 'path written twice',
  E022: 'path managed by another section',
  E023: 'password not a crypt hash',
  E024: 'does not fit the slot',
  E025: 'kernel argument may not be overridden',
  E026: 'two default routes of equal metric',
  E027: 'malformed IQN or NQN',
  E028: 'undefined bond, bridge or vlan member',
  E029: 'not supported yet by this version',
  E030: 'wrong kind of value',
  E031: 'required key missing',
} as const;
export type DiagnosticCode = keyof typeof diagnosticCodes;

/** A place in a YAML file; line and column count from 1. */
export interface Position {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** A position together with the path of the value in its own document, as `network.ethernets.lan0.addresses[0]`. */
export interface Place extends Position {
  readonly path: string;
}

export interface Diagnostic extends Place {
  readonly code: DiagnosticCode;
  /** What is wrong and what the right form is. */
  readonly message: string;
}

/** Also for the layers that know the target: they raise E004, E014 and E016 in the same shape. */
export function diagnostic(code: DiagnosticCode, message: string, path: string, position: Position): Diagnostic {
  return { code, message, path, file: position.file, line: position.line, column: position.column };
}

/** One line: `web.yaml:12:7: E005 network.ethernets.lan0.addresses[0]: ...`. */
export function formatDiagnostic(d: Diagnostic): string {
  return `${d.file}:${d.line}:${d.column}: ${d.code} ${d.path === '' ? '' : `${d.path}: `}${d.message}`;
}

/** Without repetitions, in the order of `files`, then by line, column and code. */
export function sortDiagnostics(diagnostics: readonly Diagnostic[], files: readonly string[]): Diagnostic[] {
  const unique = new Map(diagnostics.map((d) => [formatDiagnostic(d), d]));
  const rank = (d: Diagnostic) => {
    const index = files.indexOf(d.file);
    return index < 0 ? files.length : index;
  };
  return [...unique.values()].sort(
    (a, b) => rank(a) - rank(b) || a.line - b.line || a.column - b.column || a.code.localeCompare(b.code),
  );
}

/** The profile has errors; `diagnostics` lists all of them. */
export class ProfileInvalidError extends ProfileError {
  readonly diagnostics: readonly Diagnostic[];

  constructor(diagnostics: readonly Diagnostic[]) {
    super(['the profile is not valid:', ...diagnostics.map((each) => `  ${formatDiagnostic(each)}`)].join('\n'), {
      code: 'PROFILE_INVALID',
      todo: 'Correct the places named; docs/profile.md explains every code and shows the right form.',
      data: { diagnostics },
    });
    this.diagnostics = diagnostics;
  }
}
