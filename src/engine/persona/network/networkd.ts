/** systemd-networkd: .link, .netdev and .network files (systemd.link(5), systemd.netdev(5), systemd.network(5); systemd 245 and later). */
import type { Bundle, EthernetConfig } from '../../profile/model.ts';
import { generatedHeader } from '../operations/types.ts';
import { destination, type Interface, isDefaultRoute } from './interfaces.ts';
import { type GeneratedFile, type Renderer, section } from './render.ts';

export const networkdDirectory = '/etc/systemd/network';
export const ownPrefix = '10-doppel-';

const file = (bundle: Bundle, id: string, suffix: string, body: string): GeneratedFile => ({
  path: `${networkdDirectory}/${ownPrefix}${id}.${suffix}`,
  content: generatedHeader(bundle) + body,
  mode: 0o644,
});

export const renderNetworkd: Renderer = (interfaces, bundle) => {
  const files = renderLinks(interfaces, bundle);
  for (const one of interfaces) {
    if (one.kind !== 'ethernet') files.push(file(bundle, one.id, 'netdev', netdev(one)));
    files.push(file(bundle, one.id, 'network', network(one)));
  }
  return { files, problems: [] };
};

/** udev reads .link files whatever configures the addresses: the other backends use them to name a device. */
export function renderLinks(interfaces: readonly Interface[], bundle: Bundle): GeneratedFile[] {
  return interfaces.flatMap((one) => {
    if (one.kind !== 'ethernet' || one.config.setName === undefined) return [];
    const link = section('Link', [
      ['Name', one.config.setName],
      ['MTUBytes', one.config.mtu],
    ]);
    return [file(bundle, one.id, 'link', section('Match', matchLines(one.id, one.config)) + link)];
  });
}

function matchLines(id: string, { match }: EthernetConfig): [string, string | undefined][] {
  if (!match || (match.macaddress === undefined && match.driver === undefined && match.name === undefined))
    return [['OriginalName', id]];
  return [
    // The permanent address: members of a bond change theirs, VLANs inherit it.
    ['PermanentMACAddress', match.macaddress],
    ['Driver', match.driver],
    ['OriginalName', match.name],
  ];
}

function netdev(one: Interface): string {
  const head = section('NetDev', [
    ['Name', one.id],
    ['Kind', one.kind],
    ['MTUBytes', one.config.mtu],
    ['MACAddress', one.config.macaddress],
  ]);
  if (one.kind === 'vlan') return head + section('VLAN', [['Id', one.config.id]]);
  if (one.kind === 'bridge') return head + section('Bridge', [['STP', yesNo(one.config.stp)]]);
  if (one.kind !== 'bond') return head;
  const { mode, miimon } = one.config;
  return (
    head +
    section('Bond', [
      ['Mode', mode],
      ['MIIMonitorSec', miimon === undefined ? undefined : `${miimon}ms`],
    ])
  );
}

function yesNo(value: boolean | undefined): string | undefined {
  return value === undefined ? undefined : value ? 'yes' : 'no';
}

function network(one: Interface): string {
  const { config } = one;
  const match: [string, string | undefined][] =
    one.kind === 'ethernet' && one.device === undefined
      ? matchLines(one.id, one.config).map(([key, value]) => [key === 'OriginalName' ? 'Name' : key, value])
      : [['Name', one.device]];
  const isMember = one.bond !== undefined || one.bridge !== undefined;
  const dhcp = config.dhcp4 ? (config.dhcp6 ? 'yes' : 'ipv4') : config.dhcp6 ? 'ipv6' : 'no';
  const lines: [string, string | number | undefined][] = [
    ['Bond', one.bond],
    ['PrimarySlave', one.primary ? 'yes' : undefined],
    ['Bridge', one.bridge],
    ...one.vlans.map((vlan): [string, string] => ['VLAN', vlan]),
    ['DHCP', isMember ? undefined : dhcp],
    ['LinkLocalAddressing', isMember ? 'no' : 'ipv6'],
    ['IPv6AcceptRA', yesNo(config.acceptRa)],
    ...config.addresses.map((address): [string, string] => ['Address', address]),
    ...config.nameservers.addresses.map((address): [string, string] => ['DNS', address]),
    ['Domains', config.nameservers.search.length > 0 ? config.nameservers.search.join(' ') : undefined],
    ['ConfigureWithoutCarrier', one.kind === 'bridge' && one.members.length === 0 ? 'yes' : undefined],
  ];
  const routes = config.routes.map((route) =>
    section('Route', [
      ['Destination', isDefaultRoute(route) && route.via !== undefined ? undefined : destination(route)],
      ['Gateway', route.via],
      ['Metric', route.metric],
      ['GatewayOnLink', route.onLink ? 'yes' : undefined],
      ['Scope', route.via === undefined ? 'link' : undefined],
    ]),
  );
  const link = section('Link', [
    ['RequiredForOnline', config.optional ? 'no' : undefined],
    ['MACAddress', one.kind === 'ethernet' ? config.macaddress : undefined],
    ['MTUBytes', one.kind === 'ethernet' ? config.mtu : undefined],
  ]);
  return section('Match', match) + link + section('Network', lines) + routes.join('');
}
