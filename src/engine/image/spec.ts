/**
 * What the user may name as a source or target: a path; the URI of an NBD server (nbd://, nbds://, nbd+unix://, ...) or of an archive in
 * a registry (oci://); each of them with `#PART` behind it. A file whose name itself has a `#` is that file.
 */
import { stat } from 'node:fs/promises';
import { ImageIoError, NoSuchPartError } from './errors.ts';
import { isMissing } from './sysfs.ts';

/** A part of a disk: by its number, by name (of the partition, or of the file system on it), or by a UUID. */
export type PartSelector =
  | { readonly by: 'number'; readonly number: number; readonly text: string }
  | { readonly by: 'label' | 'uuid' | 'partuuid'; readonly value: string; readonly text: string };

export interface ImageSpec {
  /** As the user wrote it. */
  readonly text: string;
  readonly base: { readonly kind: 'path'; readonly path: string } | { readonly kind: 'nbd' | 'registry'; readonly uri: string };
  readonly part?: PartSelector;
}

const nbdUri = /^nbds?(\+(unix|vsock))?:\/\//;

/** Whether the name is that of an archive in a registry. */
export function isRegistryName(text: string): boolean {
  return /^oci:\/\//i.test(text);
}

/** @throws NoSuchPartError when what follows `#` names no part; ImageIoError */
export async function parseSpec(text: string): Promise<ImageSpec> {
  const kind = nbdUri.test(text) ? 'nbd' : isRegistryName(text) ? 'registry' : 'path';
  if (kind !== 'path') {
    const hash = text.indexOf('#');
    if (hash < 0) return { text, base: { kind, uri: text } };
    return { text, base: { kind, uri: text.slice(0, hash) }, part: parsePart(text, text.slice(hash + 1)) };
  }
  const hash = text.lastIndexOf('#');
  const whole: ImageSpec = { text, base: { kind: 'path', path: text } };
  if (hash <= 0 || (await exists(text)) || !(await exists(text.slice(0, hash)))) return whole;
  return { text, base: { kind: 'path', path: text.slice(0, hash) }, part: parsePart(text, text.slice(hash + 1)) };
}

function parsePart(image: string, text: string): PartSelector {
  if (/^[1-9][0-9]{0,3}$/.test(text)) return { by: 'number', number: Number(text), text };
  const [, by, value] = /^(label|uuid|partuuid)=(.+)$/i.exec(text) ?? [];
  if (by === undefined || value === undefined) {
    const why = `"#${text}" names no part: write #NUMBER, #label=NAME, #uuid=UUID or #partuuid=UUID`;
    throw new NoSuchPartError(image, text, why, []);
  }
  return { by: by.toLowerCase() as 'label' | 'uuid' | 'partuuid', value, text };
}

/** @throws ImageIoError when nobody may look */
export async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (cause) {
    if (isMissing(cause)) return false;
    throw new ImageIoError(path, 'open', { cause });
  }
}
