/** Gives up root for good. */
import { createRequire } from 'node:module';

const NOBODY = 65_534;

/** What the engine loads at first use is loaded before, as the folder of this project may be closed to others. */
export function becomeNobody(): void {
  createRequire(import.meta.url)('koffi');
  process.setgroups?.([]);
  process.setgid?.(NOBODY);
  process.setuid?.(NOBODY);
}
