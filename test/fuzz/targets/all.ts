/** Everything that is fuzzed. */
import type { FuzzTarget } from '../target.ts';
import { archiveTargets } from './archives.ts';
import { fileSystemTargets } from './file-systems.ts';
import { profileTargets } from './profiles.ts';
import { tableTarget } from './tables.ts';
import { textTargets } from './texts.ts';

export const targets: readonly FuzzTarget[] = [
  tableTarget,
  ...fileSystemTargets,
  ...profileTargets,
  ...textTargets,
  ...archiveTargets,
];
