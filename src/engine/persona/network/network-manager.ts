/** NetworkManager: keyfiles (nm-settings-keyfile(5)), 0600 because it ignores anything wider; names come from .link files. */
import { createHash } from 'node:crypto';
import type { Bundle } from '../../profile/model.ts';
import { generatedHeader } from '../operations/types.ts';
import { destination, type Interface, isDefaultRoute, isIpv6, routeIsIpv6 } from './interfaces.ts';
import { renderLinks } from './networkd.ts';
import { type GeneratedFile, type Renderer, section } from './render.ts';

export const connectionsDirectory = '/etc/NetworkManager/system-connections';
export const ownConnection = 'doppel-';

type Line = [string, string | number | undefined];

export const renderNetworkManager: Renderer = (interfaces, bundle) => ({
  files: [...renderLinks(interfaces, bundle), ...interfaces.map((one) => keyfile(one, bundle))],
  problems: interfaces.flatMap((one) => {
    const lost = one.config.nameservers.addresses.filter((address) => {
      const v6 = isIpv6(address);
      const has = one.config.addresses.some((own) => isIpv6(own) === v6);
      return ['disabled', 'link-local'].includes(method(one.config, v6, has));
    });
    if (lost.length === 0) return [];
    const message = `NetworkManager takes no name server of an address family that ${one.id} has no address of: ${lost.join(', ')}`;
    return [{ message, path: [`${one.kind}s`, one.id, 'nameservers', 'addresses'] }];
  }),
});

function keyfile(one: Interface, bundle: Bundle): GeneratedFile {
  const { config } = one;
  const match = one.kind === 'ethernet' ? one.config.match : undefined;
  const isMember = one.bond !== undefined || one.bridge !== undefined;
  const name = `${ownConnection}${one.id}`;
  const body = [
    section('connection', [
      ['id', name],
      ['uuid', connectionUuid(bundle.targetId, one.id)],
      ['type', one.kind],
      ['interface-name', one.device],
      ['master', one.bond ?? one.bridge],
      ['slave-type', one.bond !== undefined ? 'bond' : one.bridge !== undefined ? 'bridge' : undefined],
    ]),
    section('match', [
      ['interface-name', one.device === undefined ? match?.name : undefined],
      ['driver', one.device === undefined ? match?.driver : undefined],
    ]),
    section('ethernet', [
      ['mac-address', one.device === undefined ? match?.macaddress : undefined],
      ['cloned-mac-address', config.macaddress],
      ['mtu', config.mtu],
    ]),
    kindSection(one),
    ...(isMember ? [] : [ipSection(one, false), ipSection(one, true)]),
  ];
  const content = generatedHeader(bundle) + body.join('');
  return { path: `${connectionsDirectory}/${name}.nmconnection`, content, mode: 0o600 };
}

function kindSection(one: Interface): string {
  if (one.kind === 'vlan') {
    const lines: Line[] = [
      ['id', one.config.id],
      ['parent', one.linkDevice],
    ];
    return section('vlan', lines);
  }
  if (one.kind === 'bridge')
    return section('bridge', [['stp', one.config.stp === undefined ? undefined : String(one.config.stp)]]);
  if (one.kind !== 'bond') return '';
  const { mode, miimon, primary, interfaces } = one.config;
  return section('bond', [
    ['mode', mode],
    ['miimon', miimon],
    ['primary', primary === undefined ? undefined : (one.members[interfaces.indexOf(primary)] ?? primary)],
  ]);
}

function ipSection({ config }: Interface, v6: boolean): string {
  const addresses = config.addresses.filter((address) => isIpv6(address) === v6);
  const routes = config.routes.filter((route) => routeIsIpv6(route) === v6);
  const gateway = routes.find(
    (route) => isDefaultRoute(route) && route.via !== undefined && route.metric === undefined && !route.onLink,
  );
  const useGateway = addresses.length > 0 ? gateway : undefined;
  const how = method(config, v6, addresses.length > 0);
  const lines: Line[] = [['method', how]];
  addresses.forEach((address, index) => {
    lines.push([`address${index + 1}`, address]);
  });
  lines.push(['gateway', useGateway?.via]);
  routes
    .filter((route) => route !== useGateway)
    .forEach((route, index) => {
      const fields = [
        destination(route),
        route.via ?? (route.metric === undefined ? undefined : v6 ? '::' : '0.0.0.0'),
        route.metric,
      ];
      lines.push([`route${index + 1}`, fields.filter((field) => field !== undefined).join(',')]);
      if (route.onLink) lines.push([`route${index + 1}_options`, 'onlink=true']);
    });
  // A connection with name servers in a family that has no addresses is rejected as a whole.
  if (how !== 'disabled' && how !== 'link-local') {
    const dns = config.nameservers.addresses.filter((address) => isIpv6(address) === v6);
    if (dns.length > 0) lines.push(['dns', `${dns.join(';')};`]);
    if (config.nameservers.search.length > 0) lines.push(['dns-search', `${config.nameservers.search.join(';')};`]);
  }
  if (config.optional) lines.push(['may-fail', 'true']);
  return section(v6 ? 'ipv6' : 'ipv4', lines);
}

function method(config: Interface['config'], v6: boolean, hasAddress: boolean): string {
  if (!v6) return config.dhcp4 ? 'auto' : hasAddress ? 'manual' : 'disabled';
  if (config.acceptRa !== false && (config.acceptRa || config.dhcp6)) return 'auto';
  if (config.dhcp6) return 'dhcp';
  return hasAddress ? 'manual' : 'link-local';
}

/** The same target and interface always give the same UUID (RFC 9562, version 8 from SHA-256). */
export function connectionUuid(targetId: string, id: string): string {
  const digest = createHash('sha256').update(`doppel connection\0${targetId}\0${id}`).digest().subarray(0, 16);
  digest.writeUInt8((digest.readUInt8(6) & 0x0f) | 0x80, 6);
  digest.writeUInt8((digest.readUInt8(8) & 0x3f) | 0x80, 8);
  return digest.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
