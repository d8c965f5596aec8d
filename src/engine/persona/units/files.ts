/** Unit files of the target: where they are (systemd.unit(5), "UNIT FILE LOAD PATH") and what their [Install] section says. */
import type { ReadableTree } from '../tree.ts';
import { baseName } from '../trees/resolve.ts';

/** Where the administrator's links and units are. */
export const configDirectory = '/etc/systemd/system';

/** Highest precedence first; /run is empty in a system at rest. On a merged /usr the last two are one directory. */
export const unitDirectories = [
  configDirectory,
  '/usr/local/lib/systemd/system',
  '/lib/systemd/system',
  '/usr/lib/systemd/system',
] as const;

const suffixes = ['service', 'socket', 'target', 'timer', 'path', 'mount', 'automount', 'swap', 'slice', 'scope', 'device'];

export interface InstallSection {
  readonly alias: readonly string[];
  readonly wantedBy: readonly string[];
  readonly requiredBy: readonly string[];
  readonly upheldBy: readonly string[];
  readonly also: readonly string[];
  readonly defaultInstance?: string;
}

export interface UnitFile {
  /** As asked for, without the alias: `getty@tty1.service`. */
  readonly name: string;
  /** Path of the unit file, of the template for an instance. Not resolved: `/lib/systemd/system/ssh.service`. */
  readonly path: string;
  /** Path of the link to /dev/null that masks it; `vendor` when that is not in /etc. */
  readonly masked?: 'administrator' | 'vendor';
}

/** Adds `.service` to a name without a unit type, as systemctl does. */
export function unitName(name: string): string {
  return suffixes.includes(name.slice(name.lastIndexOf('.') + 1)) && name.includes('.') ? name : `${name}.service`;
}

/** `getty@tty1.service` -> `getty@.service`, `tty1`. A template has the instance ''. */
export function splitInstance(name: string): { readonly template: string; readonly instance: string } | undefined {
  const match = /^([^@]+)@(.*)(\.[^.]+)$/.exec(name);
  return match ? { template: `${match[1]}@${match[3]}`, instance: match[2] ?? '' } : undefined;
}

export function withInstance(template: string, instance: string): string {
  return template.replace(/@(\.[^.]+)$/, `@${instance}$1`);
}

/** Finds a unit by name, follows aliases, and sees masks. Undefined: no unit of that name. */
export async function findUnit(tree: ReadableTree, name: string): Promise<UnitFile | undefined> {
  const template = splitInstance(name);
  for (const candidate of template && template.instance !== '' ? [name, template.template] : [name]) {
    for (const directory of unitDirectories) {
      const path = `${directory}/${candidate}`;
      const stat = await tree.lstat(path);
      if (!stat) continue;
      if (await isMask(tree, path)) {
        const administrator = directory === configDirectory && candidate === name;
        return { name, path, masked: administrator ? 'administrator' : 'vendor' };
      }
      if (stat.type === 'file') return { name, path };
      const alias = stat.type === 'symlink' ? await aliasOf(tree, path, candidate, template?.instance ?? '') : undefined;
      if (alias) return alias;
    }
  }
  return undefined;
}

async function aliasOf(tree: ReadableTree, path: string, candidate: string, instance: string): Promise<UnitFile | undefined> {
  const real = await tree.realpath(path);
  if ((await tree.lstat(real))?.type !== 'file') return undefined;
  const realName = baseName(real);
  if (realName === candidate) return { name: candidate, path: real };
  const target = splitInstance(realName)?.instance === '' && instance !== '' ? withInstance(realName, instance) : realName;
  // Asked again by its real name, so that the path is spelled as systemctl spells it.
  return (await findUnit(tree, target)) ?? { name: target, path: real };
}

/** A link to /dev/null, or an empty file, masks a unit. */
export async function isMask(tree: ReadableTree, path: string): Promise<boolean> {
  const stat = await tree.lstat(path);
  if (stat?.type === 'symlink') return (await tree.readlink(path)) === '/dev/null' || (await tree.realpath(path)) === '/dev/null';
  return stat?.type === 'file' && stat.size === 0;
}

