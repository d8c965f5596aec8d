/** From the checked document to the profile that the engine works with: defaults filled in, names and routes normalised. */
import { isDefault, parseCidr, parseMac } from './addresses.ts';
import { normalizePermissions, normalizeUnit } from './checks.ts';
import {
  apiVersion,
  type InterfaceConfig,
  type NetworkConfig,
  type ResolvedProfile,
  type RouteConfig,
  sshKeyTypes,
} from './model.ts';
import type { InterfaceInput, NetworkInput } from './network-schema.ts';
import type { ProfileInput } from './schema.ts';

/** `input` has passed every check and has the role's settings merged in; `host` is set. */
export function buildProfile(input: ProfileInput, host: string): ResolvedProfile {
  const { identity } = input;
  return {
    apiVersion,
    host,
    identity: {
      hostname: identity?.hostname ?? host,
      ...(identity?.fqdn === undefined ? {} : { fqdn: identity.fqdn }),
      machineId: identity?.machineId ?? 'generate',
      sshHostKeys: {
        mode: identity?.sshHostKeys?.mode ?? 'generate',
        types: unique(identity?.sshHostKeys?.types ?? sshKeyTypes),
      },
    },
    ...(input.network === undefined ? {} : { network: buildNetwork(input.network) }),
    ...(input.role === undefined ? {} : { role: input.role }),
    ...(input.target === undefined ? {} : { target: normalizeUnit(input.target, '.target') }),
    services: {
      enable: units(input.services?.enable),
      disable: units(input.services?.disable),
      mask: units(input.services?.mask),
    },
    drivers: {
      load: unique(input.drivers?.load ?? []),
      blacklist: unique(input.drivers?.blacklist ?? []),
      options: input.drivers?.options ?? {},
    },
    users: (input.users ?? []).map((user) => ({ name: user.name, hashedPassword: plainText(user.hashed_passwd) })),
    writeFiles: (input.write_files ?? []).map((file) => ({
      path: file.path,
      owner: file.owner ?? 'root:root',
      permissions: normalizePermissions(file.permissions ?? '0644'),
      content: plainText(file.content),
    })),
  };
}

/** As an ordinary object, so that it equals the one that comes back from a bundle. */
function plainText(value: string | { readonly secret: string }): string | { readonly secret: string } {
  return typeof value === 'string' ? value : { secret: value.secret };
}

function unique<Item>(list: readonly Item[]): Item[] {
  return [...new Set(list)];
}

function units(names: readonly string[] | undefined): string[] {
  return unique((names ?? []).map((name) => normalizeUnit(name)));
}

export function buildNetwork(input: NetworkInput): NetworkConfig {
  return {
    version: 2,
    ...(input.renderer === undefined ? {} : { renderer: input.renderer }),
    ethernets: mapValues(input.ethernets, (settings) => ({
      ...common(settings),
      ...(settings.match === undefined ? {} : { match: matchOf(settings.match) }),
      ...(settings['set-name'] === undefined ? {} : { setName: settings['set-name'] }),
    })),
    vlans: mapValues(input.vlans, (settings) => ({ ...common(settings), id: settings.id, link: settings.link })),
    bonds: mapValues(input.bonds, (settings) => {
      const { mode, primary, 'mii-monitor-interval': miimon } = settings.parameters ?? {};
      return {
        ...common(settings),
        interfaces: settings.interfaces ?? [],
        ...(mode === undefined ? {} : { mode }),
        ...(primary === undefined ? {} : { primary }),
        ...(miimon === undefined ? {} : { miimon }),
      };
    }),
    bridges: mapValues(input.bridges, (settings) => ({
      ...common(settings),
      interfaces: settings.interfaces ?? [],
      ...(settings.parameters?.stp === undefined ? {} : { stp: settings.parameters.stp }),
    })),
  };
}

function mapValues<In, Out>(map: Readonly<Record<string, In>> | undefined, convert: (value: In) => Out): Record<string, Out> {
  return Object.fromEntries(Object.entries(map ?? {}).map(([key, value]) => [key, convert(value)]));
}

function matchOf(match: { macaddress?: string | undefined; name?: string | undefined; driver?: string | undefined }) {
  return {
    ...(match.macaddress === undefined ? {} : { macaddress: normalMac(match.macaddress) }),
    ...(match.name === undefined ? {} : { name: match.name }),
    ...(match.driver === undefined ? {} : { driver: match.driver }),
  };
}

const normalMac = (mac: string) => parseMac(mac) ?? mac;

function common(settings: InterfaceInput): InterfaceConfig {
  const gateways = [settings.gateway4, settings.gateway6].filter((gateway) => gateway !== undefined);
  return {
    dhcp4: settings.dhcp4 ?? false,
    dhcp6: settings.dhcp6 ?? false,
    addresses: settings.addresses ?? [],
    routes: [
      ...gateways.map((via): RouteConfig => ({ to: 'default', via, onLink: false })),
      ...(settings.routes ?? []).map(buildRoute),
    ],
    nameservers: { addresses: settings.nameservers?.addresses ?? [], search: settings.nameservers?.search ?? [] },
    ...(settings.mtu === undefined ? {} : { mtu: settings.mtu }),
    ...(settings.macaddress === undefined ? {} : { macaddress: normalMac(settings.macaddress) }),
    optional: settings.optional ?? false,
    ...(settings['accept-ra'] === undefined ? {} : { acceptRa: settings['accept-ra'] }),
  };
}

type RouteInput = NonNullable<InterfaceInput['routes']>[number];

function buildRoute(route: RouteInput): RouteConfig {
  const network = parseCidr(route.to);
  return {
    to: network !== undefined && isDefault(network) ? 'default' : route.to,
    ...(route.via === undefined ? {} : { via: route.via }),
    ...(route.metric === undefined ? {} : { metric: route.metric }),
    onLink: route['on-link'] ?? false,
  };
}
