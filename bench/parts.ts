/** Where the file systems of a disk image stand, as sfdisk and blkid tell. */
import { execFileSync } from 'node:child_process';

export interface BenchPart {
  /** As partclone names it, or `swap`. */
  readonly type: string;
  /** Bytes. */
  readonly offset: number;
  readonly size: number;
}

const names: Readonly<Record<string, string>> = {
  vfat: 'vfat',
  ext4: 'ext4',
  xfs: 'xfs',
  swap: 'swap',
  btrfs: 'btrfs',
  ntfs: 'ntfs',
};

/** @throws for a file system that partclone does not read */
export function partsOf(image: string): BenchPart[] {
  const { partitiontable } = JSON.parse(execFileSync('sfdisk', ['--json', image], { encoding: 'utf8' }));
  const { sectorsize, partitions } = partitiontable as {
    sectorsize: number;
    partitions: readonly { start: number; size: number }[];
  };
  return partitions.map(({ start, size }) => {
    const [offset, length] = [start * sectorsize, size * sectorsize];
    const found = execFileSync('blkid', ['-p', '-O', String(offset), '-S', String(length), '-s', 'TYPE', '-o', 'value', image], {
      encoding: 'utf8',
    }).trim();
    const type = names[found];
    if (type === undefined) throw new Error(`the part at byte ${offset} of ${image} holds ${found}`);
    return { type, offset, size: length };
  });
}
