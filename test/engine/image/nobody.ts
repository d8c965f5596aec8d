/** Gives up root for good. */
import { createRequire } from 'node:module';

const NOBODY = 65_534;

const libc = new URL('../../../src/engine/native/libc.ts', import.meta.url);

/** What that loads at first use is loaded before, in its name: the folder of this project may be closed to others. */
export function becomeNobody(): void {
  createRequire(libc)('koffi');
  process.setgroups?.([]);
  process.setgid?.(NOBODY);
  process.setuid?.(NOBODY);
}
