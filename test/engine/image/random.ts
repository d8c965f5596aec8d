/** Repeatable random numbers (mulberry32, public domain), so that a failing property test fails again. */

export interface Random {
  /** An integer in [0, below). */
  below(limit: number): number;
  bytes(length: number): Buffer;
  pick<T>(list: readonly T[]): T;
}

export function random(seed: number): Random {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (limit: number): number => Math.floor(next() * limit);
  return {
    below,
    bytes: (length) => Buffer.from(Array.from({ length }, () => 1 + below(255))),
    pick: (list) => list[below(list.length)] as (typeof list)[number],
  };
}
