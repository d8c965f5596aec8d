/** The source's network configuration, which would compete with what doppel generates: archived, in whatever backend it is. */
import type { OverlayTree } from '../overlay.ts';
import { isMask } from '../units/files.ts';
import { interfacesFiles } from './backend.ts';
import { ifupdownFile } from './ifupdown.ts';
import { definesInterface, sourcesDirectory } from './interfaces-file.ts';
import { netplanDirectory } from './netplan.ts';
import { connectionsDirectory, ownConnection } from './network-manager.ts';
import { networkdDirectory, ownPrefix } from './networkd.ts';

export const interfacesFile = '/etc/network/interfaces';

/** @param own paths that are generated: an older one of ours that is not among them is removed. */
export async function archiveCompeting(
  tree: OverlayTree,
  own: ReadonlySet<string>,
  header: string,
  warn: (text: string) => void,
): Promise<void> {
  await networkd(tree, own);
  await netplan(tree, own);
  await ifupdown(tree, own, header);
  await networkManager(tree, own, warn);
  await sysconfig(tree);
  // Names that the source's MAC addresses were bound to.
  await tree.remove('/etc/udev/rules.d/70-persistent-net.rules');
}

async function files(tree: OverlayTree, directory: string): Promise<{ path: string; name: string; text: string }[]> {
  const found: { path: string; name: string; text: string }[] = [];
  for (const name of (await tree.list(directory)) ?? []) {
    const path = `${directory}/${name}`;
    // A link to /dev/null switches a vendor's file off, whatever the profile says.
    if ((await tree.stat(path))?.type !== 'file' || (await isMask(tree, path))) continue;
    found.push({ path, name, text: (await tree.readText(path)) ?? '' });
  }
  return found;
}

async function put(tree: OverlayTree, path: string, isOurs: boolean): Promise<void> {
  await (isOurs ? tree.remove(path) : tree.archive(path));
}

async function networkd(tree: OverlayTree, own: ReadonlySet<string>): Promise<void> {
  for (const directory of [networkdDirectory, '/usr/local/lib/systemd/network']) {
    for (const { path, name, text } of await files(tree, directory)) {
      if (own.has(path)) continue;
      const competes =
        (name.endsWith('.network') && !isLoopbackOnly(text)) ||
        name.endsWith('.netdev') ||
        // A .link without a name of its own sets a policy, and that is not the source's identity.
        (name.endsWith('.link') && /^\s*(Name|MACAddress)\s*=/m.test(sectionText(text, 'Link')));
      if (competes) await put(tree, path, directory === networkdDirectory && name.startsWith(ownPrefix));
    }
  }
}

function sectionText(text: string, name: string): string {
  return text
    .split(/^(?=\s*\[)/m)
    .filter((part) => part.trimStart().startsWith(`[${name}]`))
    .join('\n');
}

function isLoopbackOnly(text: string): boolean {
  const names = [...sectionText(text, 'Match').matchAll(/^\s*(?:Name|OriginalName)\s*=\s*(.*?)\s*$/gm)].map((match) => match[1]);
  return names.length > 0 && names.every((name) => name === 'lo');
}

async function netplan(tree: OverlayTree, own: ReadonlySet<string>): Promise<void> {
  for (const { path, name } of await files(tree, netplanDirectory)) {
    if (name.endsWith('.yaml') && !own.has(path)) await put(tree, path, name === '10-doppel.yaml');
  }
}

async function ifupdown(tree: OverlayTree, own: ReadonlySet<string>, header: string): Promise<void> {
  for (const path of await interfacesFiles(tree)) {
    if (own.has(path) || (await tree.stat(path))?.type !== 'file') continue;
    if (path === ifupdownFile) await tree.remove(path);
    else if (definesInterface((await tree.readText(path)) ?? '')) await tree.archive(path);
  }
  const main = await tree.readText(interfacesFile);
  const uses = own.has(ifupdownFile);
  if (main === undefined && !uses) return;
  if (main !== undefined && !definesInterface(main) && (!uses || sourcesDirectory(main))) return;
  if (main !== undefined) await tree.archive(interfacesFile);
  const loopback = 'source /etc/network/interfaces.d/*\n\nauto lo\niface lo inet loopback\n';
  await tree.write(interfacesFile, header + loopback, { mode: 0o644, uid: 0, gid: 0 });
}

/** Connections of these types configure what the profile configures; VPN, Wi-Fi and others stay. */
const wiredTypes = new Set(['ethernet', '802-3-ethernet', 'vlan', 'bond', 'bridge', 'team', '']);

async function networkManager(tree: OverlayTree, own: ReadonlySet<string>, warn: (text: string) => void): Promise<void> {
  for (const { path, name, text } of await files(tree, connectionsDirectory)) {
    if (own.has(path)) continue;
    const type = /^\s*type\s*=\s*(\S*)/m.exec(sectionText(text, 'connection'))?.[1] ?? '';
    if (wiredTypes.has(type)) await put(tree, path, name.startsWith(ownConnection));
    else if (type !== 'loopback') warn(`${path} (${type}) stays: its keys and addresses are the source's`);
  }
}

async function sysconfig(tree: OverlayTree): Promise<void> {
  for (const { path, name } of await files(tree, '/etc/sysconfig/network-scripts')) {
    if (/^(ifcfg|route6?|rule6?)-/.test(name) && name !== 'ifcfg-lo') await tree.archive(path);
  }
}
