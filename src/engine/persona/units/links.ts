/**
 * Enabling, disabling and masking units of a system at rest by their links, with the results of `systemctl --root=`
 * (systemd 252; systemctl(1), systemd.unit(5) "[INSTALL] SECTION OPTIONS").
 */
import type { OverlayTree } from '../overlay.ts';
import { baseName } from '../trees/resolve.ts';
import {
  configDirectory,
  findUnit,
  type InstallSection,
  installSection,
  isMask,
  splitInstance,
  type UnitFile,
  unitName,
  withInstance,
} from './files.ts';

export type EnableResult =
  | { readonly done: true; readonly notes: readonly string[] }
  /** It cannot be done, and why. */
  | { readonly done: false; readonly reason: string };

/** Makes the links that [Install] asks for, for the unit and what its `Also=` names. */
export async function enableUnit(tree: OverlayTree, unit: UnitFile): Promise<EnableResult> {
  const notes: string[] = [];
  const waiting: UnitFile[] = [unit];
  const seen = new Set<string>();
  for (let next = waiting.shift(); next; next = waiting.shift()) {
    if (seen.has(next.name)) continue;
    seen.add(next.name);
    const install = await installSection(tree, next);
    const reason = await link(tree, next, install, next === unit ? notes : undefined);
    if (reason !== undefined) {
      if (next === unit) return { done: false, reason };
      notes.push(`${next.name}, which ${unit.name} names in Also=, was not enabled: ${reason}`);
    }
    for (const name of install.also) {
      const also = await findUnit(tree, unitName(name));
      if (!also) notes.push(`${name}, which ${next.name} names in Also=, is not in the target`);
      else if (!also.masked) waiting.push(also);
    }
  }
  return { done: true, notes };
}

async function link(tree: OverlayTree, unit: UnitFile, install: InstallSection, notes?: string[]): Promise<string | undefined> {
  const split = splitInstance(unit.name);
  const isTemplate = split?.instance === '';
  const name = isTemplate && install.defaultInstance !== undefined ? withInstance(unit.name, install.defaultInstance) : unit.name;
  const wants = [
    ...install.wantedBy.map((by) => `${unitName(by)}.wants`),
    ...install.requiredBy.map((by) => `${unitName(by)}.requires`),
    ...install.upheldBy.map((by) => `${unitName(by)}.upholds`),
  ];
  if (wants.length + install.alias.length + install.also.length === 0) {
    notes?.push(`${unit.name} has no [Install] section: it is started by what needs it, not by being enabled`);
  }
  if (isTemplate && install.defaultInstance === undefined && wants.length > 0) {
    return `${unit.name} is a template without DefaultInstance=; name an instance`;
  }
  for (const alias of install.alias) {
    const own = splitInstance(name)?.instance ?? '';
    const linkName = splitInstance(alias)?.instance === '' && own !== '' ? withInstance(alias, own) : alias;
    // An alias is never "itself": a template's default instance may be.
    if (linkName !== baseName(unit.path)) {
      const reason = await makeLink(tree, `${configDirectory}/${linkName}`, unit.path);
      if (reason) return reason;
    }
  }
  for (const directory of wants) {
    const reason = await makeLink(tree, `${configDirectory}/${directory}/${name}`, unit.path);
    if (reason) return reason;
  }
  return undefined;
}

/** Leaves a link alone that leads to the same unit by another spelling. */
async function makeLink(tree: OverlayTree, path: string, target: string): Promise<string | undefined> {
  const old = await tree.lstat(path);
  if (old?.type === 'symlink') {
    if ((await tree.realpath(path)) === (await tree.realpath(target))) return undefined;
    if (!path.slice(configDirectory.length + 1).includes('/') && (await tree.stat(path)) && !(await isMask(tree, path))) {
      return `${path} already leads to another unit (${await tree.readlink(path)})`;
    }
  } else if (old) return `${path} is in the way`;
  await tree.symlink(path, target);
  return undefined;
}

/** Removes every link below /etc/systemd/system that enables the unit, its instances and what its `Also=` names. */
export async function disableUnit(tree: OverlayTree, unit: UnitFile): Promise<void> {
  const marked = new Set<string>();
  const waiting: UnitFile[] = [unit];
  for (let next = waiting.shift(); next; next = waiting.shift()) {
    if (marked.has(next.name) || next.masked) continue;
    marked.add(next.name);
    for (const name of (await installSection(tree, next)).also) {
      const also = await findUnit(tree, unitName(name));
      if (also) waiting.push(also);
      else marked.add(unitName(name));
    }
  }
  // Removing an alias can leave a link to the alias behind: until nothing is found any more.
  while (await removeMarked(tree, configDirectory, marked)) {}
}

async function removeMarked(tree: OverlayTree, directory: string, marked: Set<string>): Promise<boolean> {
  let removed = false;
  for (const name of (await tree.list(directory)) ?? []) {
    const path = `${directory}/${name}`;
    const stat = await tree.lstat(path);
    if (stat?.type === 'directory') {
      if (directory === configDirectory && (await removeMarked(tree, path, marked))) removed = true;
      continue;
    }
    if (stat?.type !== 'symlink' || (directory === configDirectory && (await isMask(tree, path)))) continue;
    const target = await tree.realpath(path);
    const template = splitInstance(name)?.template;
    if (!marked.has(name) && !marked.has(baseName(target)) && !(template !== undefined && marked.has(template))) continue;
    await tree.remove(path);
    marked.add(name);
    removed = true;
  }
  return removed;
}

/** Links the unit to /dev/null; answers why it cannot be done. */
export async function maskUnit(tree: OverlayTree, name: string): Promise<string | undefined> {
  const path = `${configDirectory}/${name}`;
  if (await isMask(tree, path)) return undefined;
  if (await tree.lstat(path)) return `${path} is in the way of the link to /dev/null`;
  await tree.symlink(path, '/dev/null');
  return undefined;
}

/** Whether a link below /etc/systemd/system pulls the unit in. */
export async function isEnabled(tree: Pick<OverlayTree, 'list' | 'lstat'>, name: string): Promise<boolean> {
  for (const directory of (await tree.list(configDirectory)) ?? []) {
    if (!/\.(wants|requires|upholds)$/.test(directory)) continue;
    if (await tree.lstat(`${configDirectory}/${directory}/${name}`)) return true;
  }
  return false;
}
