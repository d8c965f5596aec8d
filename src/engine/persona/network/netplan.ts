/** netplan: one YAML file, 0600 because netplan warns of anything wider (netplan-yaml, Netplan 0.105 and later). */
import { stringify } from 'yaml';
import { generatedHeader } from '../operations/types.ts';
import type { Interface } from './interfaces.ts';
import type { Renderer } from './render.ts';

export const netplanDirectory = '/etc/netplan';
export const netplanFile = `${netplanDirectory}/10-doppel.yaml`;

export const renderNetplan: Renderer = (interfaces, bundle) => {
  const groups = { ethernets: 'ethernet', bonds: 'bond', bridges: 'bridge', vlans: 'vlan' } as const;
  const network: Record<string, unknown> = { version: 2 };
  const renderer = bundle.resolved.network?.renderer;
  if (renderer) network.renderer = renderer;
  for (const [group, kind] of Object.entries(groups)) {
    const members = interfaces.filter((one) => one.kind === kind);
    if (members.length > 0) network[group] = Object.fromEntries(members.map((one) => [one.id, settings(one)]));
  }
  const content = generatedHeader(bundle) + stringify({ network }, { lineWidth: 0 });
  return { files: [{ path: netplanFile, content, mode: 0o600 }], problems: [] };
};

function settings(one: Interface): Record<string, unknown> {
  const { config } = one;
  const nameservers = {
    ...(config.nameservers.addresses.length > 0 ? { addresses: config.nameservers.addresses } : {}),
    ...(config.nameservers.search.length > 0 ? { search: config.nameservers.search } : {}),
  };
  const routes = config.routes.map(({ to, via, metric, onLink }) => ({
    to,
    ...(via === undefined ? { scope: 'link' } : { via }),
    ...(metric === undefined ? {} : { metric }),
    ...(onLink ? { 'on-link': true } : {}),
  }));
  return {
    ...own(one),
    ...(config.dhcp4 ? { dhcp4: true } : {}),
    ...(config.dhcp6 ? { dhcp6: true } : {}),
    ...(config.acceptRa === undefined ? {} : { 'accept-ra': config.acceptRa }),
    ...(config.addresses.length > 0 ? { addresses: config.addresses } : {}),
    ...(routes.length > 0 ? { routes } : {}),
    ...(Object.keys(nameservers).length > 0 ? { nameservers } : {}),
    ...(config.mtu === undefined ? {} : { mtu: config.mtu }),
    ...(config.macaddress === undefined ? {} : { macaddress: config.macaddress }),
    ...(config.optional ? { optional: true } : {}),
  };
}

function own(one: Interface): Record<string, unknown> {
  if (one.kind === 'ethernet') {
    const { match, setName } = one.config;
    return { ...(match ? { match } : {}), ...(setName === undefined ? {} : { 'set-name': setName }) };
  }
  if (one.kind === 'vlan') return { id: one.config.id, link: one.config.link };
  if (one.kind === 'bridge') {
    return {
      interfaces: one.config.interfaces,
      ...(one.config.stp === undefined ? {} : { parameters: { stp: one.config.stp } }),
    };
  }
  const { mode, primary, miimon } = one.config;
  const parameters = {
    ...(mode === undefined ? {} : { mode }),
    ...(primary === undefined ? {} : { primary }),
    ...(miimon === undefined ? {} : { 'mii-monitor-interval': miimon }),
  };
  return { interfaces: one.config.interfaces, ...(Object.keys(parameters).length > 0 ? { parameters } : {}) };
}
