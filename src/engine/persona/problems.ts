/** What keeps a profile from being applied to a target. The codes E... are those of the profile's validator. */

export interface Problem {
  /** E003 machine id malformed, E004 equals the source's, E014 unit, E016 module; P001 and up are the persona's own. */
  readonly code: ProblemCode;
  readonly message: string;
  /** Where in the profile, as keys and indices. */
  readonly path: readonly (string | number)[];
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
