/**
 * Whether a btrfs holds a system's root, as the names in its top directory tell; for where it cannot be mounted.
 * Format: btrfs documentation, "On-disk format", sections "ROOT_ITEM" and "DIR_INDEX". Names of subvolumes as the installers of
 * Ubuntu, openSUSE, Arch Linux (`@`), Debian (`@rootfs`) and Fedora (`root`) give them.
 */
import type { ImageSource } from '../../image/contract.ts';
import { parseSuperblock, readRawSuperblock, type TreeRoot } from './btrfs/superblock.ts';
import { TreeReader } from './btrfs/tree.ts';
import { readChunks } from './btrfs.ts';
import { NotMappableError, u64le } from './bytes.ts';

/** The tree of the top-level subvolume, and its root directory. */
const topTree = 5;
const topDirectory = 256;
const rootItem = 132;
const dirIndex = 96;
const rootSubvolumes: ReadonlySet<string> = new Set(['@', '@rootfs', '@root', 'root']);

/**
 * True when the top directory has a subvolume of a usual name for a root, or itself has /etc and /usr. False too when the file system
 * is not clean, spans devices or cannot be followed. Throws only for I/O errors.
 */
export async function holdsRoot(part: ImageSource): Promise<boolean> {
  try {
    const { subvolumes, others } = await topLevel(part);
    return [...subvolumes].some((name) => rootSubvolumes.has(name)) || (others.has('etc') && others.has('usr'));
  } catch (error) {
    if (error instanceof NotMappableError) return false;
    throw error;
  }
}

interface TopLevel {
  readonly subvolumes: ReadonlySet<string>;
  readonly others: ReadonlySet<string>;
}

async function topLevel(part: ImageSource): Promise<TopLevel> {
  const [subvolumes, others] = [new Set<string>(), new Set<string>()];
  const raw = await readRawSuperblock(part);
  if (raw === undefined) return { subvolumes, others };
  const sb = parseSuperblock(raw, part);
  const { chunks } = await readChunks(part, sb);
  const trees = new TreeReader(part, sb, chunks);
  let top: TreeRoot | undefined;
  await trees.walk(sb.rootTree, topTree, topTree + 1, (leaf, key, data, size) => {
    if (leaf[key + 8] !== rootItem || size < 239) return;
    top = {
      address: u64le(leaf, data + 176),
      level: leaf[data + 238] as number,
      generation: u64le(leaf, data + 160),
      owner: topTree,
    };
  });
  if (top === undefined) return { subvolumes, others };
  await trees.walk(top, topDirectory, topDirectory + 1, (leaf, key, data, size) => {
    // A directory may hold millions; what a root is known by stands among its first.
    if (leaf[key + 8] !== dirIndex || size < 30 || subvolumes.size + others.size >= 1000) return;
    const name = leaf.toString('utf8', data + 30, data + Math.min(size, 30 + leaf.readUInt16LE(data + 27)));
    // The key that the entry points to: a subvolume's root item, or an inode.
    (leaf[data + 8] === rootItem ? subvolumes : others).add(name);
  });
  return { subvolumes, others };
}