/** The unit whose `Alias=` names this one: `sshd` stays a name of `ssh.service` while that is disabled. */
export async function findByAlias(tree: ReadableTree, alias: string): Promise<UnitFile | undefined> {
  for (const directory of unitDirectories) {
    for (const name of (await tree.list(directory)) ?? []) {
      const path = `${directory}/${name}`;
      if ((await tree.lstat(path))?.type !== 'file' || (await tree.lstat(path))?.size === 0) continue;
      const content = await tree.read(path);
      if (!content || !Buffer.from(content).includes(alias)) continue;
      const unit = await findUnit(tree, name);
      if (unit && !unit.masked && (await installSection(tree, unit)).alias.includes(alias)) return unit;
    }
  }
  return undefined;
}

/** The [Install] section of a unit and its drop-ins, specifiers expanded. */
export async function installSection(tree: ReadableTree, unit: UnitFile): Promise<InstallSection> {
  const lists = new Map<string, string[]>();
  let defaultInstance: string | undefined;
  for (const path of [unit.path, ...(await dropIns(tree, unit.name))]) {
    const content = await tree.read(path);
    for (const [key, value] of installLines(content ? Buffer.from(content).toString('utf8') : '')) {
      if (key === 'DefaultInstance') defaultInstance = value === '' ? undefined : value;
      else if (value === '') lists.delete(key);
      else lists.set(key, [...(lists.get(key) ?? []), ...value.split(/\s+/).map((word) => word.replace(/^(["'])(.*)\1$/, '$2'))]);
    }
  }
  const split = splitInstance(unit.name);
  const name = split?.instance === '' && defaultInstance !== undefined ? withInstance(unit.name, defaultInstance) : unit.name;
  const list = (key: string): string[] => (lists.get(key) ?? []).map((word) => expandSpecifiers(word, name));
  return {
    alias: list('Alias'),
    wantedBy: list('WantedBy'),
    requiredBy: list('RequiredBy'),
    upheldBy: list('UpheldBy'),
    also: list('Also'),
    ...(defaultInstance === undefined ? {} : { defaultInstance }),
  };
}

async function dropIns(tree: ReadableTree, name: string): Promise<string[]> {
  const template = splitInstance(name)?.template;
  const found = new Map<string, string>();
  for (const unit of template && template !== name ? [name, template] : [name]) {
    for (const directory of unitDirectories) {
      for (const file of (await tree.list(`${directory}/${unit}.d`)) ?? []) {
        const path = `${directory}/${unit}.d/${file}`;
        if (file.endsWith('.conf') && !found.has(file)) found.set(file, path);
      }
    }
  }
  const paths: string[] = [];
  for (const [, path] of [...found].sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (!(await isMask(tree, path))) paths.push(path);
  }
  return paths;
}

function installLines(content: string): [string, string][] {
  const lines: [string, string][] = [];
  let section = '';
  for (const line of content.replace(/\\\r?\n/g, ' ').split(/\r?\n/)) {
    const text = line.trim();
    if (text === '' || text.startsWith('#') || text.startsWith(';')) continue;
    const header = /^\[(.*)\]$/.exec(text);
    const equals = text.indexOf('=');
    if (header) section = header[1] ?? '';
    else if (section === 'Install' && equals > 0) lines.push([text.slice(0, equals).trim(), text.slice(equals + 1).trim()]);
  }
  return lines;
}

/** The specifiers that name the unit itself (systemd.unit(5)); others depend on the running machine and stay. */
function expandSpecifiers(word: string, name: string): string {
  const split = splitInstance(name);
  const stem = name.slice(0, name.lastIndexOf('.'));
  const prefix = split ? name.slice(0, name.indexOf('@')) : stem;
  const values: Record<string, string> = {
    n: name,
    N: stem,
    p: prefix,
    i: split?.instance ?? '',
    j: prefix.slice(prefix.lastIndexOf('-') + 1),
    '%': '%',
  };
  return word.replace(/%(.)/g, (all, letter: string) => values[letter] ?? all);
}
