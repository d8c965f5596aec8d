/** What is fuzzed: something that makes real samples once, and then takes one changed input after the other. */
import type { Random } from './random.ts';

export interface FuzzTarget {
  readonly name: string;
  /** Cases that CI runs. */
  readonly share: number;
  /** Makes the samples in an empty folder, by the real tools. */
  prepare?(folder: string): Promise<void>;
  /** Reads the samples. */
  open(folder: string): Promise<FuzzBody>;
}

export interface FuzzBody {
  /**
   * Changes a sample as `random` says and gives it to the code. The answer names what came of it, to be counted. Whatever is
   * thrown is a find: an error that is none of ours, or an `Unsound` for an answer that must not be.
   */
  run(random: Random): Promise<string>;
  /** What was changed in the last case, for people. */
  changes(): string;
  /** Outcomes that must occur in the share of CI: otherwise the changes do not reach what they are meant to test. */
  readonly reaches: readonly string[];
}

/** The code answered, and the answer is wrong. */
export class Unsound extends Error {}

/** @throws Unsound unless the condition holds */
export function sound(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Unsound(what);
}
