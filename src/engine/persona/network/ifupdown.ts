/** ifupdown: stanzas of interfaces(5) in /etc/network/interfaces.d/doppel; names come from .link files. */
import { generatedHeader } from '../operations/types.ts';
import { destination, type Interface, isDefaultRoute, isIpv6, routeIsIpv6 } from './interfaces.ts';
import { renderLinks } from './networkd.ts';
import type { Renderer } from './render.ts';

export const ifupdownFile = '/etc/network/interfaces.d/doppel';

export const renderIfupdown: Renderer = (interfaces, bundle) => {
  const problems: { message: string; path: string[] }[] = [];
  const stanzas = interfaces.flatMap((one) => {
    if (one.device !== undefined) return [interfaceStanzas(one, one.device)];
    problems.push({
      message: `ifupdown configures interfaces by name: give ${one.id} a set-name, or match one name without wildcards`,
      path: ['ethernets', one.id, 'match'],
    });
    return [];
  });
  const content = generatedHeader(bundle) + stanzas.join('');
  return { files: [...renderLinks(interfaces, bundle), { path: ifupdownFile, content, mode: 0o644 }], problems };
};

function interfaceStanzas(one: Interface, device: string): string {
  const { config } = one;
  const families = [family(one, device, false), family(one, device, true)].flat();
  const stanzas = families.length > 0 ? families : [[`iface ${device} inet manual`]];
  const [first, ...others] = stanzas;
  const names = config.nameservers;
  const options = [
    ...deviceOptions(one),
    ...(config.mtu === undefined ? [] : [`mtu ${config.mtu}`]),
    ...(config.macaddress === undefined ? [] : [`hwaddress ether ${config.macaddress}`]),
    ...(names.addresses.length > 0 ? [`dns-nameservers ${names.addresses.join(' ')}`] : []),
    ...(names.search.length > 0 ? [`dns-search ${names.search.join(' ')}`] : []),
  ];
  const start = config.optional && one.kind === 'ethernet' ? 'allow-hotplug' : 'auto';
  const text = [[...(first ?? []), ...options], ...others].map(
    ([head, ...lines]) => `${head}\n${lines.map((line) => `    ${line}\n`).join('')}`,
  );
  return `\n${start} ${device}\n${text.join('')}`;
}

/** Stanzas of one address family: DHCP, then one per address; the gateway and the routes go to the first. */
function family(one: Interface, device: string, v6: boolean): string[][] {
  const { config } = one;
  const inet = v6 ? 'inet6' : 'inet';
  const addresses = config.addresses.filter((address) => isIpv6(address) === v6);
  const accept = v6 && config.acceptRa !== undefined ? [`accept_ra ${config.acceptRa ? 2 : 0}`] : [];
  const stanzas: string[][] = [];
  if (v6 ? config.dhcp6 : config.dhcp4) stanzas.push([`iface ${device} ${inet} dhcp`, ...accept]);
  for (const address of addresses) {
    stanzas.push([`iface ${device} ${inet} static`, `address ${address}`, ...(stanzas.length === 0 ? accept : [])]);
  }
  if (stanzas.length === 0 && v6 && config.acceptRa) stanzas.push([`iface ${device} inet6 auto`]);
  const routes = config.routes.filter((route) => routeIsIpv6(route) === v6);
  if (routes.length > 0 && stanzas.length === 0) stanzas.push([`iface ${device} ${inet} manual`]);
  // `gateway` is an option of static stanzas only, and knows no "on link".
  const isStatic = stanzas[0]?.[0]?.endsWith(' static') ?? false;
  const gateway = isStatic
    ? routes.find((route) => isDefaultRoute(route) && route.via !== undefined && !route.onLink)
    : undefined;
  if (gateway) {
    stanzas[0]?.push(`gateway ${gateway.via}`);
    if (gateway.metric !== undefined) stanzas[0]?.push(`metric ${gateway.metric}`);
  }
  for (const route of routes) {
    if (route === gateway) continue;
    const words = ['post-up ip', v6 ? '-6' : '-4', 'route replace', destination(route)];
    if (route.via !== undefined) words.push('via', route.via);
    words.push('dev', device);
    if (route.metric !== undefined) words.push('metric', String(route.metric));
    if (route.onLink) words.push('onlink');
    stanzas[0]?.push(words.join(' '));
  }
  return stanzas;
}

function deviceOptions(one: Interface): string[] {
  if (one.kind === 'vlan') return [`vlan-raw-device ${one.linkDevice}`, `vlan-id ${one.config.id}`];
  if (one.kind === 'bridge') {
    const ports = `bridge_ports ${one.members.length > 0 ? one.members.join(' ') : 'none'}`;
    return [ports, ...(one.config.stp === undefined ? [] : [`bridge_stp ${one.config.stp ? 'on' : 'off'}`])];
  }
  if (one.kind === 'bond') {
    const { mode, miimon, primary } = one.config;
    const first = primary === undefined ? undefined : one.members[one.config.interfaces.indexOf(primary)];
    return [
      `bond-slaves ${one.members.length > 0 ? one.members.join(' ') : 'none'}`,
      ...(mode === undefined ? [] : [`bond-mode ${mode}`]),
      ...(miimon === undefined ? [] : [`bond-miimon ${miimon}`]),
      ...(first === undefined ? [] : [`bond-primary ${first}`]),
    ];
  }
  return [];
}
