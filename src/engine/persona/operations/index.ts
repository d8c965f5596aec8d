/** All operations, in the order in which they run. */
import { defaultTarget } from './default-target.ts';
import { drivers } from './drivers.ts';
import { hostname } from './hostname.ts';
import { machineId } from './machine-id.ts';
import { network } from './network.ts';
import { randomSeed } from './random-seed.ts';
import { services } from './services.ts';
import { sshHostKeys } from './ssh-host-keys.ts';
import type { Operation } from './types.ts';
import { users } from './users.ts';
import { writeFiles } from './write-files.ts';

export const operations: readonly Operation[] = [
  hostname,
  network,
  sshHostKeys,
  services,
  defaultTarget,
  drivers,
  users,
  writeFiles,
  randomSeed,
  machineId,
].sort((a, b) => a.order - b.order);
