/** Addresses, routes and names of the interfaces, in the form that the target's backend reads. */
import type { NetworkConfig } from '../../profile/model.ts';
import { backendUnits, hasNetplan, type NetworkBackend } from '../network/backend.ts';
import { archiveCompeting } from '../network/competing.ts';
import { renderIfupdown } from '../network/ifupdown.ts';
import { type Interface, interfacesOf } from '../network/interfaces.ts';
import { renderNetplan } from '../network/netplan.ts';
import { renderNetworkManager } from '../network/network-manager.ts';
import { renderNetworkd } from '../network/networkd.ts';
import type { Renderer } from '../network/render.ts';
import type { OverlayTree } from '../overlay.ts';
import { findUnit } from '../units/files.ts';
import { enableUnit, isEnabled } from '../units/links.ts';
import { generatedHeader, type Operation, type OperationContext } from './types.ts';

const renderers: Record<NetworkBackend, Renderer> = {
  netplan: renderNetplan,
  NetworkManager: renderNetworkManager,
  networkd: renderNetworkd,
  ifupdown: renderIfupdown,
};

const cloudInitSwitch = '/etc/cloud/cloud.cfg.d/99-disable-network-config.cfg';

export const network: Operation = {
  name: 'network',
  heading: 'Interfaces, addresses, routes and name servers',
  default: true,
  order: 200,
  touches: [
    '/etc/systemd/network/*',
    '/etc/netplan/*.yaml',
    '/etc/network/interfaces',
    '/etc/network/interfaces.d/*',
    '/etc/NetworkManager/system-connections/*',
    '/etc/sysconfig/network-scripts/ifcfg-*',
    '/etc/udev/rules.d/70-persistent-net.rules',
    cloudInitSwitch,
    '/etc/resolv.conf',
    '/var/lib/doppel/archive/**',
  ],
  async plan(tree, context) {
    const { bundle, system } = context;
    const config = bundle.resolved.network;
    if (!config) {
      context.warn(
        'The profile says nothing about the network: the addresses of the source remain, so the two must not share a network',
      );
      return;
    }
    const unwritable = unwritableText(config);
    if (unwritable) {
      context.problem({
        code: 'P005',
        message: `${JSON.stringify(unwritable.text)} cannot be written into a configuration file`,
        path: ['network', ...unwritable.path],
      });
      return;
    }
    const backend = await chooseBackend(tree, config, system.network);
    if (!backend) {
      context.problem({
        code: 'P004',
        message:
          'the target has no network configuration that doppel knows (netplan, NetworkManager, systemd-networkd, ifupdown)',
        path: ['network'],
      });
      return;
    }
    const interfaces = interfacesOf(config);
    const { files, problems } = renderers[backend](interfaces, bundle);
    for (const { message, path } of problems) context.problem({ code: 'P004', message, path: ['network', ...path] });
    const header = generatedHeader(bundle);
    for (const { path, content, mode } of files) await tree.write(path, content, { mode, uid: 0, gid: 0, replaceLink: true });
    // After ours are there, so that a run which was interrupted in between finds the same backend configured.
    await archiveCompeting(tree, new Set(files.map((file) => file.path)), header, context.warn);
    if (await tree.stat('/etc/cloud'))
      await tree.write(cloudInitSwitch, `${header}network: {config: disabled}\n`, { mode: 0o644 });
    await startAtBoot(tree, context, backend === 'netplan' ? (config.renderer ?? 'networkd') : backend);
    if (backend === 'ifupdown') await warnOfMissingHelpers(tree, interfaces, context);
    await nameServers(tree, context, backend, interfaces);
  },
};

async function chooseBackend(
  tree: OverlayTree,
  config: NetworkConfig,
  detected: NetworkBackend | undefined,
): Promise<NetworkBackend | undefined> {
  if (detected === 'netplan' || (await hasNetplan(tree))) return 'netplan';
  return config.renderer ?? detected;
}

async function startAtBoot(tree: OverlayTree, context: OperationContext, backend: keyof typeof backendUnits): Promise<void> {
  const name = backendUnits[backend];
  const unit = await findUnit(tree, name);
  if (!unit) {
    // Where ifupdown has only its script, an rcS.d link was what the detection saw.
    if (backend !== 'ifupdown')
      context.problem({
        code: 'E014',
        message: `${name}, which configures the network, is not in the target`,
        path: ['network', 'renderer'],
      });
    return;
  }
  if (unit.masked) {
    context.problem({
      code: 'P001',
      message: `${name}, which configures the network, is masked in the target (${unit.path})`,
      path: ['network', 'renderer'],
    });
    return;
  }
  if (await isEnabled(tree, name)) return;
  const result = await enableUnit(tree, unit);
  if (!result.done)
    context.problem({ code: 'P001', message: `${name} cannot be enabled: ${result.reason}`, path: ['network', 'renderer'] });
}

async function warnOfMissingHelpers(
  tree: OverlayTree,
  interfaces: readonly Interface[],
  context: OperationContext,
): Promise<void> {
  const helpers = { bond: ['ifenslave', '/sbin/ifenslave'], bridge: ['bridge-utils', '/sbin/brctl'] } as const;
  for (const [kind, [name, path]] of Object.entries(helpers)) {
    if (interfaces.some((one) => one.kind === kind) && !(await tree.stat(path))) {
      context.warn(`ifupdown needs the package ${name} for a ${kind}, and the target does not have it`);
    }
  }
}

/** networkd hands name servers to systemd-resolved and ifupdown to resolvconf; without these a plain /etc/resolv.conf is read. */
async function nameServers(
  tree: OverlayTree,
  { bundle }: OperationContext,
  backend: NetworkBackend,
  interfaces: readonly Interface[],
): Promise<void> {
  if (backend !== 'networkd' && backend !== 'ifupdown') return;
  const servers = [...new Set(interfaces.flatMap((one) => one.config.nameservers.addresses))];
  const search = [...new Set(interfaces.flatMap((one) => one.config.nameservers.search))];
  const stat = await tree.lstat('/etc/resolv.conf');
  if (servers.length === 0 || stat?.type === 'symlink') return;
  if (backend === 'ifupdown' && (await tree.stat('/sbin/resolvconf'))) return;
  const lines = [
    ...(search.length > 0 ? [`search ${search.join(' ')}`] : []),
    ...servers.map((server) => `nameserver ${server}`),
  ];
  await tree.write('/etc/resolv.conf', `${generatedHeader(bundle)}${lines.join('\n')}\n`, { mode: 0o644, uid: 0, gid: 0 });
}

/** The first text with a control character, or the first name that is no file name. */
function unwritableText(value: unknown, path: string[] = []): { text: string; path: string[] } | undefined {
  if (typeof value === 'string') return /\p{Cc}/u.test(value) ? { text: value, path } : undefined;
  if (typeof value !== 'object' || value === null) return undefined;
  for (const [key, inner] of Object.entries(value)) {
    if (!Array.isArray(value) && /[\p{Cc}\s/]/u.test(key)) return { text: key, path };
    const found = unwritableText(inner, [...path, key]);
    if (found) return found;
  }
  return undefined;
}
