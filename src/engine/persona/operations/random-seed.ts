/** Random seeds that came with the copy: twins that share one draw the same numbers early in their boot. */
import type { Operation } from './types.ts';

const seeds = [
  '/var/lib/systemd/random-seed',
  '/var/lib/urandom/random-seed',
  '/var/lib/random-seed',
  '/boot/efi/loader/random-seed',
  '/boot/loader/random-seed',
  '/efi/loader/random-seed',
];

export const randomSeed: Operation = {
  name: 'random-seed',
  heading: "Drop the source's random seeds",
  default: true,
  order: 900,
  touches: seeds,
  async plan(tree, { bundle, system }) {
    // The machine id is written last: when it is the profile's, the target has been itself before and the seed is its own.
    if (system.machineId === bundle.generated.machineId) return;
    for (const path of seeds) await tree.remove(path, true);
  },
};
