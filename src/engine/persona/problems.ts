/** What keeps a profile from being applied to a target. The codes E... are those of the profile's validator. */
import type { Place } from '../profile/diagnostic.ts';
import { joinPath } from '../profile/document.ts';

export interface Problem {
  /** E003 machine id malformed, E004 equals the source's, E014 unit, E016 module; P001 and up are the persona's own. */
  readonly code: ProblemCode;
  readonly message: string;
  /** Where in the profile, as keys and indices. */
  readonly path: readonly (string | number)[];
  /** Where that was written, when it stands in the profile itself and not in a base. */
  readonly place?: Place;
}

/** One line: `web.yaml:12:7: E014 services.enable[0]: ...`. */
export function formatProblem({ code, message, path, place }: Problem): string {
  const where = place === undefined ? '' : `${place.file}:${place.line}:${place.column}: `;
  return `${where}${code} ${path.reduce(joinPath, '')}: ${message}`;
}

export type ProblemCode =
  | 'E003'
  | 'E004'
  | 'E014'
  | 'E016'
  /** A unit exists but cannot be enabled, disabled or masked. */
  | 'P001'
  /** A user or group is not in the target. */
  | 'P002'
  /** A secret is not in the bundle. */
  | 'P003'
  /** A network setting that the target's backend cannot express, or no backend. */
  | 'P004'
  /** A value that cannot be written into a configuration file. */
  | 'P005';
