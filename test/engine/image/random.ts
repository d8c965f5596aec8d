/** Repeatable random numbers (xorshift32; Marsaglia 2003), so that a failing property test fails again. */

export interface Random {
  /** An integer in [0, below). */
  below(limit: number): number;
  /** None of them is zero. */
  bytes(length: number): Buffer;
  pick<T>(list: readonly T[]): T;
}

export function random(seed: number): Random {
  let state = Math.imul(seed + 1, 0x9e3779b1) | 1;
  const next = (): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
  const below = (limit: number): number => Math.floor(next() * limit);
  return {
    below,
    bytes(length) {
      const bytes = Buffer.allocUnsafe(length);
      for (let i = 0; i < length; i++) bytes[i] = 1 + below(255);
      return bytes;
    },
    pick: (list) => list[below(list.length)] as (typeof list)[number],
  };
}
