/** /etc/fstab of an image, and which of its lines means a given partition. Source: fstab(5), getmntent(3), systemd-udevd's link names. */
import type { FileSystemInfo, TableEntry } from './contract.ts';

export interface FstabEntry {
  /** First field, decoded: `UUID=...`, `/dev/disk/by-label/data`, `/dev/sda1`, `tmpfs`. */
  readonly spec: string;
  /** Without trailing or doubled slashes; `none` or `swap` for swap. */
  readonly mountPoint: string;
  readonly type: string;
  readonly options: readonly string[];
}

/** No real fstab comes near; a longer text is cut there. */
const maxLines = 10_000;

/**
 * Reads fstab text. Never throws: comments, blank lines and lines with less than two fields are left out, as mount(8) does. Octal escapes
 * (`\040` for a space) are decoded; a missing type is `auto`, missing options are `defaults`.
 */
export function parseFstab(text: string): FstabEntry[] {
  const entries: FstabEntry[] = [];
  for (const line of text.split('\n', maxLines)) {
    const trimmed = line.trim();
    if (trimmed === '' || trimmed.startsWith('#')) continue;
    const [spec, mountPoint, type, options] = trimmed.split(/[ \t\r]+/, 4);
    if (spec === undefined || mountPoint === undefined) continue;
    entries.push({
      spec: decodeOctal(spec),
      mountPoint: tidyPath(decodeOctal(mountPoint)),
      type: type ?? 'auto',
      options: decodeOctal(options ?? 'defaults').split(','),
    });
  }
  return entries;
}

/**
 * Where `fstab` mounts the partition, or undefined. Matched are UUID=, LABEL=, PARTUUID=, PARTLABEL= with and without quotes, and the
 * links of /dev/disk/by-uuid, by-label, by-partuuid, by-partlabel; kernel names as /dev/sda1 say nothing about another machine's disk.
 * A file system that is mounted several times (subvolumes) answers `/` if that is one of them, else the first.
 */
export function mountPointOf(
  entry: TableEntry,
  fs: FileSystemInfo | undefined,
  fstab: readonly FstabEntry[],
): string | undefined {
  const points = fstab.filter((line) => means(line.spec, entry, fs)).map((line) => line.mountPoint);
  return points.includes('/') ? '/' : points[0];
}

type Tag = 'UUID' | 'LABEL' | 'PARTUUID' | 'PARTLABEL';

function means(spec: string, entry: TableEntry, fs: FileSystemInfo | undefined): boolean {
  const named = tagOf(spec);
  if (!named || named.value === '') return false;
  switch (named.tag) {
    case 'UUID':
      return fs !== undefined && sameId(fs.uuid, named.value);
    case 'LABEL':
      return fs !== undefined && fs.label === named.value;
    case 'PARTUUID':
      return sameId(entry.guid, named.value);
    case 'PARTLABEL':
      return entry.name === named.value;
  }
}

function tagOf(spec: string): { tag: Tag; value: string } | undefined {
  const tagged = /^(UUID|LABEL|PARTUUID|PARTLABEL)=(.*)$/s.exec(spec);
  if (tagged) return { tag: tagged[1] as Tag, value: withoutQuotes(tagged[2] as string) };
  const link = /^\/dev\/disk\/by-(uuid|label|partuuid|partlabel)\/([^/]+)$/s.exec(spec);
  if (link) return { tag: (link[1] as string).toUpperCase() as Tag, value: decodeHex(link[2] as string) };
  return undefined;
}

function sameId(a: string, b: string): boolean {
  return a.toLowerCase() === b.toLowerCase();
}

function withoutQuotes(value: string): string {
  const quoted = /^(["'])(.*)\1$/s.exec(value);
  return quoted ? (quoted[2] as string) : value;
}

/** `\040` and the like, as getmntent writes them; the bytes are UTF-8. */
function decodeOctal(field: string): string {
  return field.replace(/(?:\\[0-3][0-7]{2})+/g, (escapes) => utf8(escapes.slice(1).split('\\'), 8));
}

/** `\x20` and the like, as udev names its links. */
function decodeHex(name: string): string {
  return name.replace(/(?:\\x[0-9a-f]{2})+/gi, (escapes) => utf8(escapes.slice(2).split(/\\x/i), 16));
}

function utf8(codes: readonly string[], radix: number): string {
  return new TextDecoder().decode(Uint8Array.from(codes, (code) => Number.parseInt(code, radix)));
}

function tidyPath(path: string): string {
  if (!path.startsWith('/')) return path;
  const parts = path.split('/').filter((part) => part !== '' && part !== '.');
  return `/${parts.join('/')}`;
}
