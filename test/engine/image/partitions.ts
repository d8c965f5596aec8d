/** A disk with two partitions. The kernel is told where they are, so that it needs to read no table. */
import { execFileSync } from 'node:child_process';
import { attachLoop, type Loop } from '../../fixtures/loop.ts';

export interface PartitionedDisk {
  readonly disk: Loop;
  readonly first: string;
  readonly second: string;
}

const SECTORS = 65_536;

/** Two partitions of 32 MiB each, from 1 MiB on. */
export function partitionedDisk(file: string): PartitionedDisk {
  const disk = attachLoop(file, { partitions: true });
  execFileSync('addpart', [disk.device, '1', '2048', String(SECTORS)]);
  execFileSync('addpart', [disk.device, '2', String(2048 + SECTORS), String(SECTORS)]);
  return { disk, first: `${disk.device}p1`, second: `${disk.device}p2` };
}
