/** The interfaces of a profile in one list, as the renderers want them: with device names and memberships. */
import type {
  BondConfig,
  BridgeConfig,
  EthernetConfig,
  InterfaceConfig,
  NetworkConfig,
  RouteConfig,
  VlanConfig,
} from '../../profile/model.ts';

interface Common {
  /** Key in the profile. */
  readonly id: string;
  /** Name of the device; undefined when only a match says which device it is. */
  readonly device?: string;
  readonly config: InterfaceConfig;
  /** Device names of the bond or bridge that it is a member of. */
  readonly bond?: string;
  readonly bridge?: string;
  /** It is its bond's primary member. */
  readonly primary: boolean;
  /** Device names of the VLANs on top of it. */
  readonly vlans: readonly string[];
}

export type Interface = Common &
  (
    | { readonly kind: 'ethernet'; readonly config: EthernetConfig }
    | { readonly kind: 'vlan'; readonly config: VlanConfig; readonly linkDevice: string }
    | { readonly kind: 'bond'; readonly config: BondConfig; readonly members: readonly string[] }
    | { readonly kind: 'bridge'; readonly config: BridgeConfig; readonly members: readonly string[] }
  );

/** Ethernets first, then what is built on them. */
export function interfacesOf(network: NetworkConfig): Interface[] {
  const device = (id: string): string => {
    const ethernet = network.ethernets[id];
    return (ethernet && deviceOf(id, ethernet)) ?? id;
  };
  const common = (id: string) => {
    const bond = Object.keys(network.bonds).find((name) => network.bonds[name]?.interfaces.includes(id));
    const bridge = Object.keys(network.bridges).find((name) => network.bridges[name]?.interfaces.includes(id));
    return {
      id,
      ...(bond === undefined ? {} : { bond }),
      ...(bridge === undefined ? {} : { bridge }),
      primary: bond !== undefined && network.bonds[bond]?.primary === id,
      vlans: Object.keys(network.vlans).filter((name) => network.vlans[name]?.link === id),
    };
  };
  return [
    ...Object.entries(network.ethernets).map(([id, config]): Interface => {
      const name = deviceOf(id, config);
      return { kind: 'ethernet', config, ...common(id), ...(name === undefined ? {} : { device: name }) };
    }),
    ...Object.entries(network.bonds).map(
      ([id, config]): Interface => ({ kind: 'bond', config, ...common(id), device: id, members: config.interfaces.map(device) }),
    ),
    ...Object.entries(network.bridges).map(
      ([id, config]): Interface => ({
        kind: 'bridge',
        config,
        ...common(id),
        device: id,
        members: config.interfaces.map(device),
      }),
    ),
    ...Object.entries(network.vlans).map(
      ([id, config]): Interface => ({ kind: 'vlan', config, ...common(id), device: id, linkDevice: device(config.link) }),
    ),
  ];
}

function deviceOf(id: string, config: EthernetConfig): string | undefined {
  if (config.setName !== undefined) return config.setName;
  if (config.match === undefined) return id;
  const { name, macaddress, driver } = config.match;
  return name !== undefined && macaddress === undefined && driver === undefined && !/[*?[!]/.test(name) ? name : undefined;
}

export function isIpv6(address: string): boolean {
  return address.includes(':');
}

export function isDefaultRoute(route: RouteConfig): boolean {
  return ['default', '0.0.0.0/0', '::/0'].includes(route.to);
}

/** Family of a route: of its gateway where the destination says only `default`. */
export function routeIsIpv6(route: RouteConfig): boolean {
  return isIpv6(route.to === 'default' ? (route.via ?? '') : route.to);
}

/** A destination in CIDR form. */
export function destination(route: RouteConfig): string {
  if (route.to !== 'default') return route.to;
  return routeIsIpv6(route) ? '::/0' : '0.0.0.0/0';
}
