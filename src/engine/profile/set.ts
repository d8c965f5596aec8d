/** What several machines must not share (E008): host names, addresses, MAC addresses. */
import { isLinkLocal6, parseCidr, parseMac } from './addresses.ts';
import { type Diagnostic, diagnostic } from './diagnostic.ts';
import type { DocumentPath } from './document.ts';
import type { LoadedProfile } from './load.ts';
import type { EthernetConfig, InterfaceConfig } from './model.ts';

interface Claim {
  /** Equal for two spellings of the same thing. */
  readonly key: string;
  readonly what: string;
  readonly path: DocumentPath;
}

/** Compares the profiles with each other; the later one of two that claim the same thing gets the diagnostic. */
export function checkSet(profiles: readonly LoadedProfile[]): Diagnostic[] {
  const owners = new Map<string, { profile: LoadedProfile; claim: Claim }>();
  const found: Diagnostic[] = [];
  for (const profile of profiles) {
    for (const claim of claims(profile)) {
      const owner = owners.get(claim.key);
      if (owner === undefined) owners.set(claim.key, { profile, claim });
      if (owner === undefined || owner.profile === profile) continue;
      const other = owner.profile.locate(owner.claim.path);
      const place = profile.locate(claim.path);
      const message = `${claim.what} also belongs to ${owner.profile.resolved.host} (${other.file}, line ${other.line}); every host has its own`;
      found.push(diagnostic('E008', message, place.path, place));
    }
  }
  return found;
}

function claims(profile: LoadedProfile): Claim[] {
  const { host, identity, network } = profile.resolved;
  const list: Claim[] = [
    { key: `name ${host.toLowerCase()}`, what: `the name ${host}`, path: ['host'] },
    { key: `name ${identity.hostname.toLowerCase()}`, what: `the name ${identity.hostname}`, path: ['identity', 'hostname'] },
  ];
  if (identity.fqdn !== undefined) {
    list.push({ key: `name ${identity.fqdn.toLowerCase()}`, what: `the name ${identity.fqdn}`, path: ['identity', 'fqdn'] });
  }
  if (!['generate', 'derive', 'keep'].includes(identity.machineId)) {
    list.push({ key: `id ${identity.machineId}`, what: `the machine id ${identity.machineId}`, path: ['identity', 'machineId'] });
  }
  for (const section of ['ethernets', 'vlans', 'bonds', 'bridges'] as const) {
    for (const [name, settings] of Object.entries(network?.[section] ?? {})) {
      list.push(...interfaceClaims(['network', section, name], settings));
    }
  }
  return list;
}

function interfaceClaims(path: DocumentPath, settings: InterfaceConfig & Pick<EthernetConfig, 'match'>): Claim[] {
  const list: Claim[] = [];
  for (const [index, address] of settings.addresses.entries()) {
    const ip = parseCidr(address);
    // A link-local address may stand on every link.
    if (ip === undefined || isLinkLocal6(ip)) continue;
    list.push({ key: `ip ${ip.family} ${ip.value}`, what: `the address ${address}`, path: [...path, 'addresses', index] });
  }
  const macs = [
    [settings.macaddress, [...path, 'macaddress']],
    [settings.match?.macaddress, [...path, 'match', 'macaddress']],
  ] as const;
  for (const [mac, at] of macs) {
    const normal = mac === undefined ? undefined : parseMac(mac);
    if (normal !== undefined) list.push({ key: `mac ${normal}`, what: `the MAC address ${normal}`, path: at });
  }
  return list;
}
