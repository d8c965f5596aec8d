/**
 * Which of the network configuration systems of a target is in charge.
 *
 * First hit wins:
 * 1. netplan, where it is installed: it generates the others' configuration;
 * 2. what is enabled and has configuration for an interface: NetworkManager, systemd-networkd, ifupdown;
 * 3. what is enabled: NetworkManager, systemd-networkd, ifupdown;
 * 4. what is installed: systemd-networkd, NetworkManager, ifupdown.
 */
import type { ReadableTree } from '../tree.ts';
import { isMask, unitDirectories } from '../units/files.ts';
import { isEnabled } from '../units/links.ts';
import { definesInterface } from './interfaces-file.ts';

export type NetworkBackend = 'netplan' | 'NetworkManager' | 'networkd' | 'ifupdown';

/** Name of the unit that does a backend's work at boot; netplan's works are done by its renderer. */
export const backendUnits = {
  NetworkManager: 'NetworkManager.service',
  networkd: 'systemd-networkd.service',
  ifupdown: 'networking.service',
} as const;

export async function detectNetworkBackend(tree: ReadableTree): Promise<NetworkBackend | undefined> {
  if (await hasNetplan(tree)) return 'netplan';
  const facts = [await look(tree, 'NetworkManager'), await look(tree, 'networkd'), await look(tree, 'ifupdown')];
  const hit = facts.find((f) => f.enabled && f.configured) ?? facts.find((f) => f.enabled);
  if (hit) return hit.backend;
  return (['networkd', 'NetworkManager', 'ifupdown'] as const).find((name) =>
    facts.some((f) => f.backend === name && f.installed),
  );
}

export async function hasNetplan(tree: ReadableTree): Promise<boolean> {
  for (const tool of ['/usr/sbin/netplan', '/usr/libexec/netplan/generate', '/lib/netplan/generate']) {
    if (await exists(tree, tool)) return true;
  }
  return false;
}

async function look(tree: ReadableTree, backend: keyof typeof backendUnits) {
  const unit = backendUnits[backend];
  let installed = false;
  for (const directory of unitDirectories) installed ||= await exists(tree, `${directory}/${unit}`);
  installed ||= backend === 'ifupdown' && (await exists(tree, '/sbin/ifup'));
  const masked = await isMask(tree, `/etc/systemd/system/${unit}`);
  const enabled =
    installed && !masked && ((await isEnabled(tree, unit)) || (backend === 'ifupdown' && (await startsBySysv(tree))));
  return { backend, installed, enabled, configured: enabled && (await isConfigured(tree, backend)) };
}

async function startsBySysv(tree: ReadableTree): Promise<boolean> {
  return ((await tree.list('/etc/rcS.d')) ?? []).some((name) => /^S\d\dnetworking$/.test(name));
}

async function isConfigured(tree: ReadableTree, backend: keyof typeof backendUnits): Promise<boolean> {
  if (backend === 'NetworkManager') {
    return ((await tree.list('/etc/NetworkManager/system-connections'))?.length ?? 0) > 0;
  }
  if (backend === 'networkd') return ((await tree.list('/etc/systemd/network')) ?? []).some((name) => name.endsWith('.network'));
  for (const path of ['/etc/network/interfaces', ...(await interfacesFiles(tree))]) {
    const content = (await tree.lstat(await tree.realpath(path)))?.type === 'file' ? await tree.read(path) : undefined;
    if (content && definesInterface(Buffer.from(content).toString('utf8'))) return true;
  }
  return false;
}

/** Paths below interfaces.d. */
export async function interfacesFiles(tree: ReadableTree): Promise<string[]> {
  return ((await tree.list('/etc/network/interfaces.d')) ?? []).map((name) => `/etc/network/interfaces.d/${name}`);
}

async function exists(tree: ReadableTree, path: string): Promise<boolean> {
  return (await tree.lstat(await tree.realpath(path))) !== undefined;
}
