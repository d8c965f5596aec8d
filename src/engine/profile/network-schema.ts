/** The part of netplan's version 2 format (https://netplan.readthedocs.io/en/stable/netplan-yaml/) that doppel applies. */
import type * as z from 'zod';
import {
  driverPattern,
  interfaceAddress,
  interfaceId,
  interfaceName,
  interfacePattern,
  ipAddress,
  macAddress,
  routeTarget,
  searchDomain,
} from './checks.ts';
import { flag, integer, list, mapping, object, oneOf, text } from './schema-kit.ts';

const gateway = text('an IP address, as 10.20.0.1', ipAddress, 'E005');
const mac = text('a MAC address in quotes, as "52:54:00:aa:bb:07"', macAddress, 'E005');

const route = object('a mapping with "to" and "via"', {
  to: text('default, or a network as 10.30.0.0/16', routeTarget, 'E005'),
  via: gateway.optional(),
  metric: integer('Lower wins.', 0, 4_294_967_295).optional(),
  'on-link': flag('The gateway is reached directly, whatever the addresses say.').optional(),
});

const common = {
  dhcp4: flag('Take an IPv4 address from DHCP.').optional(),
  dhcp6: flag('Take an IPv6 address from DHCPv6.').optional(),
  addresses: list(
    'a list of addresses with prefix lengths, as [10.20.0.17/24]',
    text('an address and its prefix length, as 10.20.0.17/24', interfaceAddress, 'E005'),
  ).optional(),
  routes: list('a list of routes, as [{to: default, via: 10.20.0.1}]', route).optional(),
  gateway4: gateway.describe('Short for a default IPv4 route.').optional(),
  gateway6: gateway.describe('Short for a default IPv6 route.').optional(),
  nameservers: object('a mapping with addresses and search', {
    addresses: list('a list of IP addresses', gateway).optional(),
    search: list('a list of domain names', text('a domain name, as example.net', searchDomain)).optional(),
  }).optional(),
  mtu: integer('Bytes of the largest packet.', 68, 65_536).optional(),
  macaddress: mac.describe('The MAC address to set.').optional(),
  optional: flag('Starting up does not wait for this interface.').optional(),
  'accept-ra': flag('Accept IPv6 router advertisements.').optional(),
};

const members = list('a list of interfaces, as [lan0, lan1]', text('the name of an interface in this profile', interfaceId));

export const bondModes = [
  'balance-rr',
  'active-backup',
  'balance-xor',
  'broadcast',
  '802.3ad',
  'balance-tlb',
  'balance-alb',
] as const;

export const networkSchema = object('a mapping with ethernets, vlans, bonds, bridges', {
  version: integer('Always 2.', 2, 2).optional(),
  renderer: oneOf(['networkd', 'NetworkManager']).optional(),
  ethernets: mapping(
    'a mapping of interfaces',
    interfaceId,
    object('a mapping of settings', {
      ...common,
      match: object('a mapping with macaddress, name or driver', {
        macaddress: mac.optional(),
        name: text('an interface name or pattern, as enp*s0', interfacePattern).optional(),
        driver: text('a driver name or pattern, as virtio_net', driverPattern).optional(),
      }).optional(),
      'set-name': text('the name the interface shall get', interfaceName).optional(),
    }),
  ).optional(),
  vlans: mapping(
    'a mapping of VLANs',
    interfaceName,
    object('a mapping with id and link', {
      ...common,
      id: integer('VLAN id.', 0, 4094),
      link: text('the name of the interface below', interfaceId),
    }),
  ).optional(),
  bonds: mapping(
    'a mapping of bonds',
    interfaceName,
    object('a mapping with interfaces and parameters', {
      ...common,
      interfaces: members.optional(),
      parameters: object('a mapping with mode, primary, mii-monitor-interval', {
        mode: oneOf(bondModes).optional(),
        primary: text('the name of a member', interfaceId).optional(),
        'mii-monitor-interval': integer('Milliseconds between link checks.', 0, 600_000).optional(),
      }).optional(),
    }),
  ).optional(),
  bridges: mapping(
    'a mapping of bridges',
    interfaceName,
    object('a mapping with interfaces and parameters', {
      ...common,
      interfaces: members.optional(),
      parameters: object('a mapping with stp', { stp: flag('Spanning tree.').optional() }).optional(),
    }),
  ).optional(),
});
export type NetworkInput = z.infer<typeof networkSchema>;
export type EthernetInput = NonNullable<NetworkInput['ethernets']>[string];
export type InterfaceInput = Omit<EthernetInput, 'match' | 'set-name'>;
