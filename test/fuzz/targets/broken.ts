/** Targets with every kind of fault, to see that they are found; the faults are in cases whose seed ends in 7. */
import type { FuzzTarget } from '../target.ts';

function broken(name: string, fault: () => unknown): FuzzTarget {
  return {
    name,
    share: 20,
    async open() {
      let seed = 0;
      return {
        reaches: ['fine', 'never'],
        changes: () => `case ${seed}`,
        async run() {
          seed++;
          if (seed % 10 === 7) await fault();
          return 'fine';
        },
      };
    },
  };
}

function forEver(): never {
  for (let i = 0; ; i++) if (i < 0) break;
  throw new Error('not reached');
}

function hoard(): unknown {
  const kept: Buffer[] = [];
  for (;;) {
    kept.push(Buffer.alloc(1 << 20, 1));
    // Until somebody looks.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2);
  }
}

function heap(): unknown {
  const kept: unknown[] = [];
  for (;;) kept.push({ kept: kept.length, text: `text ${kept.length}` });
}

export const targets: readonly FuzzTarget[] = [
  broken('none', () => {}),
  broken('throws', () => {
    throw new TypeError('a fault');
  }),
  broken('rejects', () => Promise.reject(new RangeError('another fault'))),
  broken('hangs', forEver),
  broken('waits', () => new Promise(() => setInterval(() => {}, 1000))),
  broken('takes memory', hoard),
  broken('takes heap', heap),
];
