/** The program under test, as it is installed: built, through its launcher. */
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const doppel = join(dirname(dirname(fileURLToPath(import.meta.url))), 'bin/doppel.js');
export const doppelVersion = [doppel, '--version'] as const;
