/** Kernel modules of the role: loaded at boot, given options, kept from loading by themselves. */
import type { OverlayTree } from '../overlay.ts';
import { generatedHeader, type Operation } from './types.ts';

const loadFile = '/etc/modules-load.d/doppel.conf';
const optionsFile = '/etc/modprobe.d/doppel.conf';

export const drivers: Operation = {
  name: 'drivers',
  heading: 'Kernel modules to load, their options, and the blacklist',
  default: true,
  order: 500,
  touches: [loadFile, optionsFile],
  async plan(tree, { bundle, system, problem, warn }) {
    const { load, blacklist, options } = bundle.resolved.drivers;
    const wanted = [
      ...load.map((name, index) => ({ name, path: ['drivers', 'load', index], needed: true })),
      ...Object.keys(options).map((name) => ({ name, path: ['drivers', 'options', name], needed: true })),
      ...blacklist.map((name, index) => ({ name, path: ['drivers', 'blacklist', index], needed: false })),
    ];
    for (const { name, path } of wanted) {
      if (!/^[\w-]+$/.test(name)) {
        problem({ code: 'P005', message: `${JSON.stringify(name)} is no module name`, path });
        return;
      }
    }
    if (wanted.length > 0 && system.kernels.length === 0)
      warn('The target has no kernel modules in /lib/modules: drivers were not checked');
    for (const kernel of system.kernels) {
      if (wanted.length === 0) break;
      const known = await modulesOf(tree, kernel);
      for (const { name, path, needed } of wanted) {
        if (known(name)) continue;
        if (needed) problem({ code: 'E016', message: `the module ${name} is not in the target's kernel ${kernel}`, path });
        else warn(`The blacklisted module ${name} is not in the target's kernel ${kernel} anyway`);
      }
    }
    const lines: string[] = [];
    for (const [name, values] of Object.entries(options)) {
      const words = Object.entries(values).map(([key, value]) => optionWord(key, value));
      if (words.includes(undefined))
        problem({
          code: 'P005',
          message: `an option of ${name} has a name or value that modprobe.d cannot hold`,
          path: ['drivers', 'options', name],
        });
      else if (words.length > 0) lines.push(`options ${name} ${words.join(' ')}`);
    }
    lines.push(...blacklist.map((name) => `blacklist ${name}`));
    const header = generatedHeader(bundle);
    const changed = [await generated(tree, loadFile, header, load), await generated(tree, optionsFile, header, lines)];
    if (changed.includes(true))
      warn(
        'The initramfs keeps its own copy of the module settings until it is rebuilt (update-initramfs -u or dracut -f on the target)',
      );
  },
};

/** Writes a file of ours, or removes it when there is nothing to say. Answers whether that changes something. */
async function generated(tree: OverlayTree, path: string, header: string, lines: readonly string[]): Promise<boolean> {
  const old = await tree.readText(path);
  const text = lines.length > 0 ? `${header}${lines.join('\n')}\n` : undefined;
  if (text === undefined) await tree.remove(path);
  else await tree.write(path, text, { mode: 0o644, uid: 0, gid: 0, replaceLink: true });
  return old !== text;
}

function optionWord(key: string, value: string | number | boolean): string | undefined {
  const text = typeof value === 'boolean' ? (value ? '1' : '0') : String(value);
  if (!/^[\w.-]+$/.test(key) || /[\p{Cc}"]/u.test(text)) return undefined;
  return /\s/.test(text) ? `${key}="${text}"` : `${key}=${text}`;
}

/** What modprobe would find for a kernel: modules.dep, modules.builtin and modules.alias (modprobe(8)); "-" and "_" are one. */
async function modulesOf(tree: OverlayTree, kernel: string): Promise<(name: string) => boolean> {
  const directory = `/lib/modules/${kernel}`;
  const same = (name: string) => name.replaceAll('-', '_');
  const lines = async (file: string) => ((await tree.readText(`${directory}/${file}`, 'latin1')) ?? '').split('\n');
  const names = new Set<string>();
  for (const line of [...(await lines('modules.dep')), ...(await lines('modules.builtin'))]) {
    const match = /([^/]+)\.ko(?:\.\w+)?(?::|$)/.exec(line.split(':')[0] ?? '');
    if (match) names.add(same(match[1] ?? ''));
  }
  const patterns: RegExp[] = [];
  for (const line of await lines('modules.alias')) {
    const pattern = /^alias (\S+) /.exec(line)?.[1];
    // Aliases with a colon name devices: nobody writes those as a driver.
    if (pattern === undefined || pattern.includes(':')) continue;
    if (/[*?[]/.test(pattern)) patterns.push(globPattern(same(pattern)));
    else names.add(same(pattern));
  }
  return (name) => names.has(same(name)) || patterns.some((pattern) => pattern.test(same(name)));
}

function globPattern(glob: string): RegExp {
  return new RegExp(
    `^${glob
      .replace(/[.+^${}()|\\]/g, '\\$&')
      .replaceAll('*', '.*')
      .replaceAll('?', '.')}$`,
  );
}
