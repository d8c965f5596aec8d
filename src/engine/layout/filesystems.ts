/** Which file system a part holds, and which of its bytes that file system uses. One table of readers; offsets are bytes. */
import type { ImageSource } from '../image/contract.ts';
import type { FileSystemInfo, FileSystemReader, UsedBlocks } from './contract.ts';
import { btrfs } from './filesystems/btrfs.ts';
import { exfat } from './filesystems/exfat.ts';
import { ext } from './filesystems/ext.ts';
import { f2fs } from './filesystems/f2fs.ts';
import { fat } from './filesystems/fat.ts';
import { lvm } from './filesystems/lvm.ts';
import { ntfs } from './filesystems/ntfs.ts';
import { whyOpaque } from './filesystems/opaque.ts';
import { containers, unmapped } from './filesystems/signatures.ts';
import { swap } from './filesystems/swap.ts';
import { xfs } from './filesystems/xfs.ts';

const plain: readonly FileSystemReader[] = [ext, xfs, btrfs, swap, fat, ntfs, exfat, f2fs];
/** A physical volume inside a logical volume is not looked into any further. */
const inVolumes: readonly FileSystemReader[] = [lvm(), ...plain];
const readers: readonly FileSystemReader[] = [
  lvm({
    identify: async (image) => (await claims(image, inVolumes))[0],
    usedBlocks: (image) => usedAmong(image, inVolumes),
  }),
  ...plain,
];

/** Everything that claims the part: containers first, then what has a reader, then the rest. */
async function claims(part: ImageSource, among: readonly FileSystemReader[]): Promise<FileSystemInfo[]> {
  const found: FileSystemInfo[] = [];
  for (const probe of [...containers, ...among.map((reader) => reader.probe), ...unmapped]) {
    const info = await probe(part);
    if (info !== undefined) found.push(info);
  }
  return found;
}

/**
 * What the part holds, named as blkid names it; undefined when nothing is recognised. Where a container (RAID member, LUKS, LVM)
 * and a file system both claim it, the container is the answer. Throws only for I/O errors.
 */
export async function identifyFileSystem(part: ImageSource): Promise<FileSystemInfo | undefined> {
  return (await claims(part, readers))[0];
}

/**
 * Which bytes of the part hold something, all metadata and everything behind the file system's end included. `known: false` with
 * a sentence for whatever is not clean, not known, inconsistent or claimed by two formats. Throws only for I/O errors.
 */
export function usedBlocks(part: ImageSource): Promise<UsedBlocks> {
  return usedAmong(part, readers);
}

async function usedAmong(part: ImageSource, among: readonly FileSystemReader[]): Promise<UsedBlocks> {
  const found = await claims(part, among);
  const [first] = found;
  if (first === undefined) return { known: false, reason: 'no file system was recognised' };
  const opaque = whyOpaque(first.type);
  if (opaque !== undefined) return { known: false, reason: opaque };
  if (found.length > 1) {
    const names = found.map((info) => info.type).join(' and ');
    return { known: false, reason: `it is not clear what the part holds: there are signatures of ${names}` };
  }
  const reader = among.find(({ types }) => types.includes(first.type));
  if (reader === undefined) return { known: false, reason: `doppel cannot read which blocks of ${first.type} are in use` };
  return reader.usedBlocks(part);
}
