/** What a renderer makes of a network configuration. */
import type { Bundle } from '../../profile/model.ts';
import type { Interface } from './interfaces.ts';

export interface GeneratedFile {
  readonly path: string;
  readonly content: string;
  /** Permission bits; the owner is root. */
  readonly mode: number;
}

export interface Rendered {
  readonly files: readonly GeneratedFile[];
  /** Settings that the backend cannot express; path below `network` in the profile. */
  readonly problems: readonly { readonly message: string; readonly path: readonly string[] }[];
}

export type Renderer = (interfaces: readonly Interface[], bundle: Bundle) => Rendered;

/** A section of an INI-like file; undefined values are left out, an empty section too. */
export function section(name: string, lines: readonly (readonly [string, string | number | undefined])[]): string {
  const set = lines.filter(([, value]) => value !== undefined);
  return set.length === 0 ? '' : `\n[${name}]\n${set.map(([key, value]) => `${key}=${value}\n`).join('')}`;
}
