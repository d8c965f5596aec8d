/**
 * Files of a system that name its disk and partitions by id (PARTUUID), and what they shall say when the ids are others. Exact
 * strings are replaced in a fixed list of places; what cannot be rewritten is told by name.
 */
import { bytes } from './overlay.ts';
import type { Change, ReadableTree } from './tree.ts';

export interface IdChange {
  readonly from: string;
  readonly to: string;
}

export interface IdReferrers {
  readonly changes: readonly Change[];
  /** Files that name an old id and that we cannot rewrite. */
  readonly stuck: readonly string[];
  /** Files that could not be looked into. */
  readonly unread: readonly string[];
}

/** Below a place where boot loaders keep their files: the ESP, /boot. */
const loaderFiles = [
  'loader/entries/*.conf',
  'loader/loader.conf',
  'grub/grub.cfg',
  'grub/custom.cfg',
  'grub/grubenv',
  'grub2/grub.cfg',
  'grub2/custom.cfg',
  'grub2/grubenv',
  'EFI/*/grub.cfg',
  'EFI/refind/refind.conf',
  'refind_linux.conf',
  'extlinux/extlinux.conf',
  'extlinux.conf',
  'syslinux/syslinux.cfg',
  'cmdline.txt',
  'uEnv.txt',
  'armbianEnv.txt',
  'boot.cmd',
];
/** Sealed: a checksum or signature covers the text. */
const sealedFiles = ['EFI/Linux/*.efi', 'boot.scr'];
const loaderPlaces = ['/boot', '/boot/efi', '/boot/firmware', '/efi'];

/** Places of a system that may name partitions by id, for the documentation. */
export const idReferrers: readonly string[] = [
  '/etc/fstab',
  '/etc/crypttab',
  '/etc/default/grub',
  '/etc/default/grub.d/*.cfg',
  '/etc/default/u-boot',
  '/etc/kernel/cmdline',
  '/etc/cmdline.d/*.conf',
  '/etc/dracut.conf',
  '/etc/dracut.conf.d/*.conf',
  '/etc/initramfs-tools/conf.d/*',
  '/etc/systemd/system/*.mount',
  '/etc/systemd/system/*.automount',
  '/etc/systemd/system/*.swap',
  '/etc/systemd/system/*.service',
  '/etc/lilo.conf',
  ...loaderPlaces.flatMap((place) => loaderFiles.map((file) => `${place}/${file}`)),
];
/** On an EFI system partition that no fstab mounts. */
export const espReferrers: readonly string[] = loaderFiles.map((file) => `/${file}`);

const largest = 16 * 1024 * 1024;

/** Looks through a system's files; with `onEsp` through those of a bare EFI system partition. Writes nothing. */
export async function findIdReferrers(
  tree: ReadableTree,
  ids: readonly IdChange[],
  { onEsp = false } = {},
): Promise<IdReferrers> {
  const replace = replacer(ids);
  const changes = new Map<string, Change>();
  const stuck: string[] = [];
  const unread: string[] = [];
  const sealed = (onEsp ? [''] : loaderPlaces).flatMap((place) => sealedFiles.map((file) => `${place}/${file}`));
  const texts = onEsp ? espReferrers : idReferrers;
  for (const pattern of [...texts, ...sealed]) {
    for (const found of await expand(tree, pattern)) {
      const path = await tree.realpath(found);
      const stat = await tree.lstat(path);
      if (stat?.type !== 'file' || changes.has(path)) continue;
      if (stat.size > largest) {
        unread.push(path);
        continue;
      }
      const content = await tree.read(path);
      if (content === undefined) continue;
      const before = Buffer.from(content).toString('latin1');
      const after = replace(before);
      if (after === before) continue;
      if (sealed.includes(pattern)) {
        stuck.push(path);
        continue;
      }
      const { mode, uid, gid } = stat;
      changes.set(path, {
        path,
        before: { type: 'file', content, mode, uid, gid },
        after: { type: 'file', content: bytes(after), mode, uid, gid },
        operation: 'partition-ids',
        secret: false,
      });
    }
  }
  return { changes: [...changes.values()], stuck, unread: [...new Set(unread)] };
}

/**
 * All ids at once, so that an id that becomes another old one is not replaced twice; in either case of letters, and as systemd escapes
 * them in the names of units. Each keeps its length.
 */
export function replacer(ids: readonly IdChange[]): (text: string) => string {
  const byId = new Map(ids.map(({ from, to }) => [from.toLowerCase(), to]));
  if (byId.size === 0) return (text) => text;
  const dash = '(?:-|\\\\x2d)';
  const any = [...byId.keys()].map((id) => id.replaceAll('-', dash)).join('|');
  const pattern = new RegExp(`(?<![0-9a-f])(?<![0-9a-f]{4}-)(?:${any})(?![0-9a-f])(?!-[0-9a-f]{4})`, 'gi');
  return (text) =>
    text.replace(pattern, (match) => {
      const to = byId.get(match.toLowerCase().replaceAll('\\x2d', '-')) ?? match;
      const plain = match.replaceAll('\\x2d', '');
      const cased = plain === plain.toUpperCase() && plain !== plain.toLowerCase() ? to.toUpperCase() : to.toLowerCase();
      return match.includes('\\x2d') ? cased.replaceAll('-', '\\x2d') : cased;
    });
}

async function expand(tree: ReadableTree, pattern: string): Promise<string[]> {
  let paths = [''];
  for (const component of pattern.split('/').slice(1)) {
    const next: string[] = [];
    for (const path of paths) {
      if (!component.includes('*')) next.push(`${path}/${component}`);
      else if ((await kindOf(tree, path)) === 'directory') {
        const [head = '', tail = ''] = component.split('*');
        const names = (await tree.list(path)) ?? [];
        next.push(
          ...names
            .filter((name) => name.startsWith(head) && name.endsWith(tail) && name.length >= component.length - 1)
            .map((name) => `${path}/${name}`),
        );
      }
    }
    paths = next;
  }
  return paths;
}

async function kindOf(tree: ReadableTree, path: string): Promise<string | undefined> {
  return (await tree.lstat(await tree.realpath(path === '' ? '/' : path)))?.type;
}
