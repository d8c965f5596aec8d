/** Programs that put a disk image into a file or a folder and get it out again: the commands for both. */
import { execFileSync } from 'node:child_process';
import { doppel, doppelVersion } from './doppel.ts';
import { partsOf } from './parts.ts';

export interface Archiver {
  readonly name: string;
  readonly version: readonly string[];
  /** Puts `image` into the folder `place`, which is empty, on stable storage. */
  readonly make: (image: string, place: string) => string;
  /** Gets it out into `target`, a file of its size without data, on stable storage. */
  readonly restore: (place: string, target: string) => string;
  /** The target is the image byte for byte, also where nobody uses it. */
  readonly exact: boolean;
}

/** As all of them compress that have levels. */
const ZSTD = 'zstd -q -T2 -3';

export const quietly = '--progress none --json >/dev/null';

function doppelTo(file: string): Pick<Archiver, 'version' | 'make' | 'exact'> {
  return {
    version: doppelVersion,
    make: (image, place) => `${doppel} capture ${image} ${place}/${file} ${quietly}`,
    exact: false,
  };
}

/** Ours first. Each puts `image`, or one that is partitioned alike. */
export function archiversFor(image: string): Archiver[] {
  return [
    {
      ...doppelTo('disk.tar'),
      name: 'doppel, a tar',
      restore: (place, target) => `${doppel} restore ${place}/disk.tar ${target} --as none --yes ${quietly}`,
    },
    {
      ...doppelTo('disk'),
      name: 'doppel, a directory',
      restore: (place, target) => `${doppel} restore ${place}/disk ${target} --as none --yes ${quietly}`,
    },
    {
      ...doppelTo('disk.tar'),
      name: 'doppel, a tar, restored with --no-verify',
      restore: (place, target) => `${doppel} restore ${place}/disk.tar ${target} --as none --no-verify --yes ${quietly}`,
    },
    partclone(image),
    {
      name: 'qemu-img convert, compressed qcow2',
      version: ['qemu-img', '--version'],
      make: (from, place) =>
        `qemu-img convert -c -o compression_type=zstd -W -m 8 -f raw -O qcow2 ${from} ${place}/disk.qcow2; sync ${place}/*`,
      restore: (place, target) =>
        `qemu-img convert -n -W -m 8 --target-is-zero -f qcow2 -O raw ${place}/disk.qcow2 ${target}; sync ${target}`,
      exact: true,
    },
    {
      name: 'dd | zstd',
      version: ['zstd', '--version'],
      make: (from, place) => `dd if=${from} bs=4M status=none | ${ZSTD} -o ${place}/disk.zst; sync ${place}/*`,
      restore: (place, target) =>
        `zstd -q -dc ${place}/disk.zst | dd of=${target} bs=4M iflag=fullblock conv=sparse,fsync,notrunc status=none`,
      exact: true,
    },
    casync,
  ];
}

export const casync: Archiver = {
  name: 'casync',
  version: ['casync', '--version'],
  make: (image, place) => `casync make --store=${place}/disk.castr ${place}/disk.caibx ${image} >/dev/null; sync -f ${place}`,
  restore: (place, target) => `casync extract --store=${place}/disk.castr ${place}/disk.caibx ${target}; sync ${target}`,
  exact: true,
};

/** Each part that has a file system, and the partition table as text. FAT, ext and XFS have their partclone; swap has nothing to copy. */
function partclone(image: string): Archiver {
  const parts = partsOf(image).filter(({ type }) => type !== 'swap');
  const eachPart = (path: string, flags: string, command: (type: string, number: number) => string): string =>
    parts
      .map(({ type, offset, size }, number) => {
        const loop = `l=$(losetup --show -f ${flags}--offset ${offset} --sizelimit ${size} ${path})`;
        return `${loop}; ${command(type, number)}; losetup -d $l`;
      })
      .join('; ');
  const save = (type: string, place: string, number: number) =>
    `partclone.${type} -c -q -L /dev/null -s $l -o - 2>/dev/null | ${ZSTD} -o ${place}/${number}.zst`;
  const load = (place: string, number: number) =>
    `zstd -q -dc ${place}/${number}.zst | partclone.restore -q -L /dev/null -s - -o $l 2>/dev/null; sync $l`;
  return {
    name: 'partclone of each part | zstd',
    version: ['partclone.ext4', '--version'],
    make: (from, place) =>
      `sfdisk -d ${from} >${place}/table; ${eachPart(from, '-r ', (type, number) => save(type, place, number))}; sync ${place}/*`,
    restore: (place, target) =>
      `sfdisk -q ${target} <${place}/table; ${eachPart(target, '', (_, number) => load(place, number))}; sync ${target}`,
    exact: false,
  };
}

/** @throws unless both hold the same bytes */
export function same(one: string, other: string): void {
  execFileSync('cmp', [one, other]);
}
